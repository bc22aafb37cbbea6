"""Whoever holds the application, and the driver that gives it orders: over a real socket, with a session that is a fake."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.rundir import RunPaths, lock
from lepton_kit.runtime.spark import holder, session, submitting, talk
from lepton_kit.runtime.spark.submitting import in_words
from lepton_kit.training.messages import Message

PATIENCE = 30.0


class Jobs:
    """What stands in for Spark: jobs that last until they are let go or cancelled."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, list[int], bool]] = []
        self.cancelled: list[str] = []
        self.go = threading.Event()
        self.over = False

    def run(self, _: Any, order: dict[str, Any], places: list[int], gang: bool) -> None:
        self.begun.append((order["job"], places, gang))
        assert self.go.wait(PATIENCE)
        if places == [9]:
            raise RuntimeError("Job aborted\n\tat org.apache.spark.X")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    made = Jobs()
    monkeypatch.setattr(submitting, "run_tasks", made.run)
    monkeypatch.setattr(submitting, "stopped", lambda _: made.over)
    monkeypatch.setattr(submitting, "mark", lambda *_: None)
    monkeypatch.setattr(submitting, "cancel", lambda _, group: made.cancelled.append(group))
    monkeypatch.setattr(submitting, "_name", lambda _: "an application")
    monkeypatch.setattr(submitting, "_address", lambda _: "127.0.0.1")
    monkeypatch.setattr(submitting.Submitter, "_active", lambda *_: 1)
    monkeypatch.setattr(submitting, "LOOK_SECONDS", 0.05)
    return made


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[RunPaths]:
    made = RunPaths(tmp_path / "run")
    made.create()
    held = lock.take(made)
    yield made
    os.close(held)


def heard(there: holder.Holder, kind: type[Message], count: int = 1) -> Any:
    """The next words of this kind."""
    deadline, found = time.monotonic() + PATIENCE, list[Any]()
    while time.monotonic() < deadline:
        found += [one for one in there.receive() if isinstance(one, kind)]
        if len(found) >= count:
            return found[0] if count == 1 else found
        time.sleep(0.01)
    raise AssertionError(f"{len(found)} times {kind.__name__}")


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def submit(job: int, places: list[int]) -> talk.Submit:
    order = talk.Order(job=job, address="a", port=1, certificate="c", secret="ab", python="p")
    return talk.Submit(order=order, places=places, gang=False)


def test_a_lent_session_runs_jobs_until_the_driver_is_gone(jobs: Jobs, paths: RunPaths):
    there = holder.Session(paths.root)
    session.lend(paths, object())
    assert heard(there, talk.Opened) == talk.Opened(application="an application", address="127.0.0.1")
    there.send(submit(1, [0]))
    there.send(submit(2, [9]))
    assert heard(there, talk.Active).tasks == 1
    until(lambda: sorted(jobs.begun) == [(1, [0], False), (2, [9], False)])
    there.send(talk.Cancel(job=2))
    until(lambda: {name.rpartition("-")[2] for name in jobs.cancelled} == {"2"})
    jobs.go.set()
    ended = {one.job: one.cause for one in heard(there, talk.Ended, 2)}
    assert ended == {1: None, 2: "Job aborted"}
    jobs.go.clear()
    there.send(submit(3, [0]))
    until(lambda: len(jobs.begun) == 3)
    there.close(0.0)
    assert not paths.spark.exists()
    until(lambda: {name.rpartition("-")[2] for name in jobs.cancelled} == {"2", "3"})
    jobs.go.set()


def test_a_job_is_cancelled_until_it_has_ended(jobs: Jobs, paths: RunPaths):
    there = holder.Session(paths.root)
    session.lend(paths, object())
    heard(there, talk.Opened)
    there.send(submit(1, [0]))
    until(lambda: jobs.begun)
    there.send(talk.Cancel(job=1))
    until(lambda: len(jobs.cancelled) > 2)  # Spark cancels only what it knows of already
    jobs.go.set()
    there.close(0.0)


def test_the_end_of_the_application_and_of_its_process_are_told(jobs: Jobs, paths: RunPaths):
    there = holder.Session(paths.root)
    session.lend(paths, object())
    heard(there, talk.Opened)
    jobs.over = True
    assert heard(there, talk.Over).cause == "the Spark application has been stopped"
    assert there.receive() == []
    there.close(0.0)


def test_a_process_that_is_gone_and_one_that_never_came_are_told(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
):
    there = holder.Session(paths.root)
    end = session._reached(paths)
    assert end is not None
    there.receive()
    end.close()
    assert "run.resume(spark=session)" in heard(there, talk.Over).cause
    assert there.receive() == []
    there.close(0.0)
    monkeypatch.setattr(holder, "SESSION_SECONDS", -1.0)
    alone = holder.Session(paths.root)
    assert heard(alone, talk.Over).cause.startswith("no process with a Spark session has come")
    alone.close(0.0)


def test_another_user_is_not_let_in(paths: RunPaths, monkeypatch: pytest.MonkeyPatch):
    there = holder.Session(paths.root)
    monkeypatch.setattr(holder.os, "getuid", lambda: 4711)
    end = session._reached(paths)
    assert end is not None
    until(lambda: there.receive() == [] and there._connection is None and end.recv(1) == b"")
    end.close()
    there.close(0.0)


def test_nobody_is_waited_for_once_there_is_no_driver(tmp_path: Path):
    made = RunPaths(tmp_path / "run")
    made.create()
    assert session._reached(made) is None


class Client:
    host = "localhost"


class OfConnect:
    __module__ = "pyspark.sql.connect.session"
    client = Client()


def test_under_connect_executors_are_given_the_address_that_faces_the_server():
    assert submitting._address(OfConnect()) == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Job aborted", "Job aborted"),
        (
            "[PYTHON_EXCEPTION] An exception was thrown:\n  File x\nModuleNotFoundError: No module named 'pyarrow'\n\n\tat org.x",
            "ModuleNotFoundError: No module named 'pyarrow'",
        ),
        (
            "An error occurred while calling o1.collect.\norg.apache.spark.SparkException: a\nRuntimeError: the driver",
            "RuntimeError: the driver",
        ),
        ("", "Exception"),
    ],
)
def test_what_spark_says_in_words(text: str, said: str):
    assert in_words(Exception(text)) == said
