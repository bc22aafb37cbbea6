"""What `spark=` takes, what it becomes in the configuration, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.client import spark as under_test
from lepton_kit.client.options import read
from lepton_kit.client.spark import Looked, look_at, read_spark
from lepton_kit.config import RunSettings
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import SparkSpec
from lepton_kit.runtime.hosts.versions import versions


class SparkSession:
    """Looks like one of Spark's."""

    __module__ = "pyspark.sql.session"

    def __init__(self, cpus: str = "1"):
        self.conf = {"spark.task.cpus": cpus}


def test_what_a_user_gives_becomes_a_setting_and_a_session():
    session = SparkSession("3")
    assert read_spark(None) == (None, None)
    assert read_spark("spark://head:7077") == ({"master": "spark://head:7077"}, None)
    assert (
        read_spark(SparkSpec(master="yarn", gang=True))[0] == SparkSpec(master="yarn", gang=True).model_dump()
    )
    settings, found = read_spark({"session": session, "gang": True})
    assert found is session
    assert settings == {"gang": True, "conf": {"spark.task.cpus": "3"}}
    asked = read({"workers": 2, "standby": 1, "spark": session})
    hosts = asked.settings.workers.hosts or ()
    assert [(host.name, host.via, host.slots, host.threads) for host in hosts] == [
        (f"spark/{n}", "spark", 1, 3) for n in range(3)
    ]
    assert asked.session is session


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (3, "spark: got 'int'; expected a SparkSession, a master"),
        ({}, "expected one of `session` and `master`"),
        ({"session": SparkSession(), "master": "yarn"}, "expected one of `session` and `master`"),
        ({"session": "yarn"}, "spark.session: got 'str'"),
        ("head:7077", "spark.master: got 'head:7077'; expected what begins with local, spark://"),
        ({"session": SparkSession(), "conf": {"a": "b"}}, "spark.conf"),
        ({"master": "yarn", "gangs": True}, "spark.gangs"),
        ({"master": "yarn", "port": 0}, "spark.port"),
    ],
)
def test_what_is_no_application_is_refused(given: Any, text: str):
    with pytest.raises(ConfigError) as caught:
        read({"spark": given})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("workers", "text"),
    [
        ({"count": "auto"}, "workers.spark: got {'master': 'yarn'}; expected `max_workers` beside `auto`"),
        ({"hosts": ["gpu-box"]}, "workers.hosts"),
        ({"count": "many"}, "workers.count"),
        ({"count": 2, "standby": "x"}, "workers.standby"),
    ],
)
def test_settings_that_do_not_go_with_spark_are_named(workers: dict[str, Any], text: str):
    with pytest.raises(ConfigError) as caught:
        RunSettings.from_dict({"workers": {"spark": {"master": "yarn"}, **workers}})
    assert text in str(caught.value)


def test_tasks_without_an_application_are_refused():
    with pytest.raises(ConfigError, match="tasks of Spark where `spark` is given, and none where it is not"):
        RunSettings.from_dict({"workers": {"hosts": [{"name": "a", "via": "spark"}]}})


def test_auto_asks_for_as_many_tasks_as_it_may_use():
    made = RunSettings.from_dict(
        {"workers": {"count": "auto", "max_workers": 5, "threads": 2, "spark": {"master": "yarn"}}}
    )
    assert made.workers.slots == 5
    assert {host.threads for host in made.workers.hosts or ()} == {2}


def test_what_spark_needs_is_looked_for_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(under_test, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install lepton-kit\[spark\]"):
        look_at(SparkSpec(master="yarn"), None)
    monkeypatch.setattr(under_test, "find_spec", lambda name: name)
    with pytest.raises(ConfigError, match="a session: the workers of this run are tasks of one"):
        look_at(SparkSpec(), None)
    with pytest.raises(ConfigError, match="a file that `lepton spark-archive` wrote"):
        look_at(SparkSpec(master="yarn", archive=str(tmp_path / "no.tar.gz")), None)
    monkeypatch.setattr(under_test.shutil, "which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(RunError, match="needs Java 17"):
        lk.launch(
            lk.LeptonModel(input_shape=(8, 8, 1), num_classes=10), lk.data.sample("digits"), spark="yarn",
            runs_dir=tmp_path,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_session_that_was_stopped_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(under_test, "find_spec", lambda name: name)
    monkeypatch.setattr(under_test, "stopped", lambda session: True)
    with pytest.raises(RunError, match="has been stopped"):
        look_at(SparkSpec(), SparkSession())


@pytest.mark.parametrize(
    ("pythons", "origin", "text"),
    [
        ({"/x/lepton_kit/bin/python": versions()}, "archive", None),
        (
            {"/usr/bin/python3": "No module named 'lepton_kit'", "/opt/bin/python": versions()},
            "installed",
            None,
        ),
        (
            {"/opt/bin/python": {**versions(), "keras": "2.0"}},
            "installed",
            "a: would compute something else: keras 2.0 there",
        ),
        ({"/usr/bin/python3": "No module named 'lepton_kit'"}, None, "executors have no lepton_kit"),
        ({}, None, "no Python is there"),
    ],
)
def test_what_an_executor_has_is_said(pythons: dict[str, Any], origin: str | None, text: str | None):
    found = Looked.of({"host": "a", "pythons": pythons})
    assert found.origin == origin
    assert (found.problem is None) is (text is None)
    assert (text or "") in (found.problem or "")
