"""Run every check and test, one step after the other, and fail if one of them failed."""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_TESTS_COLLECTED = 5  # pytest's exit code when there was nothing to run
CELL_SECONDS = 300  # a notebook cell that trains on a busy machine may take minutes


@dataclass(frozen=True)
class Step:
    """One command; `group` is lint, test, long or conformance, `may_be_empty` lets pytest find nothing."""

    name: str
    group: str
    command: tuple[str, ...]
    may_be_empty: bool = False


def steps(python: str = sys.executable) -> tuple[Step, ...]:
    """All steps in the order in which they run, cheap ones first; long and conformance run only when they are asked for."""
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
        Step(
            "doctests", "test", (*module, "pytest", "-q", "--doctest-modules", "lepton_kit", "scripts"), True
        ),
        Step("tests", "test", (*module, "pytest")),
        Step("notebooks", "test", notebooks, True),
        Step("long tests", "long", (*module, "pytest", "-m", "long or soak")),
        Step("conformance", "conformance", (*module, "pytest", "-m", "", "tests/conformance", "tests/zoo")),
    )


def run(step: Step) -> bool:
    """Run one step with its output shown; True if it passed."""
    print(
        f"\n━━ {step.name}: {' '.join(Path(step.command[0]).name if i == 0 else part for i, part in enumerate(step.command))}",
        flush=True,
    )
    began = time.monotonic()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    code = subprocess.run(step.command, cwd=ROOT, env=environment).returncode
    passed = code == 0 or (step.may_be_empty and code == NO_TESTS_COLLECTED)
    print(
        f"━━ {step.name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True
    )
    return passed


def main() -> int:
    """Run the chosen steps to the end, also after a failure, and say which failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("lint", "test", "long", "conformance"), help="one group of steps")
    options = parser.parse_args()
    groups = (options.only,) if options.only else ("lint", "test")
    chosen = [step for step in steps() if step.group in groups]
    failed = [step.name for step in chosen if not run(step)]
    print(
        f"\n━━ {len(chosen) - len(failed)} of {len(chosen)} steps passed"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
