"""Calls in processes of their own: what becomes of them when who called is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

CALLER = """
from lepton_kit.processes.isolated import Workshop

with Workshop() as workshop:
    workshop("subprocess:call", args=["sleep", "600"])
"""


MANY = """
from concurrent.futures import ThreadPoolExecutor
from lepton_kit.processes.isolated import Workshop, fork_call

with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(lambda n: fork_call("builtins:dict", n=n), range(12))) == [{"n": n} for n in range(12)]
    with Workshop() as workshop:
        assert list(pool.map(lambda n: workshop("builtins:dict", n=n), range(12))) == [{"n": n} for n in range(12)]
"""


@pytest.mark.processes
def test_calls_from_several_threads_each_get_their_own_answer():
    subprocess.run([sys.executable, "-c", MANY], check=True, timeout=300)


@pytest.mark.processes
def test_work_ends_with_the_process_that_asked_for_it():
    caller = subprocess.Popen([sys.executable, "-c", CALLER])
    try:
        deadline = time.monotonic() + 120
        while not (workers := _with_sleep(caller.pid)):
            assert time.monotonic() < deadline, "the call never began"
            time.sleep(0.1)
        assert len(workers) == 3  # the workshop, its fork, and what that had started
        os.kill(caller.pid, signal.SIGKILL)
    finally:
        caller.kill()
        caller.wait()
    gone, alive = psutil.wait_procs(workers, timeout=30)
    for process in alive:
        process.kill()
    assert len(gone) == 3


def _with_sleep(pid: int) -> list[psutil.Process]:
    """All that a process has started, once a ``sleep`` is among it."""
    found = psutil.Process(pid).children(recursive=True)
    return found if any(process.name() == "sleep" for process in found) else []
