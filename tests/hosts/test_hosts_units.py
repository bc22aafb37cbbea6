"""The parts of a run on several hosts, one by one: names, ways, relays, messages on a slow channel."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import HostSpec, read_hosts
from lepton_kit.runtime.hosts import launchers, slurm, talk, versions, ways
from lepton_kit.runtime.hosts.outbox import Outbox
from lepton_kit.runtime.hosts.relay import Relay
from lepton_kit.runtime.wire import Connection, Pipe
from lepton_kit.training import messages
from tests.configs import any_config


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a:2, me@b", ["a:2", "me@b"]),
        (["a"], ["a"]),
        ([{"name": "a", "slots": 3}], [{"name": "a", "slots": 3}]),
    ],
)
def test_hosts_as_people_write_them(given: Any, found: Any):
    assert read_hosts(given) == found


def test_hosts_from_a_file(tmp_path: Path):
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts:\n- gpu-box:4\n- {name: lab-3, slots: 2, speed: 0.5}\n")
    cluster = lk.Cluster(file)
    assert [(host.name, host.slots, host.speed) for host in cluster.hosts] == [
        ("gpu-box", 4, 1.0), ("lab-3", 2, 0.5),
    ]  # fmt: skip
    assert lk.Cluster(str(file)).slots == 6


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "hosts: got"),
        ("a:two", "hosts.0: got 'a:two'; expected name or name:slots"),
        ([3], "hosts.0: got 3"),
        ("a:0", "slots"),
        ("-oProxyCommand=x", "name"),
        ("a,a", "a stands there twice"),
        ([{"name": "a", "slot": 3}], "slot"),
        ("no/such.yaml", "no/such.yaml"),
    ],
)
def test_wrong_hosts_are_named(given: Any, text: str):
    with pytest.raises(ConfigError) as caught:
        lk.Cluster(given)
    assert text in str(caught.value)


def test_a_file_without_hosts_is_named(tmp_path: Path):
    file = tmp_path / "hosts.yaml"
    file.write_text("a: 1\n")
    with pytest.raises(ConfigError, match=r"hosts\.yaml'; expected a file with a list of hosts"):
        read_hosts(file)
    file.write_text("- 2026-02-30\n")  # YAML takes it for a date, and there is no such day
    with pytest.raises(ConfigError, match=r"hosts\.yaml'; expected a YAML file that can be read"):
        read_hosts(file)


MODEL = {"kind": "lepton", "input_shape": (8, 8, 1), "num_classes": 10}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 3, "hosts": ["localhost/a:2"]}, "workers: got 3; expected at most the 2 slots"),
        ({"workers": 2, "standby": 1, "hosts": ["localhost/a:2"]}, "standby"),
        ({"workers": 2, "hosts": ["localhost/a:2"], "weights": (1, 2)}, "the `speed` of each host"),
        ({"workers": 2, "hosts": ["localhost/a:2"], "allreduce": "shared_memory"}, "auto or horovod"),
        ({"workers": "auto", "hosts": ["localhost/a:2"], "standby": 1}, "share the slots of hosts"),
    ],
)
def test_what_does_not_go_with_hosts_is_refused_before_anything_starts(
    tmp_path: Path, options: dict[str, Any], text: str
):
    model = lk.LeptonModel(input_shape=(8, 8, 1), num_classes=10)
    with pytest.raises(ConfigError) as caught:
        lk.launch(model, lk.data.sample("digits"), runs_dir=tmp_path, **options)
    assert text in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_host_without_an_address_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEPTON_SSH_COMMAND", "no-such-ssh")
    checked = lk.Cluster("gpu-box:4,localhost").check()
    assert checked.problems == ["gpu-box: there is no ssh client here (no-such-ssh)"]
    assert "gpu-box" in str(checked)
    assert checked.table().loc["localhost", "state"] == "not asked"


def test_a_host_whose_agent_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake = tmp_path / "ssh"
    fake.write_text(
        '#!/bin/sh\nfor one in "$@"; do [ "$one" = -G ] && echo "hostname 127.0.0.1" && exit 0; done\n'
        "echo 'Permission denied (publickey).' >&2\nexit 255\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("LEPTON_SSH_COMMAND", str(fake))
    (problem,) = lk.Cluster("gpu-box").check().problems
    assert problem == "gpu-box: its agent did not start: Permission denied (publickey)."


def test_hosts_on_this_machine_pass_the_check():
    checked = lk.Cluster(["localhost/a:2", "localhost/b"]).check()
    assert checked.problems == []
    table = checked.table()
    assert list(table["state"]) == ["ready", "ready"]
    assert list(table["interface"]) == ["lo", "lo"]
    assert abs(table["clock_ahead"]).max() < 60


def test_another_version_on_a_host_is_named():
    there = {**versions.versions(), "tensorflow": "2.20.0", "lepton_kit": "other"}
    found = versions.differences(there)
    assert [text.partition(" there")[0] for text in found] == ["tensorflow 2.20.0", "lepton_kit other"]
    assert versions.differences(versions.versions()) == []


def test_the_command_of_a_host_asks_nothing_and_trusts_no_unknown_key():
    command = launchers.launch_command(HostSpec(name="gpu-box", slots=1))
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes"} <= set(command)
    assert command[command.index("--") + 1] == "gpu-box"


def test_the_way_to_this_machine_is_its_loopback():
    assert ways.way_to("127.0.0.1") == ("lo", "127.0.0.1")
    here = [HostSpec(name="localhost", via="local"), HostSpec(name="b", via="local")]
    assert ways.peers_of(here, {}) == [[], []]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"1.1.1.1": None, "1.1.1.2": ("eth0", "1.1.1.9")}, "has no route to 1.1.1.1"),
        ({"1.1.1.1": ("eth1", "x"), "1.1.1.2": ("eth0", "y")}, r"several interfaces \(eth0, eth1\)"),
    ],
)
def test_a_host_that_does_not_reach_the_others_by_one_interface_says_so(found: Any, text: str):
    with pytest.raises(RunError, match=text):
        ways.interface_of("a", found, ["1.1.1.1", "1.1.1.2"])


def test_a_relay_passes_bytes_both_ways_and_ends_with_its_streams():
    server = socket.create_server(("127.0.0.1", 0))
    to_driver: list[messages.Message] = []
    to_host: list[messages.Message] = []
    host, driver = Relay(to_driver.append, listens=True), Relay(to_host.append, listens=False)
    with socket.create_connection(host.address) as client:
        client.sendall(b"question")
        time.sleep(0.05)
        host.pass_on(set(host.filenos()))
        host.pass_on(set(host.filenos()))
        opened, asked = to_driver
        assert opened == talk.Opened(stream=0)
        driver.open(0, server.getsockname())
        answering, _ = server.accept()
        assert isinstance(asked, talk.Streamed)
        driver.write(0, talk.unpacked(asked.data))
        assert answering.recv(99) == b"question"
        answering.sendall(b"answer")
        answering.close()
        time.sleep(0.05)
        for _ in range(2):
            driver.pass_on(set(driver.filenos()))
        for told in to_host:
            assert isinstance(told, talk.Streamed)
            host.write(told.stream, talk.unpacked(told.data))
        assert client.recv(99) == b"answer"
        assert client.recv(99) == b""
    host.close()
    driver.close()
    server.close()


def test_a_stream_to_nobody_ends():
    told: list[messages.Message] = []
    relay = Relay(told.append, listens=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = server.getsockname()
    relay.open(4, nowhere)
    assert told == [talk.Streamed(stream=4, data="")]


def test_urgent_messages_overtake_bulky_ones_which_keep_their_order():
    mine, theirs = socket.socketpair()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    box, reader = Outbox(Connection(mine, talk.KINDS)), Connection(theirs, talk.KINDS)
    bulk = [talk.Piece(digest="x", offset=k, data="y" * 200_000) for k in range(4)]
    for one in bulk:
        box.post_bulk(one)
    box.post(talk.Ping())
    found: list[messages.Message] = []
    while len(found) < 5:
        found += reader.receive()
    assert found.index(talk.Ping()) < 4
    assert [one for one in found if one != talk.Ping()] == bulk
    box.close()


def test_whoever_brings_much_waits_until_the_other_side_is_gone():
    mine, theirs = socket.socketpair()
    box = Outbox(Connection(mine, talk.KINDS))
    piece = talk.Piece(digest="x", offset=0, data="y" * 200_000)
    bringing = threading.Thread(target=lambda: [box.post_bulk(piece) for _ in range(50)])
    bringing.start()
    bringing.join(0.3)
    assert bringing.is_alive()
    theirs.close()
    bringing.join(30)
    assert not bringing.is_alive()
    assert box.closed


def test_messages_over_pipes():
    reading, writing = os.pipe()
    pipe = Pipe(reading, writing, talk.KINDS)
    assert pipe.receive(wait=False) == []
    assert pipe.send(talk.Ping())
    assert pipe.receive() == [talk.Ping()]
    assert not pipe.send(messages.LogTo(descriptor=0)), "a descriptor can't ride along"
    os.close(writing)
    assert pipe.receive() == []
    assert pipe.closed
    os.close(reading)


NODES = {"SLURM_JOB_ID": "3", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_TASKS_PER_NODE": "2,1"}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, [("n1", 2, "cpu", None), ("n2", 1, "cpu", None)]),
        ({"SLURM_CPUS_PER_TASK": "4"}, [("n1", 2, "cpu", 4), ("n2", 1, "cpu", 4)]),
        ({"SLURM_GPUS_ON_NODE": "3"}, [("n1", 3, "gpu", None), ("n2", 3, "gpu", None)]),
        (
            {"SLURM_STEP_ID": "0", "SLURM_TASKS_PER_NODE": "1", "SLURM_JOB_CPUS_PER_NODE": "8(x2)"},
            [("n1", 8, "cpu", None), ("n2", 8, "cpu", None)],
        ),
    ],
)
def test_nodes_of_an_allocation_are_hosts(
    more: dict[str, str], found: list[Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slurm, "ask", lambda *command: "n1\nn2\n")
    config = any_config(workers={"hosts": "slurm"})
    hosts = slurm.settled(config, NODES | more).workers.hosts or ()
    assert [(host.name, host.slots, host.device, host.threads) for host in hosts] == found
    assert {host.via for host in hosts} == {"slurm"}


def test_what_is_said_of_slurm_counts_for_all_its_nodes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(slurm, "ask", lambda *command: "n1\nn2\n")
    host = {
        "name": "slurm",
        "via": "slurm",
        "python": "/opt/env/bin/python",
        "interface": "ib0",
        "threads": 3,
    }
    hosts = slurm.settled(any_config(workers={"hosts": [host]}), NODES).workers.hosts or ()
    assert {(one.python, one.interface, one.threads) for one in hosts} == {("/opt/env/bin/python", "ib0", 3)}
    assert launchers.launch_command(hosts[1])[-4:] == [
        "n2", "/bin/sh", "-c", "trap '' TERM; exec /opt/env/bin/python -P -m lepton_kit.runtime.hosts.agent",
    ]  # fmt: skip


def test_slurm_outside_of_it(monkeypatch: pytest.MonkeyPatch):
    config = any_config(workers={"hosts": "slurm"})
    with pytest.raises(RunError, match="stands in no Slurm allocation; start it in one"):
        slurm.settled(config, {})
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RunError, match="scontrol: is not here; Slurm's programs have to be installed"):
        slurm.settled(config, NODES)
    with pytest.raises(ConfigError, match=r"hosts\.0: got 'slurm:4'"):
        read_hosts("slurm:4")


def test_the_address_of_a_node_is_the_one_that_slurm_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(slurm, "ask", lambda *command: "NodeName=n1 NodeAddr=127.0.0.9 NodeHostName=n1")
    assert launchers.address_of_host(HostSpec(name="n1", via="slurm")) == "127.0.0.9"


@pytest.mark.parametrize(
    ("entry", "via"),
    [
        ({"name": "localhost/a", "slots": 2, "speed": 2.0}, "local"),
        ({"name": "localhost"}, "local"),
        ({"name": "gpu-box", "slots": 4}, "ssh"),
        ({"name": "slurm"}, "slurm"),
        ({"name": "n1", "via": "slurm"}, "slurm"),
    ],
)
def test_how_an_agent_starts_follows_from_the_name_in_a_mapping_too(entry: dict[str, Any], via: str):
    assert HostSpec.model_validate(entry).via == via
    assert lk.Cluster([entry]).hosts[0].via == via if via != "slurm" else True


@pytest.mark.parametrize(
    "name",
    ["LOCALHOST/a:2", "localhost/:2", "localhost/../x:2", "localhost/a:2:3", "localhost/a:1000000", "a/b"],
)
def test_names_that_mean_nothing_are_refused(name: str):
    with pytest.raises(ConfigError, match="name or name:slots"):
        lk.Cluster([name])
