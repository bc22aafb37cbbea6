"""Change pure modules one operator at a time and name the changes that no test notices.

    python scripts/mutants.py                                     # the modules of the list below, 40 changes each
    python scripts/mutants.py lepton_kit/data/order.py --most 200
    python scripts/mutants.py lepton_kit/data/scaling.py --tests tests/data/test_scaling.py

Works on a copy of the project in a temporary folder. A module's tests are those of the same name, unless given. A change
that no test notices is either a test that is missing, or a line that could be simpler; some change nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES: dict[str, tuple[str, ...]] = {
    "lepton_kit/data/sharding.py": (),
    "lepton_kit/data/order.py": (),
    "lepton_kit/data/proofs.py": (),
    "lepton_kit/data/scaling.py": (),
    "lepton_kit/data/splitting.py": ("tests/data/test_draw_splits.py",),
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
    "lepton_kit/models/balance.py": ("tests/models/test_metrics.py",),
    "lepton_kit/models/reductions.py": ("tests/models/test_objects.py",),
    "lepton_kit/deploy/overlaps.py": (),
    "lepton_kit/compression/pruning/masks.py": (),
}
"""Modules that compute and do nothing else, each with its tests where they do not bear its name."""
SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt,),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.FloorDiv: (ast.Mult,),
    ast.Div: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Not: (ast.UAdd,),
    ast.USub: (ast.UAdd,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}
UNCHANGED_SECONDS = 600.0


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, what was changed, the whole changed source) for each change of one operator, number, condition or statement.

    Types are left as they are, and decorators: what they change (the size of a cache, a frozen class) is seldom seen.

    >>> [what for _, what, _ in mutants("def f(a):\\n    return a < 2")]
    ['Lt -> LtE', 'Lt -> Gt', '2 -> 3']
    >>> [what for _, what, _ in mutants("if a:\\n    f(min(a, 0.5))")]
    ['if -> if not', 'without f(min(a, 0.5))', 'min -> max', '0.5 -> 1.0']
    """
    tree = ast.parse(source)
    left = {id(one) for node in ast.walk(tree) for part in _left_alone(node) for one in ast.walk(part)}
    for place, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node) if id(node) not in left else ():
            changed = copy.deepcopy(tree)
            other = next(one for at, one in enumerate(ast.walk(changed)) if at == place)
            change(other)
            yield getattr(node, "lineno", 0), what, ast.unparse(ast.fix_missing_locations(changed))


def _left_alone(node: ast.AST) -> list[ast.AST]:
    parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [*getattr(node, "decorator_list", ()), *(part for part in parts if part is not None)]


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            for kind in SWAPS.get(type(operator), ()):
                yield _name(operator, kind), lambda other, at=at, kind=kind: other.ops.__setitem__(at, kind())
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign | ast.UnaryOp):
        for kind in SWAPS.get(type(node.op), ()):
            yield _name(node.op, kind), lambda other, kind=kind: setattr(other, "op", kind())
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        # a number of some size that is off by one may well be within what a test allows
        value = node.value * 2 if isinstance(node.value, float) and node.value else node.value + 1
        yield f"{node.value} -> {value}", lambda other: setattr(other, "value", value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", lambda other: setattr(other, "value", not other.value)
    elif isinstance(node, ast.If | ast.IfExp) and isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
        yield "if -> if not", lambda other: setattr(other, "test", ast.UnaryOp(ast.Not(), other.test))
    elif isinstance(node, ast.Call) and (
        name := CALLS.get(getattr(node.func, "id", getattr(node.func, "attr", "")))
    ):
        field = "id" if isinstance(node.func, ast.Name) else "attr"
        yield f"{getattr(node.func, field)} -> {name}", lambda other: setattr(other.func, field, name)
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        told = ast.unparse(node).splitlines()[0]
        yield f"without {told}", lambda other: setattr(other, "__class__", ast.Pass)
    if isinstance(node, ast.Break | ast.Continue):
        kind = ast.Continue if isinstance(node, ast.Break) else ast.Break
        yield _name(node, kind), lambda other: setattr(other, "__class__", kind)


def _name(operator: ast.AST, kind: type[ast.AST]) -> str:
    return f"{type(operator).__name__} -> {kind.__name__}"


def its_tests(module: str) -> list[str]:
    """The test files of a module: those of the list, else the one that bears its name.

    >>> its_tests("lepton_kit/data/order.py"), its_tests("lepton_kit/models/balance.py")
    (['tests/data/test_order.py'], ['tests/models/test_metrics.py'])
    """
    parts = Path(module).parts
    return list(MODULES.get(module, ())) or [str(Path("tests", *parts[1:2], f"test_{parts[-1]}"))]


def missing(files: list[str]) -> list[str]:
    """Those that this project does not have: moved, or misspelt."""
    return [file for file in files if not (ROOT / file).is_file()]


def passes(folder: Path, tests: list[str], seconds: float) -> bool:
    """Whether these tests pass in this copy of the project; a loop that never ends does not.

    They run in a fork of this process, which has loaded the libraries and nothing of the project.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            sys.dont_write_bytecode = True
            os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
            silence = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(silence, standard)
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--doctest-modules", *tests]))
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                child = 0
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.02)
        return False
    finally:
        if child:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def survivors(module: str, tests: list[str], most: int, seed: int) -> list[str]:
    """The changes of a module that its tests let pass, a line each; at most ``most`` are tried, drawn by ``seed``."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "project")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "runs", "notebooks", "docs"))
        file = folder / module
        source = file.read_text(encoding="utf-8")
        written = source.splitlines()
        file.write_text(ast.unparse(ast.parse(source)), encoding="utf-8")
        began = time.monotonic()
        tests = [*tests, module]  # for its examples
        if not passes(folder, tests, UNCHANGED_SECONDS):
            raise SystemExit(f"{module}: {' '.join(tests)} fail without any change")
        patience = 30 + 5 * (time.monotonic() - began)
        tried = list(mutants(source))
        random.Random(seed).shuffle(tried)
        for line, what, changed in tried[:most]:
            file.write_text(changed, encoding="utf-8")
            if passes(folder, tests, patience):
                found.append(f"{module}:{line}: {what}    {written[line - 1].strip() if line else ''}")
                print(found[-1], flush=True)
        print(f"{module}: {len(found)} of {min(most, len(tried))} changes were not noticed", flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="files of the package")
    parser.add_argument("--tests", nargs="+", help="test files (default: the one of the module's name)")
    parser.add_argument("--most", type=int, default=40, help="changes that are tried of each module")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    tests = {module: asked.tests or its_tests(module) for module in asked.modules}
    if gone := missing(list(tests)) or missing([file for files in tests.values() for file in files]):
        parser.error(
            f"{', '.join(gone)}: no such file in the project; name modules and tests as they are now"
        )
    import horovod.tensorflow  # noqa: F401  once, for all forks
    import hypothesis

    found = (
        hypothesis.Phase.explicit,
        hypothesis.Phase.generate,
    )  # that a test fails is enough, not for what least input
    hypothesis.settings.register_profile("mutants", phases=found, database=None, deadline=None)
    hypothesis.settings.load_profile("mutants")

    for module, files in tests.items():
        survivors(module, files, asked.most, asked.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
