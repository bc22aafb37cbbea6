"""What all tests share: a place for runs, a browser, and the proof that no process is left behind."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest

SESSION = f"LEPTON_TEST_SESSION_{uuid.uuid4().hex}"
"""A name that this session puts into its environment, so that every process it starts can be told, detached or not."""

OURS = ("lepton_kit", "ipykernel", "jupyter", "chrom")
GRACE_SECONDS = 5.0


def left_behind(marker: str = SESSION) -> list[psutil.Process]:
    """Processes, other than this one, that inherited the marker and are of a kind that tests start."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if marker in process.environ() and any(word in " ".join(process.cmdline()) for word in OURS):
                found.append(process)
        except psutil.Error:
            continue  # gone meanwhile, a zombie, or another user's
    return found


def pytest_configure() -> None:
    os.environ[SESSION] = "1"


def pytest_sessionfinish(session: pytest.Session) -> None:
    start = sys.modules.get("lepton_kit.runtime.start")
    if start is not None:
        start.cool()  # the nursery of this process is no orphan
    deadline = time.monotonic() + GRACE_SECONDS
    while (orphans := left_behind()) and time.monotonic() < deadline:
        time.sleep(0.1)
    if not orphans:
        return
    lines = []
    for process in orphans:
        try:
            lines.append(f"  {process.pid}: {' '.join(process.cmdline())}")
            process.kill()
        except psutil.Error:
            continue
    if lines:
        print("\nleft behind by the tests, and now killed:\n" + "\n".join(lines))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """An empty folder for run directories."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The command of an installed Chromium; a test that asks for it is skipped where there is none."""
    from lepton_kit.doctor import find_chromium

    command = find_chromium()
    if command is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    return command


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Loads one of the project's scripts, by name, as a fresh module."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).resolve().parent.parent / "scripts" / f"{name}.py"
        specification = importlib.util.spec_from_file_location(f"script_{name}", path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
        return module

    return load
