"""Change pure modules one operator at a time and name the changes that no test notices.

    python scripts/mutants.py                                     # the modules of the list below, 40 changes each
    python scripts/mutants.py lepton_kit/data/order.py --most 200
    python scripts/mutants.py lepton_kit/data/scaling.py --tests tests/data/test_scaling.py

Works on a copy of the project in a temporary folder. A module's tests are those of the same name, unless given. They are
collected once and tried on each change in a fork, with few examples a property; what passes is tried again from its file,
with many. A change that no test notices is either a test that is missing, or a line that could be simpler; some change nothing.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutating import mutants, transplant

ROOT = Path(__file__).resolve().parent.parent
MODULES: dict[str, tuple[str, ...]] = {
    "lepton_kit/data/sharding.py": (),
    "lepton_kit/data/order.py": (),
    "lepton_kit/data/proofs.py": (),
    "lepton_kit/data/scaling.py": (),
    "lepton_kit/data/splitting.py": ("tests/data/test_draw_splits.py",),
    "lepton_kit/data/labels.py": (),
    "lepton_kit/data/preprocessing.py": (),
    "lepton_kit/data/images/masks.py": ("tests/data/test_images_masks.py",),
    "lepton_kit/data/images/labels.py": ("tests/data/test_images_labels.py",),
    "lepton_kit/data/images/preprocessing.py": (
        "tests/data/test_images_preprocessing.py",
        "tests/data/test_images.py",
    ),
    "lepton_kit/data/series/preprocessing.py": (
        "tests/data/test_series_new.py",
        "tests/data/test_series.py",
        "tests/data/test_series_times.py",
    ),
    "lepton_kit/data/tables/preprocessing.py": (
        "tests/data/test_tables_new.py",
        "tests/data/test_tables_rows.py",
        "tests/data/test_tables_fields.py",
    ),
    "lepton_kit/data/texts/preprocessing.py": (
        "tests/data/test_texts_new.py",
        "tests/data/test_texts.py",
        "tests/data/test_texts_subword.py",
    ),
    "lepton_kit/training/length.py": (),
    "lepton_kit/training/history.py": (),
    "lepton_kit/training/decisions.py": (),
    "lepton_kit/training/desired.py": (),
    "lepton_kit/training/sums.py": (),
    "lepton_kit/runtime/coordinator.py": (),
    "lepton_kit/runtime/roster.py": ("tests/runtime/test_roster.py", "tests/runtime/test_driver.py"),
    "lepton_kit/runtime/group.py": ("tests/runtime/test_driver.py", "tests/runtime/test_generations.py"),
    "lepton_kit/runtime/places.py": (),
    "lepton_kit/runtime/wishes.py": (),
    "lepton_kit/runtime/deaths.py": (),
    "lepton_kit/runtime/resources.py": (),
    "lepton_kit/rundir/view.py": (),
    "lepton_kit/rundir/status.py": (),
    "lepton_kit/rundir/decimate.py": (),
    "lepton_kit/rundir/labels.py": (),
    "lepton_kit/planning/noise.py": (),
    "lepton_kit/planning/estimates.py": (),
    "lepton_kit/planning/energy.py": (),
    "lepton_kit/planning/power.py": ("tests/planning/test_energy.py",),
    "lepton_kit/planning/cost.py": ("tests/planning/test_energy.py",),
    "lepton_kit/planning/cores.py": (),
    "lepton_kit/planning/seating.py": (),
    "lepton_kit/planning/offers.py": ("tests/planning/test_seating.py",),
    "lepton_kit/planning/allocation.py": (),
    "lepton_kit/planning/speedups.py": (),
    "lepton_kit/planning/shares.py": (),
    "lepton_kit/planning/scaling.py": (),
    "lepton_kit/planning/estimating.py": (
        "tests/planning/test_measured_steps.py",
        "tests/planning/test_scaling.py",
    ),
    "lepton_kit/planning/measured_steps.py": (),
    "lepton_kit/machine/topology.py": (),
    "lepton_kit/machine/busy.py": (),
    "lepton_kit/machine/nvml.py": (),
    "lepton_kit/machine/gpus.py": ("tests/machine/test_nvml.py", "tests/machine/test_devices.py"),
    "lepton_kit/machine/devices.py": (),
    "lepton_kit/runtime/energy/book.py": ("tests/runtime/test_energy.py",),
    "lepton_kit/runtime/energy/counters.py": ("tests/runtime/test_energy_counters.py",),
    "lepton_kit/runtime/energy/meter.py": ("tests/runtime/test_energy.py",),
    "lepton_kit/runtime/energy/usage.py": ("tests/runtime/test_energy_counters.py",),
    "lepton_kit/runtime/energy/gpus.py": (
        "tests/runtime/test_energy.py",
        "tests/runtime/test_energy_counters.py",
    ),
    "lepton_kit/rundir/energy.py": ("tests/client/test_energy.py",),
    "lepton_kit/runtime/pool/spread.py": (),
    "lepton_kit/runtime/pool/load.py": ("tests/runtime/pool/test_share.py",),
    "lepton_kit/models/balance.py": ("tests/models/test_metrics.py",),
    "lepton_kit/models/overlap.py": (),
    "lepton_kit/models/reductions.py": ("tests/models/test_objects.py",),
    "lepton_kit/deploy/overlaps.py": (),
    "lepton_kit/compression/pruning/masks.py": (),
}
"""Modules that compute and do nothing else, each with its tests where they do not bear its name."""
FEW, MANY = 10, 100
"""Examples of a property: of the first try, and of a change that it did not see."""
WALL_SECONDS = 1800.0
LOADED = ".loaded"
"""The file in a copy of the project with the names of the libraries that its tests use."""


def its_tests(module: str) -> list[str]:
    """The test files of a module: those of the list, else the one that bears its name.

    >>> its_tests("lepton_kit/data/order.py"), its_tests("lepton_kit/models/balance.py")
    (['tests/data/test_order.py'], ['tests/models/test_metrics.py'])
    """
    if given := MODULES.get(module):
        return list(given)
    room, *inner = Path(module).parts[1:]
    beside = Path("tests", room, *inner[:-1], f"test_{inner[-1]}")
    return [str(beside if (ROOT / beside).is_file() else Path("tests", room, beside.name))]


def missing(files: list[str]) -> list[str]:
    """Those that this project does not have: moved, or misspelt."""
    return [file for file in files if not (ROOT / file).is_file()]


class InPlace:
    """A plugin of pytest that tries changes of a module on tests that have been collected once, each in a fork.

    What no test has noticed is written ``into`` a file, by number; the first is to be no change. A change is put into the functions
    and classes that are loaded, so names that other modules have taken from this one show it; their copies of its
    constants do not, and so what is left is tried again from its file.
    """

    def __init__(self, file: Path, changes: Sequence[str], into: Path):
        self._file, self._changes, self._into = file, changes, into

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        left, most = [], None
        for number, source in enumerate(self._changes):
            child = os.fork()
            if child == 0:
                try:
                    os._exit(self._try(session, source, most))
                finally:
                    os._exit(1)
            found = ended(child, WALL_SECONDS)
            if found.passed:
                left.append(number)
            if number == 0:
                most = patience(found)
        self._into.write_text(json.dumps(left))
        return True

    def _try(self, session: pytest.Session, source: str, seconds: int | None) -> int:
        os.setsid()
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        for module in [*sys.modules.values()]:
            if getattr(module, "__file__", None) == str(self._file):
                transplant(module, source)
        for item, following in itertools.zip_longest(session.items, session.items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return 1
        return 0


@dataclass(frozen=True)
class Outcome:
    """How tests ended, and how many seconds of a processor they took."""

    passed: bool
    seconds: float


def run(
    folder: Path, tests: list[str], examples: int, most: Outcome | None = None, plugin: InPlace | None = None
) -> Outcome:
    """These tests in this copy of the project, with so many examples a property, stopped at the first that fails.

    They run in a fork of this process, which has loaded the libraries and nothing of the project. Where ``most`` is given
    they may take about twice its seconds of a processor, and fail if they take more: a loop that never ends does.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            if most is not None and plugin is None:
                seconds = patience(most)
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            code = _pytest(folder, tests, examples, plugin)
        finally:
            os._exit(code)
    return ended(child, WALL_SECONDS if plugin is None else math.inf)


