"""Can this machine train? Every check in plain words, with what to do where the answer is no."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lepton_kit.machine import devices

GIGABYTE = 10**9
MEMORY_NEEDED = 2 * GIGABYTE  # two workers with TensorFlow take 0.6 GB each (measured 2026-11), plus the data
DISK_NEEDED = GIGABYTE  # checkpoints, logs and the final model of small runs
PROBE_SECONDS = 180  # importing TensorFlow takes 5 to 10 s, more from a cold disk
SET_UP_HINT = "run `make setup` in the project's folder, and start lepton from its .venv"

# Runs in its own process, so that asking leaves TensorFlow unloaded here, and a crash there is only an answer.
PROBE = """
import json, sys
found = {}
try:
    import tensorflow
    found["tensorflow"] = tensorflow.__version__
    found["gpus"] = len(tensorflow.config.list_physical_devices("GPU"))
    import keras
    found["keras"] = keras.__version__
    import horovod
    import horovod.tensorflow as collective
    found["horovod"] = horovod.__version__
    found["gloo"] = bool(collective.gloo_built())
except Exception as failure:
    found["failure"] = f"{type(failure).__name__}: {failure}".splitlines()[0]
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """One question: what was found, what is needed, and a hint when that is not enough."""

    name: str
    ok: bool
    found: str
    needed: str
    hint: str = ""
    required: bool = True


@dataclass(frozen=True)
class Report:
    """All checks; `ok` says whether this machine can train."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True if no required check failed.

        >>> Report((Check("browser", False, "none", "any", required=False),)).ok
        True
        """
        return all(check.ok for check in self.checks if check.required)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only: `ok` and the list of `checks`."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}

    def to_json(self) -> str:
        """The report for programs."""
        return json.dumps(self.to_dict(), indent=2)

    def to_text(self) -> str:
        """The report for people.

        >>> print(Report((Check("cores", True, "4", "1 or more"),)).to_text())
        ok       cores  4
        <BLANKLINE>
        This machine can train.
        """
        width = max((len(check.name) for check in self.checks), default=0)
        lines = []
        for check in self.checks:
            mark = "ok" if check.ok else "MISSING" if check.required else "without"
            lines.append(f"{mark:8} {check.name:{width}}  {check.found}")
            if not check.ok:
                lines.append(f"{'':9}{'':{width}}  needed: {check.needed}")
                if check.hint:
                    lines.append(f"{'':9}{'':{width}}  do: {check.hint}")
        missing = [check.name for check in self.checks if check.required and not check.ok]
        end = (
            f"This machine cannot train yet: {', '.join(missing)}." if missing else "This machine can train."
        )
        return "\n".join([*lines, "", end])


def examine(path: str | Path = ".") -> Report:
    """Check versions, libraries and resources; `path` is the folder that runs will be written under.

    Takes as long as TensorFlow's import, in a process of its own.
    """
    return Report(tuple(_checks(devices.inventory(path), probe(), path)))


