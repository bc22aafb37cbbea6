"""The list of modules that `scripts/mutants.py` changes is one of this project as it is."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest


def test_every_module_of_the_list_and_its_tests_are_there(script):
    mutants = script("mutants")
    tests = [file for module in mutants.MODULES for file in mutants.its_tests(module)]
    assert mutants.missing([*mutants.MODULES, *tests]) == []


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        (["lepton_kit/panels/moved.py"], "lepton_kit/panels/moved.py"),
        (["lepton_kit/data/order.py", "--tests", "tests/test_moved.py"], "tests/test_moved.py"),
        (["lepton_kit/data/order.py", "lepton_kit/data/writing.py"], "tests/data/test_writing.py"),
    ],
)
def test_a_file_that_is_gone_is_named_before_anything_is_tried(script, given, gone, capsys, monkeypatch):
    mutants = script("mutants")
    monkeypatch.setattr(mutants, "survivors", lambda *_: pytest.fail("a module was tried"))
    with pytest.raises(SystemExit):
        mutants.main(given)
    assert f"error: {gone}: no such file in the project" in capsys.readouterr().err


def test_packages_of_the_project_are_no_libraries_also_those_without_a_file(script, tmp_path, monkeypatch):
    """Another `tests` of the same name may lie among the libraries: loaded in its place it would hide ours."""
    mutants = script("mutants")
    (tmp_path / "rooms_of_ours").mkdir()
    (tmp_path / "rooms_of_ours" / "one.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("rooms_of_ours.one")
    try:
        assert {"pytest", "json"} <= mutants.libraries(tmp_path)
        assert not {name for name in mutants.libraries(tmp_path) if name.startswith("rooms_of_ours")}
    finally:
        del sys.modules["rooms_of_ours"], sys.modules["rooms_of_ours.one"]


BEFORE = """
import dataclasses, functools
MANY = 3

def plain(a, b=1):
    return a + b * MANY

@functools.lru_cache
def kept(a):
    return a * 2

@dataclasses.dataclass
class One:
    size: int
    more: int = 1

    @property
    def twice(self):
        return self.size * 2

    @classmethod
    def made(cls):
        return cls(5)

    def method(self):
        return plain(self.size, self.more)
"""


def test_objects_of_a_module_stay_of_the_class_that_others_know(script):
    mutating = script("mutating")
    module = ModuleType("to_be_changed")
    module.__file__ = "to_be_changed.py"
    sys.modules[module.__name__] = module
    source = f"{BEFORE}\nFIRST = One(7)\n"
    try:
        exec(compile(source, module.__file__, "exec"), vars(module))
        one = module.One
        mutating.transplant(module, source.replace("One(7)", "One(8)"))
        assert one(8) == module.FIRST
    finally:
        del sys.modules[module.__name__]


def test_a_change_shows_in_what_others_have_taken_from_a_module(script):
    mutating = script("mutating")
    module = ModuleType("to_be_changed")
    module.__file__ = "to_be_changed.py"
    sys.modules[module.__name__] = module
    try:
        exec(compile(BEFORE, module.__file__, "exec"), vars(module))
        plain, kept, one = module.plain, module.kept, module.One
        held = one(4)
        found = {}
        for line, what, source in mutating.mutants(BEFORE):
            mutating.transplant(module, source)
            found[line, what] = (
                plain(1),
                plain(1, 2),
                kept(len(found)),
                held.twice,
                one(4).method(),
                one.made().size,
            )
        mutating.transplant(module, BEFORE)
        assert (plain(1), held.twice, one(4).method(), one.made().size) == (4, 8, 7, 5)
    finally:
        del sys.modules[module.__name__]
    as_it_is = {place: (4, 7, 2 * place, 8, 7, 5) for place in range(len(found))}
    assert {what: told for k, (what, told) in enumerate(found.items()) if told != as_it_is[k]} == found
    assert set(found) == {
        *[
            (3, "3 -> 4"),
            (5, "1 -> 2"),
            (6, "Add -> Sub"),
            (6, "Mult -> Add"),
            (10, "Mult -> Add"),
            (10, "2 -> 3"),
        ],
        *[(15, "1 -> 2"), (19, "Mult -> Add"), (19, "2 -> 3"), (23, "5 -> 6")],
    }
