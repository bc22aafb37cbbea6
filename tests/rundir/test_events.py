"""The event log survives torn lines and full disks, and readers see whole events only."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from lepton_kit.rundir import EventLog, EventReader, events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def numbers(path: Path) -> list[int]:
    return [event["n"] for event in EventReader(path).poll()]


def test_what_is_appended_is_read_once(path: Path):
    log, reader = EventLog(path), EventReader(path)
    log.append("note", n=1)
    assert [event["n"] for event in reader.poll()] == [1]
    log.append("note", n=np.int64(2))
    log.append("note", n=np.arange(2))
    assert [event["n"] for event in reader.poll()] == [2, [0, 1]]
    assert reader.poll() == []
    log.close()


def test_the_log_is_its_owners_alone(path: Path):
    EventLog(path).close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_line_without_its_end_waits(path: Path):
    path.write_bytes(b'{"kind":"note","n":1}\n{"kind":"note"')
    reader = EventReader(path)
    assert [event["n"] for event in reader.poll()] == [1]
    with open(path, "ab") as file:
        file.write(b',"n":2}\n')
    assert [event["n"] for event in reader.poll()] == [2]


def test_a_torn_last_line_does_not_spoil_what_follows(path: Path):
    path.write_bytes(b'{"kind":"note","n":1}\n{"kind":"no')
    log = EventLog(path)
    log.append("note", n=2)
    log.close()
    reader = EventReader(path)
    assert [event["n"] for event in reader.poll()] == [1, 2]
    assert reader.skipped_lines == 1


@pytest.mark.parametrize("line", [b"\0\0\0", b"[1]", b'{"n":1}', b"\xff\xfe"])
def test_a_line_that_is_no_event_is_skipped_and_counted(path: Path, line: bytes):
    path.write_bytes(line + b'\n\n{"kind":"note","n":2}\n')
    reader = EventReader(path)
    assert [event["n"] for event in reader.poll()] == [2]
    assert reader.skipped_lines == 1


def test_a_full_disk_keeps_events_in_memory_until_there_is_room(path: Path, monkeypatch: pytest.MonkeyPatch):
    log = EventLog(path)
    log.append("note", n=1)
    write, room = os.write, [0]

    def full(descriptor: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", full)
    log.append("note", n=2)
    log.append("note", n=3)
    assert log.blocked
    room[0] = 20  # a part of a line fits: it is torn, and told again
    assert not log.flush()
    room[0] = 10_000
    assert log.flush()
    assert not log.blocked
    assert numbers(path) == [1, 2, 3]


def test_beyond_the_limit_the_oldest_events_are_given_up(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "BACKLOG_LIMIT", 2)
    log = EventLog(path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    for n in range(4):
        log.append("note", n=n)
    monkeypatch.setattr(os, "write", write)
    log.sync()
    log.close()
    assert log.given_up == 2
    assert numbers(path) == [2, 3]


def test_a_value_without_json_form_is_refused(path: Path):
    with pytest.raises(TypeError, match="an event holds object"):
        EventLog(path).append("note", n=object())


def test_no_log_is_no_event(tmp_path: Path):
    assert EventReader(tmp_path / "none").poll() == []


def test_a_second_reader_sees_everything(path: Path):
    log = EventLog(path)
    for n in range(50):
        log.append("note", n=n)
    first, second = EventReader(path), EventReader(path)
    assert first.poll() == second.poll() == [json.loads(line) for line in path.read_text().splitlines()]
    log.close()


def test_what_is_too_much_for_the_last_room_is_given_up_by_kind(path: Path, monkeypatch: pytest.MonkeyPatch):
    log = EventLog(path)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        for n in range(100):
            log.append("steps", n=n)
        log.append("status", n=100)
        log.shed("steps", 1 << 20)
        log.shed("steps", 1000)
    log.append("status", n=101)
    told = EventReader(path).poll()
    assert [event["kind"] for event in told] == ["status", "warning", "status"]
    assert "100 events of the kind 'steps'" in told[1]["text"]


def test_sync_asks_the_disk_and_says_when_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log, asked = EventLog(tmp_path / "events.jsonl"), []
    monkeypatch.setattr(os, "fsync", asked.append)
    assert log.sync()
    assert len(asked) == 1

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    assert not log.sync()


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_is_set_changes_no_duration_of_a_log(
    path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
):
    clock = {"wall": 1_800_000_000.0, "passed": 5000.0}
    monkeypatch.setattr(events.time, "time", lambda: clock["wall"])
    monkeypatch.setattr(events.time, "clock_gettime", lambda _: clock["passed"])
    log = EventLog(path)
    log.append("note", n=1)
    clock["wall"] += jump + 7
    clock["passed"] += 7
    log.append("note", n=2)
    log.close()
    assert [event["time"] for event in EventReader(path).poll()] == [1_800_000_000.0, 1_800_000_007.0]


def test_a_log_begins_at_the_systems_time(path: Path):
    before = time.time()
    log = EventLog(path)
    told = log.append("note", n=1)["time"]
    log.close()
    assert before - 0.1 <= told <= time.time() + 0.1
