"""Run every check and test, and fail if one of them failed; tests in two lanes, since most leave a core free."""

import argparse
import concurrent.futures
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_TESTS_COLLECTED = 5  # pytest's exit code when there was nothing to run
CELL_SECONDS = 300  # a notebook cell that trains on a busy machine may take minutes
EXACT = ("compression", "conformance", "deploy", "zoo")
"""Folders of tests that ask what comes out, however long it takes: with the notebooks, as much as all others take."""


@dataclass(frozen=True)
class Step:
    """One command; `group` is lint, test, long, conformance or gpu.

    `may_be_empty` lets pytest find nothing; `beside` runs it in a lane of its own, beside the steps of the other.
    """

    name: str
    group: str
    command: tuple[str, ...]
    may_be_empty: bool = False
    beside: bool = False


def steps(python: str = sys.executable) -> tuple[Step, ...]:
    """All steps in the order in which they run, cheap ones first; long, conformance and gpu run only when they are asked for."""
    module = (python, "-m")
    notebooks = (
        *module,
        "pytest",
        "-q",
        "--nbval",
        "--nbval-current-env",
        f"--nbval-cell-timeout={CELL_SECONDS}",
        "--nbval-sanitize-with=scripts/nbval.cfg",
        "notebooks",
    )
    return (
        Step("ruff check", "lint", (*module, "ruff", "check", ".")),
        Step("ruff format", "lint", (*module, "ruff", "format", "--check", ".")),
        Step("mypy", "lint", (*module, "mypy")),
        Step("calls", "lint", (*module, "mypy", "--config-file", "scripts/mypy_calls.cfg")),
        Step("import order", "lint", (str(Path(python).parent / "lint-imports"),)),
        Step("dependencies", "lint", (python, "scripts/dependencies.py")),
        Step("tests", "test", (*module, "pytest", *(f"--ignore=tests/{folder}" for folder in EXACT))),
        Step(
            "exact tests", "test", (*module, "pytest", *(f"tests/{folder}" for folder in EXACT)), beside=True
        ),
        Step("notebooks", "test", notebooks, True, beside=True),
        Step(
            "doctests", "test", (*module, "pytest", "-q", "--doctest-modules", "lepton_kit", "scripts"), True
        ),
        Step("long tests", "long", (*module, "pytest", "-m", "long or soak")),
        Step("conformance", "conformance", (*module, "pytest", "-m", "", "tests/conformance", "tests/zoo")),
        Step("gpu", "gpu", (*module, "pytest", "-m", "gpu", "-s", "tests/gpu")),
    )


def run(step: Step) -> bool:
    """Run one step with its output shown as it comes, with a mark before each line of one beside; True if it passed."""
    mark = "┊ " if step.beside else ""
    words = [Path(step.command[0]).name, *step.command[1:]]
    print(f"\n{mark}━━ {step.name}: {' '.join(words)}", flush=True)
    began = time.monotonic()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if step.beside:
        with subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                print(f"{mark}{line}", end="", flush=True)
        code = process.returncode
    else:
        code = subprocess.run(step.command, cwd=ROOT, env=environment).returncode
    passed = code == 0 or (step.may_be_empty and code == NO_TESTS_COLLECTED)
    seconds = time.monotonic() - began
    print(f"{mark}━━ {step.name}: {'passed' if passed else 'FAILED'} in {seconds:.0f} s", flush=True)
    return passed


def run_all(chosen: Sequence[Step]) -> list[str]:
    """Run steps in their order, also after a failure, and those of the other lane beside them; the names of what failed."""
    cheap = [step.name for step in chosen if step.group == "lint" and not run(step)]
    rest = [step for step in chosen if step.group != "lint"]
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as lane:
        beside = [(step.name, lane.submit(run, step)) for step in rest if step.beside]
        here = [step.name for step in rest if not step.beside and not run(step)]
        return [*cheap, *here, *(name for name, passed in beside if not passed.result())]


def main() -> int:
    """Run the chosen steps to the end, also after a failure, and say which failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", choices=("lint", "test", "long", "conformance", "gpu"), help="one group of steps"
    )
    options = parser.parse_args()
    groups = (options.only,) if options.only else ("lint", "test")
    chosen = [step for step in steps() if step.group in groups]
    failed = run_all(chosen)
    print(
        f"\n━━ {len(chosen) - len(failed)} of {len(chosen)} steps passed"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
