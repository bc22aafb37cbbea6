"""What a task of Spark does for a run: starts an agent, dials the driver, and passes bytes between the two.

It travels to the executors by value, with the order as data, so it needs nothing there but Python itself: where
lepton_kit is missing, it can still say so.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AGENT = "lepton_kit.runtime.hosts.agent"
ARCHIVE = "lepton_kit"
"""The name under which an archive of `lepton spark-archive` is unpacked."""
ASK_SECONDS = 60.0
VERSIONS = (
    "import json; from lepton_kit.runtime.hosts.versions import versions; print(json.dumps(versions()))"
)
START_SECONDS = 120.0
"""How long an agent may take to its first word, on an executor that is busy."""
DIAL_SECONDS = 120.0
"""How long the driver is dialled: it listens again once it has noticed that an earlier attempt is lost."""
END_SECONDS = 10.0
HELD_BYTES = 1 << 18
TAIL_BYTES = 2000


def token(secret: str, place: int, attempt: int) -> str:
    """What proves that a task belongs to the run: of one place and attempt, and good for one time.

    >>> token("00", 0, 1) == token("00", 0, 1) != token("00", 1, 1)
    True
    """
    return hmac.new(bytes.fromhex(secret), f"{place}:{attempt}".encode(), hashlib.sha256).hexdigest()


def serve(order: dict[str, Any], rows: Iterator[Any]) -> Iterator[Any]:
    """Be the place whose number stands in this task's only row, until the run needs it no more; no row comes back.

    ``order`` has job, address, port, certificate (PEM), secret, and the path that Python has at the driver. Rows are
    numbers, or in Arrow's batches.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None, "this runs in tasks alone"
    for row in rows:
        for place in [row] if isinstance(row, int) else row.column(0).to_pylist():
            _be_place(order, int(place), int(context.taskAttemptId()))
    yield from ()


def _be_place(order: dict[str, Any], place: int, attempt: int) -> None:
    """Start an agent with the first Python that can, and join it to the driver; or tell the driver why there is none."""
    problems = []
    for python in pythons(order["python"]):
        with _Agent(python) as agent:
            problem = agent.why_not_there()
            if problem is None:
                with _dialled(order) as driver:
                    driver.sendall(_hello(order, place, attempt, None))
                    if not pump(driver, agent.end):
                        raise RuntimeError(f"the agent has ended: {agent.last_words() or 'without a word'}")
                return
            problems.append(problem)
    with _dialled(order) as driver:
        driver.sendall(_hello(order, place, attempt, "; ".join(problems)))


def pythons(at_driver: str) -> list[str]:
    """The Pythons of this executor that may have lepton_kit: of the archive, of Spark's tasks, of the driver's path."""
    from pyspark import SparkFiles

    archived = os.path.join(os.path.abspath(SparkFiles.getRootDirectory()), ARCHIVE, "bin", "python")
    found = dict.fromkeys([archived, os.path.abspath(sys.executable), at_driver])
    return [python for python in found if os.access(python, os.X_OK)]


def look(at_driver: str, _: Iterator[Any]) -> Iterator[Any]:
    """Say, in JSON, what each Python of this executor has: its path -> versions, or why it has no lepton_kit."""
    told: dict[str, Any] = {}
    for python in pythons(at_driver):
        try:
            answer = subprocess.run(
                [python, "-P", "-c", VERSIONS], capture_output=True, text=True, timeout=ASK_SECONDS
            )
            lines = (answer.stdout or answer.stderr).strip().splitlines()
            last = lines[-1].strip() if lines else "it ended without a word"
            told[python] = last if answer.returncode else json.loads(last)
        except (OSError, subprocess.SubprocessError, ValueError) as failure:
            told[python] = str(failure)
    yield json.dumps({"host": socket.gethostname(), "pythons": told})


def in_arrow(say: Any, batches: Iterator[Any]) -> Iterator[Any]:
    """What is said of rows, as Arrow's batches with one column."""
    import pyarrow

    for text in say(batches):
        yield pyarrow.RecordBatch.from_pydict({"told": [text]})


