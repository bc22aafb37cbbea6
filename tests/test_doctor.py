"""The doctor: plain words, a hint for each no, and TensorFlow asked only in another process."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from lepton_kit import doctor
from lepton_kit.machine import devices

GOOD = {"tensorflow": "2.21.0", "keras": "3.15.1", "horovod": "0.28.1", "gloo": True, "gpus": 0}


def checks(libraries=None, **changes) -> dict[str, doctor.Check]:
    machine = dataclasses.replace(devices.inventory(), **changes)
    return {
        check.name: check for check in doctor._checks(machine, GOOD if libraries is None else libraries, ".")
    }


def test_a_good_machine_passes_and_the_report_is_readable():
    report = doctor.Report(tuple(checks(memory_free_bytes=8 * 10**9, disk_free_bytes=9 * 10**9).values()))
    assert report.ok
    assert report.to_text().endswith("This machine can train.")
    assert json.loads(report.to_json())["ok"] is True


@pytest.mark.parametrize(
    ("name", "libraries", "changes"),
    [
        ("TensorFlow", {"failure": "ModuleNotFoundError: No module named 'tensorflow'"}, {}),
        ("TensorFlow", GOOD | {"tensorflow": "2.18.1"}, {}),
        ("Keras", GOOD | {"keras": "2.15.0"}, {}),
        ("Horovod", {"tensorflow": "2.21.0", "keras": "3.15.1", "failure": "ImportError: no"}, {}),
        ("Horovod's Gloo", GOOD | {"gloo": False}, {}),
        ("memory", GOOD, {"memory_free_bytes": 10**8}),
        ("disk", GOOD, {"disk_free_bytes": 10**7}),
    ],
)
def test_what_is_missing_is_named_with_a_hint_and_fails_the_report(name, libraries, changes):
    found = checks(libraries, **changes)
    assert not found[name].ok
    assert found[name].hint
    report = doctor.Report(tuple(found.values()))
    assert not report.ok
    assert f"MISSING  {name}" in report.to_text()
    assert name in report.to_text().splitlines()[-1]


def test_an_old_python_is_named():
    assert not doctor._python_check((3, 10, 4)).ok
    assert doctor._python_check((3, 11, 0)).ok


def test_the_reason_of_the_first_failure_is_shown_once():
    found = checks({"failure": "ModuleNotFoundError: No module named 'tensorflow'"})
    assert "No module named 'tensorflow'" in found["TensorFlow"].found
    assert "Keras" not in found


def test_a_gpu_that_tensorflow_does_not_see_is_told_but_does_not_fail():
    gpu = devices.Device("gpu", "NVIDIA T4", ("train", "infer"), None, "measured")
    found = checks(devices=(gpu,))
    assert not found["GPUs"].ok
    assert "does not see" in found["GPUs"].found
    assert not found["GPUs"].required


def test_no_browser_is_told_but_does_not_fail(monkeypatch):
    monkeypatch.setattr(doctor, "find_chromium", lambda: None)
    check = doctor._browser_check()
    assert (check.ok, check.required) == (False, False)
    assert "chromium" in check.hint


def test_a_missing_package_is_named():
    check = doctor._package_check("no-such-package-here", "Nothing", "1 or later", required=False)
    assert (check.ok, check.found) == (False, "not installed")


def test_a_broken_native_library_is_told_but_does_not_end_the_examination(monkeypatch):
    monkeypatch.setitem(sys.modules, "lepton_kit.training", None)
    check = doctor._native_check()
    assert (check.ok, check.required) == (False, False)


def test_probe_says_which_interpreter_does_not_run(tmp_path: Path):
    assert "does not run" in doctor.probe(str(tmp_path / "python"))["failure"]


def test_probe_reports_a_crash_in_one_line(tmp_path: Path):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\necho 'Illegal instruction' >&2\nexit 132\n")
    crashing.chmod(0o755)
    assert doctor.probe(str(crashing))["failure"] == "the process ended with code 132: Illegal instruction"


def test_probe_gives_up_on_a_process_that_hangs(tmp_path: Path):
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    assert doctor.probe(str(hanging), seconds=0.2)["failure"].startswith("no answer within")


@pytest.mark.processes
def test_the_real_libraries_are_there_and_stay_unloaded_here():
    code = (
        "import json, sys; from lepton_kit import doctor;"
        "print(json.dumps([doctor.probe(), 'tensorflow' in sys.modules]))"
    )
    import subprocess

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, loaded = json.loads(answer.stdout.splitlines()[-1])
    assert found["gloo"] is True
    assert found["tensorflow"].startswith("2.21.")
    assert loaded is False
