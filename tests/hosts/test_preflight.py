"""What is found of hosts before a run: files, disks, ways to each other, and what is said of what is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lepton_kit as lk
from lepton_kit.data.places import File
from lepton_kit.hosts import HostSpec
from lepton_kit.runtime.hosts import measuring, talk
from lepton_kit.runtime.hosts.findings import Checked, Found, Wanted, of_pair, of_state
from tests.hosts.lab import Lab
from tests.soak.storm import compiled

HOST = HostSpec(name="two", slots=2)
HERE = talk.Here(
    pid=1,
    versions={},
    cores=2,
    memory_bytes=8 * 10**9,
    free_bytes=10**9,
    gpus=[],
    disk_bytes=0,
    clock=0.0,
    native=True,
)


def state(**changes: object) -> talk.State:
    plain: dict[str, object] = {
        "native": None, "cache": "/c", "disk_bytes": 10**9, "cache_problem": None, "ports": (1, 2), "missing": {},
    }  # fmt: skip
    return talk.State(number=1, **(plain | changes))  # type: ignore[arg-type]  # fields of many types


@pytest.mark.parametrize(
    ("changes", "wanted", "text"),
    [
        ({"cache_problem": "Read-only file system"}, Wanted(), "its cache /c can't be written (Read-only file"),
        ({"disk_bytes": 10**6}, Wanted(bytes=5 * 10**6), "the run's files take 5 MB, 1 MB are free at /c"),
        ({}, Wanted(worker_bytes=10**9, workers={"two": 2}), "2 workers need about 2.0 GB of memory (estimated), 1.0"),
        ({"missing": {"/d/a": "no", "/d/b": "no"}}, Wanted(), "/d/a is not the same file there (no), and 1 more"),
    ],
)  # fmt: skip
def test_what_a_host_lacks_is_said_with_figures(changes: dict[str, object], wanted: Wanted, text: str):
    (found,) = of_state(HOST, HERE, state(**changes), wanted)
    assert text in found


def test_a_host_that_has_everything_has_no_problem():
    assert of_state(HOST, HERE, state(), Wanted(bytes=10**6, worker_bytes=10**8, workers={"two": 2})) == []


def test_a_host_of_gpus_needs_one_a_slot():
    (found,) = of_state(HOST.model_copy(update={"device": "gpu"}), HERE, state(), Wanted())
    assert found == "has 0 GPUs for 2 slots"


@pytest.mark.parametrize(
    ("known_as", "text"),
    [("10.0.0.2", "let TCP ports 40000 to 40999"), (None, "let TCP"), ("192.0.2.1", "address translation")],
)
def test_a_closed_way_is_said_with_what_to_open(known_as: str | None, text: str):
    there = talk.Listening(number=1, address="10.0.0.2", port=40123)
    found = of_pair("one", there, "no answer", (40000, 40999), known_as)
    assert found.startswith("one does not reach 10.0.0.2 there on port 40123 (no answer)")
    assert text in found


def test_a_clock_that_is_off_is_worth_a_word_if_it_is_surely_so():
    assert Found(HOST, clock=(-5.0, 0.1)).remarks == ["its clock is 5 s behind"]
    assert Found(HOST, clock=(5.0, 4.0)).remarks == []


def test_of_many_files_some_are_looked_for_and_addresses_are_not():
    files = [File(f"/d/{k}", str(k), 1, "") for k in range(2500)] + [File("s3://b/a", "a", 1, "")]
    sample = Wanted(files).sample()
    assert 800 <= len(sample) <= 1000
    assert all(file.address.startswith("/d/") for file in sample)


def test_files_are_compared_by_size_and_time(tmp_path: Path):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    mark = str(file.stat().st_mtime_ns)
    asked = [(str(file), 3, mark), (str(tmp_path / "b"), 3, mark)]
    found = measuring.state(talk.AskState(number=1, files=asked))
    assert found.missing == {str(tmp_path / "b"): "No such file or directory"}
    assert measuring.state(talk.AskState(number=1, files=[(str(file), 4, mark)])).missing == {
        str(file): "3 bytes there, 4 here"
    }
    later = measuring.state(talk.AskState(number=1, files=[(str(file), 3, "1")]))
    assert later.missing == {str(file): "same size, written at another time"}


def told(question: talk.Question) -> tuple[measuring.Measuring, list[talk.Message]]:
    answers: list[talk.Message] = []
    made = measuring.Measuring(answers.append)
    made._answer(question) if not isinstance(question, talk.Listen) else made.ask(question)
    while not answers:
        time.sleep(0.01)
    return made, answers


def test_a_listener_serves_only_who_knows_the_word():
    listening, (there,) = told(talk.Listen(number=7, interface="lo", nonce="word", seconds=20.0))
    assert isinstance(there, talk.Listening)
    assert there.number == 7
    place = {"address": there.address, "port": there.port, "bytes": 1 << 20, "seconds": 5.0}
    good = measuring.dial(talk.Dial(number=1, nonce="word", **place))  # type: ignore[arg-type]  # fields of many types
    assert good.problem is None
    assert good.rate is not None
    assert good.rate > 0
    wrong = measuring.dial(talk.Dial(number=2, nonce="sord", **place))  # type: ignore[arg-type]  # fields of many types
    assert wrong.problem is not None
    listening.close()
    assert measuring.dial(talk.Dial(number=3, nonce="word", **place)).problem == "Connection refused"  # type: ignore[arg-type]  # fields of many types


def test_an_interface_that_is_not_there_is_named():
    _, (answer,) = told(talk.Listen(number=1, interface="eth77", nonce="word", seconds=1.0))
    assert answer == talk.Listening(number=1, problem="can't listen on eth77 (there is no interface eth77)")


def test_tables_for_programs_and_people():
    checked = lk.Cluster(["localhost/a:2", "localhost/b"]).check()
    assert checked.problems == []
    assert [(one.start, one.to, one.problem) for one in checked.pairs] == [
        ("localhost/a", "localhost/b", None), ("localhost/b", "localhost/a", None),
    ]  # fmt: skip
    assert checked.ways().loc[("localhost/a", "localhost/b"), "mbit_s"] > 0
    assert list(checked.to_dict()) == ["hosts", "pairs"]
    text = str(checked)
    for word in ("horovod", "latency_ms", "native", "give_or_take"):
        assert word in text
    assert "latency_ms" in checked._repr_html_()
    assert isinstance(Checked(()).ways(), pd.DataFrame)


# ---------------------------------------------------------------------- on hosts


@pytest.mark.processes
def test_a_wall_between_hosts_and_a_slow_link_are_found(net: Lab):
    one, two = net["one"], net["two"]
    two.shape("20mbit")
    checked = lk.Cluster("one,two").check()
    assert checked.problems == []
    rate = checked.ways().loc[("one", "two"), "mbit_s"]
    assert 0 < rate < 60, "twice the link's rate and more never comes through"
    assert checked.ways().loc[("two", "one"), "latency_ms"] > 0
    two.wall_off(one)
    try:
        problems = lk.Cluster("one,two").check().problems
        assert any(
            text.startswith(f"two: one does not reach {two.address} there on port")
            and "let TCP ports 32768 to 60999 (its net.ipv4.ip_local_port_range)" in text
            for text in problems
        ), problems
        with pytest.raises(lk.errors.RunError, match="let TCP ports"):
            lk.launch(compiled(), lk.data.sample("digits"), workers=2, hosts="one,two")
    finally:
        two.open_to(one)


@pytest.mark.processes
def test_data_that_a_host_does_not_have_are_named(net: Lab, tmp_path: Path):
    pytest.importorskip("pyarrow")
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 3)).astype("float32"), columns=list("abc"))
    rows.to_parquet(tmp_path / "rows.parquet")
    data = lk.data.parquet(tmp_path, target="c")
    assert lk.Cluster("one").check(data).problems == []
    prepared = data.prepare()
    (tmp_path / "rows.parquet").unlink()
    (problem,) = lk.Cluster("one").check_for(prepared, 1, 10**6).problems
    assert problem.startswith(f"one: the data's {tmp_path / 'rows.parquet'} is not the same file there")
