"""The drawing of the house and the house agree."""

from __future__ import annotations

import ast
import graphlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "tensorflow",
    "keras",
    "horovod",
    "pandas",
    "plotly",
    "ipywidgets",
    "IPython",
    "jupyterlab",
    "hls4ml",
)
LONGEST = 400
CODE = sorted(
    path
    for folder in ("lepton_kit", "tests", "scripts", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".cc", ".h", ".js") and "__pycache__" not in path.parts
)
MODULES = [path for path in CODE if path.suffix == ".py" and path.is_relative_to(ROOT / "lepton_kit")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, json, lepton_kit; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(answer.stdout) == []


def test_devices_and_runs_load_nothing_heavy():
    code = (
        "import sys, json, lepton_kit.machine.devices, lepton_kit.doctor, lepton_kit.config, lepton_kit.rundir;"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(answer.stdout) == []


@pytest.mark.parametrize("path", CODE, ids=name)
def test_no_file_is_too_long(path: Path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_each_module_says_what_it_is_for_in_one_line(path: Path):
    first, _, rest = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")
    assert first.endswith((".", "?"))
    assert not rest or rest.startswith("\n"), "the first line is a sentence of its own"


def test_file_tree_names_every_module_with_its_first_line():
    answer = subprocess.run(
        [sys.executable, "scripts/file_tree.py"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_the_import_contract_has_the_rooms_of_the_drawing_in_their_order():
    drawing = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = drawing.partition("## Rooms")[2].partition("\n\n")[0]
    rooms = [room.rstrip("/") for room in re.findall(r"^\| `([a-z_]+/?)` \|", table, re.MULTILINE)]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract, _ = settings["tool"]["importlinter"]["contracts"]
    assert contract["layers"] == rooms[::-1]


def test_every_part_of_the_package_is_a_room():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract, _ = settings["tool"]["importlinter"]["contracts"]
    parts = {path.relative_to(ROOT / "lepton_kit").parts[0].removesuffix(".py") for path in MODULES}
    assert parts - {"__init__", "__main__"} <= set(contract["layers"])


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of the package that a file imports anywhere: at the top, inside a function, for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module or "" for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def test_no_modules_import_each_other_in_a_circle():
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in MODULES
    }
    graph = {name: imports(path, set(modules)) for name, path in modules.items()}
    assert len(graph["lepton_kit.client.launch"]) > 2
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


def test_no_committed_text_names_a_place_on_one_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home)/\w")
    texts = (".py", ".md", ".toml", ".yml", ".lock", ".cc", ".ipynb", ".cfg", ".json", "Makefile", "run")
    guilty = [
        file
        for file in listed.stdout.splitlines()
        if file.endswith(texts)
        and (ROOT / file).exists()
        and pattern.search((ROOT / file).read_text(encoding="utf-8"))
    ]
    assert guilty == []
