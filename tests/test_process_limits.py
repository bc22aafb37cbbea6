"""Where a user may have no more processes and threads, a launch says so in words and leaves nothing."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

import lepton_kit as lk
from lepton_kit.errors import DeviceError
from lepton_kit.processes import detached, limits
from lepton_kit.runtime import failing, nursery, start
from lepton_kit.runtime.local import LocalExecutor

NO_FORK = BlockingIOError(11, "Resource temporarily unavailable")
NO_THREAD = RuntimeError("can't start new thread")


def refuse(failure: BaseException):
    def start(*_: object, **__: object) -> None:
        raise failure

    return start


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> str:
    """The words for a user who may have 16."""
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (16, 16))
    monkeypatch.setattr(limits, "cgroup_files", lambda _: ["max", "99", "700"])
    return "ulimit -u allows this user 16; pids.max of the control group is 99"


def test_only_a_refused_process_or_thread_is_told(allowed: str, monkeypatch: pytest.MonkeyPatch):
    for failure in (NO_FORK, NO_THREAD):
        assert f"no more processes or threads can be started ({allowed})" in (limits.told(failure) or "")
    for other in (
        OSError(12, "Cannot allocate memory"),
        RuntimeError("no model"),
        ValueError(str(NO_THREAD)),
    ):
        assert limits.told(other) is None
    monkeypatch.setattr(
        limits.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    monkeypatch.setattr(limits, "cgroup_files", lambda _: ["max"])
    assert "the system has as many as it allows" in limits.words()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("RuntimeError: can't start new thread", True),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", True),
        ("F0000 threadpool.cc:9 Check failed: ret == 0 (11 vs. 0) Thread tf_data creation via pthread_create() failed.", True),
        ("RuntimeError: the model has no weights", False),
    ],
)  # fmt: skip
def test_the_end_of_a_log_tells_it(tmp_path: Path, line: str, found: bool):
    log = tmp_path / "driver.log"
    log.write_text(f"begun\n{line}\n    @ 0x7f cfunction_call\n")
    assert (limits.told_in(tmp_path / "none.log", log) is not None) == found
    log.write_text(f"{line}\n" + "trained a step\n" * 1000)
    assert limits.told_in(log) is None, "that was long ago"


@pytest.mark.parametrize("what", ["process", "thread"])
def test_a_launch_that_may_start_nothing_is_refused_in_words_and_leaves_no_folder_and_no_process(
    tmp_path: Path, allowed: str, monkeypatch: pytest.MonkeyPatch, what: str
):
    start.cool()  # what earlier tests have warm would bring the driver forth without a new program
    started = []
    popen = detached.subprocess.Popen

    def begun(*arguments: object, **options: object):
        process = popen(["sleep", "600"])
        started.append(process)
        return process

    if what == "process":
        monkeypatch.setattr(detached.subprocess, "Popen", refuse(NO_FORK))
    else:
        monkeypatch.setattr(detached.subprocess, "Popen", begun)
        monkeypatch.setattr(
            detached.threading, "Thread", lambda **_: SimpleNamespace(start=refuse(NO_THREAD))
        )
    model = lk.LeptonModel((3,), 2, 4, 1)
    with pytest.raises(DeviceError, match="no more processes or threads can be started") as refused:
        lk.launch(model, ([[0.0, 1, 2]] * 8, [0, 1] * 4), workers=1, runs_dir=tmp_path)
    assert allowed in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert [process.poll() for process in started] == [-signal.SIGKILL] * (what == "thread")


def test_a_driver_that_may_start_no_thread_says_so(allowed: str):
    assert failing.could_not_start(NO_THREAD).startswith(
        "the driver could not start: no more processes or threads"
    )
    assert failing.could_not_start(ValueError("x")) == "the driver could not start: ValueError: x"


@pytest.mark.parametrize(
    ("code", "told"), [(1, True), (-signal.SIGABRT, True), (-signal.SIGKILL, False), (0, False)]
)
def test_a_worker_that_ended_by_itself_says_so(tmp_path: Path, code: int, told: bool):
    executor = SimpleNamespace(log=str(tmp_path / "driver.log"))
    (tmp_path / "worker-3.log").write_text(f"RuntimeError: {NO_THREAD}\n")
    found = LocalExecutor._no_more(executor, 3, code)
    assert (found is not None) == told
    assert LocalExecutor._no_more(executor, 2, code) is None


def test_a_launch_goes_on_without_a_nursery(monkeypatch: pytest.MonkeyPatch):
    descriptor = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr(nursery.os, "fork", refuse(NO_FORK))
    nursery.branch_off(descriptor, {}, SimpleNamespace(close=lambda: None))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
