"""The rendezvous is on loopback, serves this user's processes alone, and forgets what is past."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from lepton_kit.runtime import owners as module
from lepton_kit.runtime.owners import owner_of_connection
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.runtime.rendezvous import Rendezvous

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1234        0 2 1 0 20 4 30 10 -1
"""


@pytest.fixture
def server() -> Iterator[Rendezvous]:
    made = Rendezvous()
    made.begin(on_this_machine(2, made.address))
    yield made
    made.close()


def ask(server: Rendezvous, data: bytes | None = None) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.address[1]}/scope/key", data=data, method="GET" if data is None else "PUT"
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return answer.read()


def test_the_owner_of_a_connection_is_found_in_the_kernels_table():
    assert owner_of_connection(("127.0.0.1", 50000), ("127.0.0.1", 8080), TABLE) == 1234
    assert owner_of_connection(("127.0.0.1", 50001), ("127.0.0.1", 8080), TABLE) is None


@pytest.fixture
def connection() -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Both ends of one that this process holds."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as client, server.accept()[0]:
        yield client.getsockname(), client.getpeername()


def test_the_kernel_says_whose_a_connection_is_without_reading_all_of_them(connection: Any):
    client, server = connection
    assert module.asked(client, server) == os.getuid()
    assert module.asked((client[0], 1), server) is None


@pytest.mark.parametrize("deaf", [OSError(93, "Protocol not supported"), None])
def test_where_the_kernel_does_not_say_the_table_does(
    connection: Any, monkeypatch: pytest.MonkeyPatch, deaf: OSError | None
):
    def asked(*_: Any) -> None:
        if deaf is not None:
            raise deaf

    monkeypatch.setattr(module, "asked", asked)
    assert module.owner(*connection) == os.getuid()
    assert module.owner((connection[0][0], 1), connection[1]) is None


def test_this_users_processes_are_served(server: Rendezvous):
    ask(server, b"address")
    assert ask(server) == b"address"


def test_another_users_connection_is_refused(server: Rendezvous, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "owner", lambda *_: os.getuid() + 1)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask(server, b"address")


def test_a_connection_that_the_table_does_not_list_is_refused(
    server: Rendezvous, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "owner", lambda *_: None)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask(server)


def test_it_listens_on_loopback_only(server: Rendezvous):
    listening = [
        connection.laddr
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == server.address[1]
    ]
    assert [address.ip for address in listening] == ["127.0.0.1"]


def test_a_new_generation_forgets_the_keys_of_the_last(server: Rendezvous):
    ask(server, b"address")
    server.begin(on_this_machine(2, server.address))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(server)


def test_a_refused_generation_gets_no_answers_and_the_next_one_does(server: Rendezvous):
    ask(server, b"address")
    server.refuse()
    with pytest.raises(urllib.error.HTTPError, match="503"):
        ask(server)
    server.begin(on_this_machine(1, server.address))
    ask(server, b"other")
    assert ask(server) == b"other"
