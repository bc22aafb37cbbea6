"""A Spark application with two real executors on this machine, for all tests of a module."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

MASTER = "local-cluster[2,1,1024]"


def why_not() -> str | None:
    """Why there can be no Spark here, in words; None if there can."""
    for name in ("pyspark", "cryptography"):
        if find_spec(name) is None:
            return f"{name} is not installed (the extra `spark`)"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "there is no Java (Debian: openjdk-17-jre-headless)"
    return None


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(MASTER).appName("tests")
    for name, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.pyspark.python": sys.executable,
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
