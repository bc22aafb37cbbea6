"""What ``spark=`` of a launch means: a session that is there, or where to start an application; and a look at it first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import SparkSpec
from lepton_kit.runtime.spark.submitting import stopped

RULE = (
    "a SparkSession, a master such as 'spark://head:7077', 'yarn', 'k8s://…' or 'local-cluster[2,1,1024]', or a mapping "
    "of these as `session` or `master`, with conf, gang, address, bind, port"
)
MASTERS = ("local", "spark://", "yarn", "k8s://", "sc://")


def is_session(value: Any) -> bool:
    """Whether it is a session of Spark, classic or Connect. Loads nothing: who has one has loaded Spark."""
    kind = type(value)
    return kind.__name__ == "SparkSession" and kind.__module__.startswith("pyspark.sql")


def read_spark(value: Any) -> tuple[dict[str, Any] | None, Any]:
    """(the setting ``workers.spark``, the session or None) for what a user gave. Raises `ConfigError`.

    >>> read_spark("yarn")
    ({'master': 'yarn'}, None)
    """
    if value is None:
        return None, None
    if is_session(value):
        value = {"session": value}
    elif isinstance(value, str):
        value = {"master": value}
    elif isinstance(value, SparkSpec):
        value = value.model_dump()
    if not isinstance(value, Mapping):
        raise ConfigError("spark", given=type(value).__name__, rule=RULE)
    settings = dict(value)
    session, master = settings.pop("session", None), settings.get("master")
    if session is not None and not is_session(session):
        raise ConfigError("spark.session", given=type(session).__name__, rule="a SparkSession")
    if (session is None) == (master is None):
        raise ConfigError("spark", given=value, rule=f"one of `session` and `master`: {RULE}")
    if master is not None and not (isinstance(master, str) and master.startswith(MASTERS)):
        raise ConfigError("spark.master", given=master, rule=f"what begins with {', '.join(MASTERS)}")
    if session is not None:
        if settings.get("conf"):
            raise ConfigError("spark.conf", given=settings["conf"], rule="nothing: the session has its own")
        settings["conf"] = {"spark.task.cpus": str(session.conf.get("spark.task.cpus", "1"))}
    return settings, session


def check_spark(spec: SparkSpec, session: Any) -> None:
    """Look at what a run on Spark needs here. Raises `ConfigError` or `RunError`."""
    if find_spec("pyspark") is None or find_spec("cryptography") is None:
        raise RunError("spark: needs pyspark and cryptography: pip install lepton-kit[spark]")
    if session is None and spec.master is None:
        raise ConfigError("spark", given=None, rule="a session: the workers of this run are tasks of one")
    if session is None and shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise RunError("spark: Spark needs Java (17), which is not here: no `java` is found, JAVA_HOME is not set")
    if session is not None and stopped(session):
        raise RunError("spark: the session's application has been stopped; make another one")
