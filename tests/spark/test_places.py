"""Places of a run on Spark at its driver, with an application that only notes its orders and tasks that are threads."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from lepton_kit.hosts import HostSpec, SparkSpec
from lepton_kit.runtime.hosts.link import HostLink
from lepton_kit.runtime.spark import places as under_test
from lepton_kit.runtime.spark import talk, task
from lepton_kit.runtime.spark.listening import Certificate, Hello, Listener
from lepton_kit.runtime.spark.places import Seat, SparkPlaces
from lepton_kit.training.messages import Message

HOSTS = [HostSpec(name=f"spark/{n}", via="spark") for n in range(2)]
PATIENCE = 30.0


class FakeHolder:
    """An application that keeps its orders and says what it is told to say."""

    waits_for = "the application starts"

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.news: list[Message] = []

    def filenos(self) -> list[int]:
        return []

    def send(self, message: Message) -> None:
        self.orders.append(message)

    def receive(self) -> list[Message]:
        found, self.news = self.news, []
        return found

    def close(self, grace_seconds: float) -> None:
        self.orders.append("closed")


Made = tuple[SparkPlaces, FakeHolder]
Maker = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    holder, made, seats = FakeHolder(), [], []

    class Kept(Seat):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            seats.append(self)

    monkeypatch.setattr(under_test, "Seat", Kept)
    monkeypatch.setattr(under_test, "holder_of", lambda spec, folder: holder)

    def places(**settings: Any) -> Made:
        found = SparkPlaces(SparkSpec(master="yarn", **settings), tmp_path, HOSTS)
        made.append(found)
        holder.news.append(talk.Opened(application="a", address="127.0.0.1"))
        return found, holder

    yield places
    for seat in seats:
        seat.end.close()
        seat.close(0.0)
    for one in made:
        one.close(0.0)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dial(order: dict[str, Any], place_: int, attempt_: int, **changes: Any) -> ssl.SSLSocket:
    """Be a task that has an agent, or says otherwise."""
    end = task._dialled(order)
    told = json.loads(task._hello(order, place_, attempt_, None)) | changes
    end.sendall(json.dumps(told).encode() + b"\n")
    return end


def is_closed(end: ssl.SSLSocket) -> bool:
    end.settimeout(PATIENCE)
    try:
        return end.recv(1) == b""
    except OSError:
        return True


def test_a_task_that_dials_is_joined_to_its_place(make: Maker, tmp_path: Path):
    places, holder = make()
    seats = [places.open(host, tmp_path / "log") for host in HOSTS]
    places.tend(0.0)
    assert [order.places for order in holder.orders] == [[0], [1]]
    assert places._listener.is_open
    orders = [asdict(order.order) for order in holder.orders]
    with dial(orders[0], 0, 7) as first:
        until(lambda: not seats[0].awaited)
        first.sendall(b"from the agent")
        assert seats[0].end.recv(99) == b"from the agent"
        seats[0].end.sendall(b"x" * 300_000)
        first.settimeout(PATIENCE)
        got = 0
        while got < 300_000:
            got += len(first.recv(1 << 16))
        assert seats[1].awaited
        with dial(orders[1], 1, 8):
            until(lambda: not seats[1].awaited)
            places.tend(0.0)
            assert not places._listener.is_open, "it listens only while it expects somebody"
            seats[0].end.close()
            assert is_closed(first), "a place that is given up ends its task"


@pytest.mark.parametrize(
    "changes", [{"token": "0" * 64}, {"token": 3}, {"place": 1}, {"job": 9}, {"attempt": 8}]
)
def test_whoever_has_not_the_token_of_place_and_attempt_is_sent_away(
    make: Maker, tmp_path: Path, changes: dict[str, Any]
):
    places, holder = make()
    seats = [places.open(host, tmp_path / "log") for host in HOSTS]
    places.tend(0.0)
    with dial(asdict(holder.orders[0].order), 0, 7, **changes) as stranger:
        assert is_closed(stranger)
    assert [seat.awaited for seat in seats] == [True, True]


def test_a_token_is_good_for_one_time(make: Maker, tmp_path: Path):
    places, holder = make()
    seat = places.open(HOSTS[0], tmp_path / "log")
    places.open(HOSTS[1], tmp_path / "log")
    places.tend(0.0)
    order = asdict(holder.orders[0].order)
    with dial(order, 0, 7) as first:
        until(lambda: not seat.awaited)
        with dial(order, 0, 7) as again:
            assert is_closed(again)
        first.sendall(b"still there")
        assert seat.end.recv(99) == b"still there"


def test_a_task_trusts_no_other_driver():
    order = {"address": "127.0.0.1", "certificate": Certificate().pem}
    other = Listener(lambda hello, end: None)
    other.open("127.0.0.1", 0)
    try:
        with pytest.raises(RuntimeError, match=r"is not reached at 127\.0\.0\.1:\d+ .*verify failed"):
            task._dialled({**order, "port": other.port})
    finally:
        other.close()


@pytest.mark.parametrize(
    "said", [b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"job": 1}\n', b"x" * 20_000]
)
def test_noise_is_no_hello(said: bytes):
    arrived: list[Hello] = []
    listener = Listener(lambda hello, end: arrived.append(hello))
    listener.open("127.0.0.1", 0)
    try:
        order = {"address": "127.0.0.1", "port": listener.port, "certificate": listener.certificate.pem}
        end = task._dialled(order)
        end.sendall(said)
        if said == b"":
            end.close()
        else:
            assert is_closed(end)
            end.close()
        assert arrived == []
    finally:
        listener.close()


def test_a_later_attempt_takes_the_place_of_an_earlier_one(make: Maker, tmp_path: Path):
    places, holder = make()
    seat = places.open(HOSTS[0], tmp_path / "log")
    places.open(HOSTS[1], tmp_path / "log")
    places.tend(0.0)
    order = asdict(holder.orders[0].order)
    with dial(order, 0, 7) as first:
        until(lambda: not seat.awaited)
        with dial(order, 0, 8) as second:
            assert is_closed(first)
            assert seat.end.recv(1) == b"", "the link finds out, and opens the place again"
            seat = places.open(HOSTS[0], tmp_path / "log")
            assert not seat.awaited
            second.sendall(b"here")
            assert seat.end.recv(99) == b"here"


def test_a_job_that_failed_is_told_of_and_submitted_again(make: Maker, tmp_path: Path):
    places, holder = make()
    seat = places.open(HOSTS[0], tmp_path / "log")
    places.tend(0.0)
    (order,) = holder.orders
    holder.news.append(talk.Ended(job=order.order.job, cause="Job aborted"))
    places.tend(1.0)
    assert seat.end.recv(1) == b""
    assert (tmp_path / "log").read_text() == "Job aborted\n"
    places.open(HOSTS[0], tmp_path / "log")
    places.tend(1.5)
    assert len(holder.orders) == 1, "not at once"
    places.tend(2.5)
    assert [one.places for one in holder.orders] == [[0], [0]]
    with dial(asdict(order.order), 0, 3) as late:
        assert is_closed(late), "of the job that has ended"


def test_an_executor_without_lepton_kit_says_so(make: Maker, tmp_path: Path):
    (tmp_path / "logs").mkdir()
    places, holder = make()
    link = HostLink(HOSTS[0], "run", tmp_path, 10.0, places.open)
    link.connect()
    places.tend(0.0)
    problem = "/usr/bin/python3: No module named 'lepton_kit'"
    with dial(asdict(holder.orders[0].order), 0, 1, problem=problem):
        until(lambda: link.receive(set(link.filenos())) == [] and link.state == "lost")
    assert link.cause == f"spark/0: its agent did not start: {problem}"


def test_a_place_is_awaited_without_end(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "logs").mkdir()
    places, _ = make()
    link = HostLink(HOSTS[0], "run", tmp_path, 10.0, places.open)
    link.connect()
    link.tend(time.monotonic() + 10_000.0, 0.0)
    assert link.state == "connecting"
    link.close(0.0)


def test_a_gang_is_one_job(make: Maker, tmp_path: Path):
    places, holder = make(gang=True)
    places.open(HOSTS[1], tmp_path / "log")
    places.tend(0.0)
    places.open(HOSTS[0], tmp_path / "log")
    places.tend(0.0)
    (order,) = holder.orders
    assert (order.places, order.gang) == ([0, 1], True)


def test_what_is_waited_for_is_said(make: Maker, tmp_path: Path):
    places, holder = make()
    assert places.waits_for() == "the application starts"
    places.open(HOSTS[0], tmp_path / "log")
    places.tend(0.0)
    assert places.waits_for() == "the cluster has no free slots, or its tasks are still starting"
    holder.news.append(talk.Active(job=1, tasks=0))
    places.tend(0.0)
    assert places.waits_for() == "the cluster has no free slots"
    holder.news.append(talk.Active(job=1, tasks=1))
    places.tend(0.0)
    assert places.waits_for() is None


def test_the_end_of_the_application_is_one_loss_from_which_a_run_can_be_resumed(make: Maker):
    places, holder = make()
    holder.news += [talk.Over(cause="stopped"), talk.Over(cause="again")]
    places.tend(0.0)
    (loss,) = places.losses()
    assert (loss.cause, loss.final, loss.resumable, loss.host) == ("stopped", True, True, "spark")
    assert places.losses() == []


def test_a_port_that_is_taken_is_said(make: Maker, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places, _ = make(port=taken.getsockname()[1])
        places.open(HOSTS[0], tmp_path / "log")
        places.tend(0.0)
        (loss,) = places.losses()
    assert "can't listen for agents on 127.0.0.1" in loss.cause
    assert "`address` and `bind`" in loss.cause


def test_a_port_that_somebody_took_in_the_meantime_is_left_to_them(make: Maker, tmp_path: Path):
    places, holder = make()
    seat = places.open(HOSTS[0], tmp_path / "log")
    places.tend(0.0)
    order = asdict(holder.orders[0].order)
    with dial(order, 0, 1):
        until(lambda: not seat.awaited)
        places.tend(0.0)
        with socket.create_server(("127.0.0.1", order["port"])):
            places.open(HOSTS[0], tmp_path / "log")
            places.tend(1.0)
            assert places._listener.is_open
            assert places._listener.port != order["port"]
            assert holder.orders[-1] == talk.Cancel(job=order["job"]), "its task would dial the old port"


def test_a_pump_passes_what_was_said_before_the_end(tmp_path: Path):
    listener_side: list[ssl.SSLSocket] = []
    listener = Listener(lambda hello, end: listener_side.append(end))
    listener.open("127.0.0.1", 0)
    listener.expect(1, "ab")
    order = {
        "job": 1, "address": "127.0.0.1", "port": listener.port, "certificate": listener.certificate.pem, "secret": "ab",
    }  # fmt: skip
    end = dial(order, 0, 1)
    until(lambda: listener_side)
    mine, theirs = socket.socketpair()
    result: list[bool] = []
    pumping = threading.Thread(target=lambda: result.append(task.pump(end, theirs)))
    pumping.start()
    mine.sendall(b"y" * 100_000)
    mine.close()
    listener_side[0].settimeout(PATIENCE)
    got = 0
    while got < 100_000:
        got += len(listener_side[0].recv(1 << 16))
    pumping.join(PATIENCE)
    assert result == [False], "the plain side has ended"
    for one in (end, theirs, listener_side[0]):
        one.close()
    listener.close()


def test_the_seat_of_a_run_that_ends_closes(tmp_path: Path):
    seat = Seat(tmp_path / "log", threading.RLock())
    seat.close(0.0)
    assert not seat.awaited
    assert seat.end.recv(1) == b""
