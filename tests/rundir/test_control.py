"""Requests: refused where no driver could grant them, taken once, in order."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import Request, RunPaths, control, read_requests, send_request


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path / "run")
    made.create()
    return made


def test_requests_are_taken_once_and_in_their_order(paths: RunPaths):
    for workers in (1, 2, 3):
        send_request(paths, "scale", workers=workers)
    requests, refused = read_requests(paths)
    assert [request.arguments["workers"] for request in requests] == [1, 2, 3]
    assert refused == []
    assert read_requests(paths) == ([], [])


def test_a_request_keeps_its_id(paths: RunPaths):
    sent = send_request(paths, "pause")
    assert sent.id
    assert read_requests(paths)[0] == [sent]


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, None, "many"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(paths: RunPaths, workers: object):
    with pytest.raises(ConfigError, match=r"workers: got .* a whole number of at least 1, or 'auto'"):
        send_request(paths, "scale", workers=workers)
    assert read_requests(paths) == ([], [])


def test_auto_is_a_number_of_workers():
    assert Request("scale", {"workers": "auto"}).arguments == {"workers": "auto"}


def test_an_unknown_verb_is_refused():
    with pytest.raises(ConfigError, match="one of scale, pause, resume, stop, interrupt, set, slow"):
        Request("dance", {})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("learning_rate", 0, "above 0"),
        ("learning_rate", "fast", "above 0"),
        ("log_seconds", True, "above 0"),
        ("batch", 3, "one of learning_rate, log_seconds"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, value: object, rule: str):
    with pytest.raises(ConfigError, match=rule):
        Request("set", {name: value})


def test_a_worker_may_be_made_slow_within_bounds():
    assert Request("slow", {"rank": 2, "factor": 3}).arguments["factor"] == 3
    assert Request("slow", {"rank": 0, "data_seconds": 0.0}).arguments == {"rank": 0, "data_seconds": 0.0}


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"factor": 3}, "rank: got None; expected a rank"),
        ({"rank": True, "factor": 3}, "rank: got True"),
        ({"rank": -1, "factor": 3}, "rank: got -1"),
        ({"rank": 1}, "factor or data_seconds"),
        ({"rank": 1, "factor": 0.5}, "factor: got 0.5; expected a number from 1"),
        ({"rank": 1, "factor": float("nan")}, "a number from 1"),
        ({"rank": 1, "factor": "3"}, "a number from 1"),
        ({"rank": 1, "data_seconds": 60}, "a number from 0 .* to 5"),
        ({"rank": 1, "speed": 2}, "one of factor, data_seconds"),
    ],
)
def test_slowness_that_makes_no_sense_is_refused(arguments: dict[str, object], rule: str):
    with pytest.raises(ConfigError, match=rule):
        Request("slow", arguments)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"verb":"scale","arguments":{"workers":0}}', '{"verb":"stop"}']
)
def test_a_file_that_is_no_request_is_told_and_removed(paths: RunPaths, text: str):
    (paths.control / "000-other.json").write_text(text)
    requests, (reason,) = read_requests(paths)
    assert requests == []
    assert "000-other.json" in reason
    assert list(paths.control.iterdir()) == []


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_told_and_removed_and_nothing_waits(
    paths: RunPaths, make: Callable[[Path], object]
):
    make(paths.control / "000-other.json")
    assert read_requests(paths) == ([], ["control/000-other.json: is not a regular file"])
    assert list(paths.control.iterdir()) == []


def test_a_request_reaches_a_driver_on_a_full_disk(paths: RunPaths, monkeypatch: pytest.MonkeyPatch):
    def full(place: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(place))

    monkeypatch.setattr(control, "write_atomically", full)
    sent = [send_request(paths, "scale", workers=3), send_request(paths, "stop")]
    assert all(file.lstat().st_blocks == 0 for file in paths.control.iterdir()), "else they would need room"
    assert read_requests(paths) == (sent, [])
    assert list(paths.control.iterdir()) == []


def test_a_link_to_elsewhere_is_no_request_and_is_not_followed(paths: RunPaths):
    (paths.control / "000-other.json").symlink_to("/dev/zero")
    requests, (reason,) = read_requests(paths)
    assert requests == []
    assert "000-other.json" in reason
    assert list(paths.control.iterdir()) == []


def test_a_request_in_the_writing_is_not_read(paths: RunPaths):
    (paths.control / ".000.json.12.ab").write_text(json.dumps({"verb": "stop", "arguments": {}}))
    assert read_requests(paths) == ([], [])


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path):
    with pytest.raises(RunError, match="control: the request could not be written"):
        send_request(RunPaths(tmp_path / "none"), "stop")
