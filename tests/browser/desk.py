"""A real JupyterLab and a page in it, for browser tests and for the script that takes the pictures of the docs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.runtime.zygote import PR_SET_PDEATHSIG
from tests.loading import load_script

PROJECT = Path(__file__).parents[2]
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
KERNEL_IDLE = """() => {
  const shown = window.jupyterapp?.shell.currentWidget;
  const kernel = shown?.context?.sessionContext?.session?.kernel;
  return Boolean(kernel) && kernel.status === 'idle' && kernel.connectionStatus === 'connected';
}"""
START_SECONDS = 90


@dataclass
class Lab:
    """A running JupyterLab, and the folder that it serves."""

    address: str
    token: str
    root: Path

    def link(self, notebook: str) -> str:
        return f"{self.address}/lab/tree/{notebook}?token={self.token}"


@contextlib.contextmanager
def served(root: Path, home: Path) -> Iterator[Lab]:
    """JupyterLab as `make lab` starts it, on loopback, with folders of its own in ``home``, until the context ends.

    The extension is the one that `make setup` installs.
    """
    start = load_script("lab")
    load_script("setup").write_lab_extension(home / "data", home / "config")
    quiet = home / "settings/@jupyterlab/apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    given = {name: value for name, value in os.environ.items() if name != "LEPTON_RUNS_DIR"}
    environment = {
        **start.environment(given, root / "runs"),
        "PYTHONPATH": str(PROJECT),
        "LEPTON_DATA_SAMPLES": str(PROJECT / "data_samples"),
        "JUPYTER_PREFER_ENV_PATH": "0",  # the extension of this checkout, and not one that was installed before
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    more = [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    command = start.command("/bin/bash", more)
    with open(home / "lab.log", "w") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True, preexec_fn=_end_with_us
        )
    made = Lab(f"http://127.0.0.1:{port}", token, root)
    try:
        _wait_for_server(made, server, home / "lab.log")
        yield made
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def _end_with_us() -> None:
    """Have the kernel stop the server, and it its notebooks' kernels, when whoever started it is killed (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_server(made: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{made.address}/api/status?token={made.token}", timeout=5):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.2)


@dataclass
class Desk:
    """A page with a notebook in JupyterLab."""

    page: Any

    def command(self, name: str, **arguments: Any) -> None:
        """Run a command of JupyterLab without waiting for its end."""
        script = "([name, arguments]) => { window.jupyterapp.commands.execute(name, arguments); }"
        self.page.evaluate(script, [name, arguments])

    def photograph(self, name: str) -> None:
        """A picture of the page in $LEPTON_SCREENSHOTS, to be looked at."""
        folder = Path(
            os.environ.get("LEPTON_SCREENSHOTS") or Path(tempfile.gettempdir(), "lepton-screenshots")
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(folder / f"{name}.png"))

    def photograph_themes(self, name: str) -> None:
        for theme in ("Light", "Dark"):
            self.command("apputils:change-theme", theme=f"JupyterLab {theme}")
            self.page.wait_for_function(
                f"() => document.body.dataset.jpThemeName === 'JupyterLab {theme}'", timeout=120_000
            )
            self.page.wait_for_timeout(1000)
            self.photograph(f"{name}-{theme.lower()}")


def opened(lab: Lab, context: Any, name: str, cells: list[str] | Path) -> Desk:
    """A page with a notebook (a copy of a file, or one of these cells), once its kernel is idle."""
    text = cells.read_text() if isinstance(cells, Path) else json.dumps(notebook_of(cells))
    (lab.root / name).write_text(text)
    page = context.new_page()
    page.goto(lab.link(name) + "&reset")
    page.wait_for_function(KERNEL_IDLE, timeout=START_SECONDS * 1000)
    return Desk(page)


def notebook_of(cells: list[str]) -> dict[str, Any]:
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{k}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": text,
            }
            for k, text in enumerate(cells)
        ],
    }


def shut_down(page: Any) -> None:
    """End the kernel, so that its warm workers go too."""
    page.evaluate("() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.shutdown()")