def probe(python: str = sys.executable, seconds: float = PROBE_SECONDS) -> dict[str, Any]:
    """Versions of TensorFlow, Keras and Horovod as their own process finds them.

    Keys that are absent were not reached; `failure` then says in one line why.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        result = subprocess.run(
            [python, "-c", PROBE], capture_output=True, text=True, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"no answer within {seconds:.0f} s"}
    except OSError as failure:
        return {"failure": f"{python} does not run: {failure}"}
    try:
        return dict(json.loads(result.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        last = (result.stderr.strip().splitlines() or [""])[-1]
        return {"failure": f"the process ended with code {result.returncode}: {last}".rstrip(": ")}


def _checks(machine: devices.Inventory, libraries: dict[str, Any], path: str | Path) -> Iterator[Check]:
    yield _python_check(sys.version_info[:3])
    yield from _library_checks(libraries)
    yield _native_check()
    yield from _resource_checks(machine, path)
    yield from _device_checks(machine, libraries)
    yield _package_check("jupyterlab", "JupyterLab", "4.5 or later", required=False)
    yield _browser_check()


def _python_check(version: tuple[int, ...]) -> Check:
    return Check("Python", version >= (3, 11), ".".join(map(str, version)), "3.11 or later", SET_UP_HINT)


def _library_checks(libraries: dict[str, Any]) -> Iterator[Check]:
    failure = libraries.get("failure", "not found")
    for name, needed in (("TensorFlow", "2.21"), ("Keras", "3.15"), ("Horovod", "0.28.1")):
        found = libraries.get(name.lower())
        good = found is not None and (found == needed or found.startswith(f"{needed}."))
        yield Check(name, good, found or failure, needed, SET_UP_HINT)
        if found is None:  # what comes after it was not reached, for the same reason
            return
    gloo = bool(libraries.get("gloo"))
    hint = "build it with `scripts/build_horovod.py --rebuild`"
    yield Check(
        "Horovod's Gloo",
        gloo,
        "built in" if gloo else libraries.get("failure", "not built in"),
        "built in",
        hint,
    )


def _native_check() -> Check:
    needed = "built; without it Horovod's own allreduce is used, more slowly"
    hint = "python -m lepton_kit.training.native"
    try:
        from lepton_kit.training import native

        built = native.available()
        return Check("native library", built, "built" if built else "not built", needed, hint, required=False)
    except Exception as failure:  # an optional part must not end the examination
        return Check(
            "native library", False, f"{type(failure).__name__}: {failure}", needed, hint, required=False
        )


def _resource_checks(machine: devices.Inventory, path: str | Path) -> Iterator[Check]:
    cores = (
        f"{machine.cores_usable} usable ({machine.cores_physical} physical, {machine.cores_logical} logical)"
    )
    yield Check("cores", machine.cores_usable >= 1, cores, "1 or more; one a worker is best")
    memory = f"{machine.memory_free_bytes / GIGABYTE:.1f} GB free of {machine.memory_total_bytes / GIGABYTE:.1f} GB"
    needed = f"{MEMORY_NEEDED / GIGABYTE:.0f} GB free for two workers"
    yield Check("memory", machine.memory_free_bytes >= MEMORY_NEEDED, memory, needed, "close other programs")
    disk = f"{machine.disk_free_bytes / GIGABYTE:.1f} GB free at {Path(path).absolute()}"
    enough = machine.disk_free_bytes >= DISK_NEEDED
    yield Check(
        "disk", enough, disk, f"{DISK_NEEDED / GIGABYTE:.0f} GB free", "free some, or choose another folder"
    )


def _device_checks(machine: devices.Inventory, libraries: dict[str, Any]) -> Iterator[Check]:
    listed = machine.of_kind("gpu")
    seen = int(libraries.get("gpus", 0))
    found = ", ".join(gpu.name for gpu in listed) or "none; the cores train"
    if listed and not seen:
        found += ", but this TensorFlow does not see them; the cores train"
    hint = "install tensorflow[and-cuda] and set LEPTON_HOROVOD_GPU=nccl for `make setup`; not tried by this project"
    yield Check("GPUs", not listed or seen > 0, found, "none, or seen by TensorFlow", hint, required=False)
    targets = machine.of_kind("fpga")
    found = "; ".join(target.name for target in targets) or "none"
    yield Check("FPGA targets", bool(targets), found, "hls4ml and g++", "pip install hls4ml", required=False)


def _package_check(package: str, name: str, needed: str, *, required: bool) -> Check:
    from importlib import metadata

    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", needed, SET_UP_HINT, required=required)
    return Check(name, True, found, needed, required=required)


def _browser_check() -> Check:
    found = find_chromium()
    hint = "Debian: apt-get install chromium"
    return Check(
        "Chromium", found is not None, found or "none", "for the browser tests only", hint, required=False
    )


def find_chromium() -> str | None:
    """The command of an installed Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)