def patience(whole: Outcome) -> int:
    """The seconds of a processor that a change may take: a loop that never ends is one that was noticed."""
    return int(3 + 2 * whole.seconds)


def ended(child: int, seconds: float) -> Outcome:
    """How a fork ends; after so many seconds it is ended, with what it has started."""
    deadline, done = time.monotonic() + seconds, 0
    try:
        while not done and time.monotonic() < deadline:
            time.sleep(0.01)
            done, status, usage = os.wait4(child, os.WNOHANG)
        return Outcome(bool(done) and status == 0, usage.ru_utime + usage.ru_stime)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if not done:
            os.waitpid(child, 0)


def _pytest(folder: Path, tests: list[str], examples: int, plugin: InPlace | None) -> int:
    """pytest in this process; the names of the libraries that it has loaded for it are left in a file."""
    import hypothesis

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # a failure need not be shrunk
    hypothesis.settings.register_profile(
        "mutants", max_examples=examples, phases=phases, database=None, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    hypothesis.settings.load_profile("mutants")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
    silence = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(silence, standard)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--doctest-modules"]
    code = int(pytest.main([*options, *tests], plugins=[plugin] if plugin else []))
    (folder / LOADED).write_text("\n".join(libraries(folder)))
    return code


def libraries(folder: Path) -> set[str]:
    """The loaded modules that do not lie in this folder; a package without a file of its own lies where its path says."""
    where = {
        name: [getattr(one, "__file__", ""), getattr(one, "__path__", "")]
        for name, one in sys.modules.items()
    }
    return {name for name, places in where.items() if str(folder) not in str(places)} - {"__main__"}


def survivors(module: str, tests: list[str], most: int, seed: int, without: str | None = None) -> list[str]:
    """The changes of a module that its tests let pass, a line each; at most ``most`` are tried, drawn by ``seed``."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "project")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "runs", "notebooks", "docs"))
        file, left = folder / module, folder / ".left"
        source = file.read_text(encoding="utf-8")
        plain = ast.unparse(ast.parse(source))
        file.write_text(plain, encoding="utf-8")
        tests = [
            *tests,
            module,
            *(["-k", f"not {without}"] if without else []),
        ]  # the module for its examples
        whole = run(folder, tests, MANY)
        if not whole.passed:
            raise SystemExit(f"{module}: {' '.join(tests)} fail without any change")
        for name in (folder / LOADED).read_text().split("\n"):
            with suppress(Exception):  # one that is imported only by another
                importlib.import_module(name)
        tried = list(mutants(source))
        random.Random(seed).shuffle(tried)
        tried = tried[:most]
        changes = [plain, *(changed for _, _, changed in tried)]
        run(folder, tests, FEW, plugin=InPlace(file, changes, left))
        suspects = json.loads(left.read_text())
        if suspects[:1] != [0]:  # the tests need it to be loaded in another way: all are tried from its file
            suspects = list(range(len(changes)))
        print(f"{module}: {len(suspects) - 1} of {len(tried)} suspected", flush=True)
        for line, what, changed in (tried[number - 1] for number in suspects[1:]):
            file.write_text(changed, encoding="utf-8")
            if run(folder, tests, MANY, whole).passed:
                told = source.splitlines()[line - 1].strip() if line else ""
                found.append(f"{module}:{line}: {what}    {told}")
                print(found[-1], flush=True)
        print(f"{module}: {len(found)} of {len(tried)} changes were not noticed", flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="files of the package")
    parser.add_argument("--tests", nargs="+", help="test files (default: the one of the module's name)")
    parser.add_argument(
        "--without", help="leave out tests whose names hold this, such as those that start runs"
    )
    parser.add_argument("--most", type=int, default=40, help="changes that are tried of each module")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    tests = {module: asked.tests or its_tests(module) for module in asked.modules}
    if gone := missing(list(tests)) or missing([file for files in tests.values() for file in files]):
        parser.error(
            f"{', '.join(gone)}: no such file in the project; name modules and tests as they are now"
        )
    for module, files in tests.items():
        survivors(module, files, asked.most, asked.seed, asked.without)
    return 0


if __name__ == "__main__":
    sys.exit(main())
