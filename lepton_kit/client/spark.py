"""What ``spark=`` of a launch means: a session that is there, or where to start an application; and a look at it first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import SparkSpec
from lepton_kit.runtime.hosts.versions import differences
from lepton_kit.runtime.spark.submitting import bring, look, stopped
from lepton_kit.runtime.spark.task import ARCHIVE

RULE = (
    "a SparkSession, a master such as 'spark://head:7077', 'yarn', 'k8s://…' or 'local-cluster[2,1,1024]', or a mapping "
    "of these as `session` or `master`, with conf, archive, gang, address, bind, port"
)
LOOK_SECONDS = 30.0
"""How long an executor may take to say what it has; a cluster without a free slot says nothing."""
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
    if isinstance(settings.get("archive"), str | os.PathLike):
        settings["archive"] = str(Path(settings["archive"]).absolute())
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


def check_spark(spark: Any) -> Looked | None:
    """What an executor of a Spark application has: which Python runs workers there, and whether of an archive or installed.

    ``spark`` is what `launch` takes. None where there is no session to ask, or no task was free to answer in time. Raises
    `RunError` where a run can't use it, such as for other versions, and `ConfigError`.
    """
    settings, session = read_spark(spark)
    return look_at(SparkSpec.model_validate(settings), session)


def look_at(spec: SparkSpec, session: Any) -> Looked | None:
    """The same for a setting and a session, as a launch does it."""
    if find_spec("pyspark") is None or find_spec("cryptography") is None:
        raise RunError("spark: needs pyspark and cryptography: pip install lepton-kit[spark]")
    if spec.archive is not None and not Path(spec.archive).is_file():
        raise ConfigError(
            "spark.archive", given=spec.archive, rule="a file that `lepton spark-archive` wrote"
        )
    if session is None and spec.master is None:
        raise ConfigError("spark", given=None, rule="a session: the workers of this run are tasks of one")
    if session is None:
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            raise RunError(
                "spark: needs Java 17, which is not here: no `java` is found, and no JAVA_HOME is set"
            )
        return None
    if stopped(session):
        raise RunError("spark: the session's application has been stopped; make another one")
    bring(session, spec.archive)
    told = look(session, LOOK_SECONDS)
    if told is None:
        return None
    found = Looked.of(told)
    if found.problem is not None:
        raise RunError(found.problem)
    return found


@dataclass(frozen=True)
class Looked:
    """What an executor has: which Python will run workers, and where it is from."""

    host: str
    python: str | None
    origin: str | None
    problem: str | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Looked:
        """What follows from an executor's own words.

        >>> Looked.of({"host": "a", "pythons": {"/usr/bin/python3": "No module named 'lepton_kit'"}}).problem
        "spark: executors have no lepton_kit (/usr/bin/python3: No module named 'lepton_kit'); `lepton spark-archive` writes what brings it"
        """
        host, pythons = str(told["host"]), told["pythons"]
        for python, there in pythons.items():
            if isinstance(there, Mapping):
                other = "; ".join(differences(there, "spark"))
                problem = (
                    f"spark: executor on {host}: would compute something else: {other}" if other else None
                )
                archived = f"/{ARCHIVE}/bin/python" in python
                return cls(host, python, "archive" if archived else "installed", problem)
        said = "; ".join(f"{python}: {why}" for python, why in pythons.items()) or "no Python is there"
        problem = (
            f"spark: executors have no lepton_kit ({said}); `lepton spark-archive` writes what brings it"
        )
        return cls(host, None, None, problem)
