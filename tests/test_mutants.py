"""The list of modules that `scripts/mutants.py` changes is one of this project as it is."""

from __future__ import annotations

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
