"""The Spark application of a run that was given a master instead of a session: a small process of the run's driver.

It speaks over its standard input, which is a socket, and ends with it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

from lepton_kit.runtime.spark import talk
from lepton_kit.runtime.spark.submitting import Submitter, bring, in_words
from lepton_kit.runtime.wire import Connection

LOOPBACK = "127.0.0.1"


def main() -> int:
    """Start the application that the driver orders, and serve until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = socket.socket(fileno=os.dup(0))
    os.set_inheritable(end.fileno(), False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    connection = Connection(end, talk.KINDS)
    orders = [one for one in connection.receive() if isinstance(one, talk.Open)]
    if not orders:
        return 1
    try:
        session = opened(orders[0])
        bring(session, orders[0].archive)
    except Exception as failure:
        connection.send(talk.Over(cause=f"no Spark application at {orders[0].master}: {in_words(failure)}"))
        return 1
    try:
        Submitter(session, connection).serve()
    finally:
        session.stop()
    return 0


def opened(order: talk.Open) -> Any:
    """A session of an application of its own. Raises what Spark raises."""
    from pyspark.sql import SparkSession

    if order.master.startswith("sc://"):
        return SparkSession.builder.remote(order.master).getOrCreate()
    builder = SparkSession.builder.master(order.master).appName("lepton_kit")
    if order.master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else the first python3 of the path
        for name in ("spark.driver.host", "spark.driver.bindAddress"):
            builder = builder.config(name, LOOPBACK)
    builder = builder.config("spark.ui.enabled", "false")
    for name, value in order.settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    sys.exit(main())
