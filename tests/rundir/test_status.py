"""The states of a run: each is over, active or unknown, and reads as its name."""

import json

import pytest

from lepton_kit.rundir import RunView, Status


@pytest.mark.parametrize("status", list(Status))
def test_a_state_is_over_or_active_and_its_name_as_text(status: Status):
    assert status == status.value == str(status)
    assert repr(status) == repr(status.value)
    assert json.loads(json.dumps({"status": status})) == {"status": status.value}
    assert not (status.is_over and status.is_active)
    assert status.is_over or not status.is_final
    if status is not Status.UNKNOWN:
        assert status.is_over or status.is_active


def test_what_a_later_version_says_is_unknown_and_neither_over_nor_active():
    view = RunView()
    view.feed({"time": 0.0, "kind": "status", "status": "hibernating", "cause": None})
    assert view.status is Status.UNKNOWN
    assert not view.done
