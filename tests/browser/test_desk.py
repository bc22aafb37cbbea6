"""The desk of the browser tests leaves no server behind, whatever becomes of the tests."""

import signal
import subprocess
import sys

import psutil

from tests.browser.desk import PROJECT
from tests.processes import eventually

SERVE = """
import pathlib, sys, time
from tests.browser.desk import served
folder = pathlib.Path(sys.argv[1])
(folder / "served").mkdir()
with served(folder / "served", folder / "home"):
    print("served", flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_tests_that_are_killed(tmp_path):
    command = [sys.executable, "-c", SERVE, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline() == "served\n"
        servers = psutil.Process(tests.pid).children()
        assert servers
        tests.send_signal(signal.SIGKILL)
    eventually(lambda: not any(one.is_running() and one.status() != "zombie" for one in servers), "ended")