class _Agent:
    """An agent whose standard input and output are the other side of ``end``; it ends with that."""

    def __init__(self, python: str):
        self._python = python
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the agent
        self.end, theirs = socket.socketpair()
        with theirs:
            self._process = _started(python, theirs, self._errors)

    def __enter__(self) -> _Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.end.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def why_not_there(self) -> str | None:
        """Wait for its first bytes, which stay where they are; why there are none, in words."""
        said = bool(select.select([self.end], [], [], START_SECONDS)[0])
        if said and self.end.recv(1, socket.MSG_PEEK):
            return None
        if said:
            self._process.wait(END_SECONDS)
        silent = "it ended without a word" if said else f"no word for {START_SECONDS:.0f} s"
        return f"{self._python}: {self.last_words() or silent}"

    def last_words(self) -> str:
        """The last line that it has printed."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace")[-TAIL_BYTES:].strip().splitlines()
        return lines[-1].strip() if lines else ""


def _started(python: str, end: socket.socket, errors: Any) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if not os.access(Path.home(), os.W_OK):  # in a container, say: what it keeps goes with the executor
        environment.setdefault("XDG_CACHE_HOME", os.path.abspath("lepton_kit-cache"))
    return subprocess.Popen(
        [python, "-P", "-m", AGENT],
        stdin=end.fileno(),
        stdout=end.fileno(),
        stderr=errors,
        env=environment,
        start_new_session=True,
    )


def _hello(order: dict[str, Any], place: int, attempt: int, problem: str | None) -> bytes:
    told = {
        "job": order["job"],
        "place": place,
        "attempt": attempt,
        "token": token(order["secret"], place, attempt),
        "problem": problem,
    }
    return json.dumps(told).encode() + b"\n"


def _dialled(order: dict[str, Any]) -> ssl.SSLSocket:
    """A connection to the driver, and to nobody else: it has the key of the one certificate that is trusted."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.minimum_version = ssl.TLSVersion.TLSv1_3
    trusting.check_hostname = False  # the certificate is the run's own, and names no host
    trusting.load_verify_locations(cadata=order["certificate"])
    deadline = time.monotonic() + DIAL_SECONDS
    while True:
        try:
            plain = socket.create_connection((order["address"], order["port"]), timeout=10.0)
            try:
                return trusting.wrap_socket(plain)
            except BaseException:
                plain.close()
                raise
        except OSError as failure:
            if isinstance(failure, ssl.SSLCertVerificationError) or time.monotonic() > deadline:
                where = f"{order['address']}:{order['port']}"
                raise RuntimeError(f"the run's driver is not reached at {where} ({failure})") from None
        time.sleep(0.5)


def pump(secure: ssl.SSLSocket, plain: socket.socket) -> bool:
    """Pass bytes both ways until one side ends, and what it has said before; whether it was the secure side."""
    secure.setblocking(False)
    plain.setblocking(False)
    outward, inward = bytearray(), bytearray()
    while True:
        reading: list[socket.socket] = [plain] if len(outward) < HELD_BYTES else []
        room = len(inward) < HELD_BYTES
        reading += [secure] if room else []
        writing: list[socket.socket] = ([secure] if outward else []) + ([plain] if inward else [])
        waits = 0.0 if room and secure.pending() else None  # bytes that are decrypted already wake no select
        ready, free, _ = select.select(reading, writing, [], waits)
        try:
            if room and (secure in ready or secure.pending()):
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if not (data := secure.recv(1 << 14)):
                        _drain(plain, inward)
                        return True
                    inward += data
            if secure in free:
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    del outward[: secure.send(bytes(outward[: 1 << 14]))]
        except OSError:
            return True
        try:
            if plain in ready:
                if not (data := plain.recv(1 << 16)):
                    _drain(secure, outward)
                    return False
                outward += data
            if plain in free:
                del inward[: plain.send(inward)]
        except OSError:
            return False


def _drain(end: socket.socket, left: bytearray) -> None:
    end.settimeout(END_SECONDS)
    with contextlib.suppress(OSError):
        end.sendall(bytes(left))
