"""Runs the jobs of a run in a Spark session, classic or Connect: where the session lives, on a driver's orders."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import secrets
import select
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from lepton_kit.errors import RunError
from lepton_kit.runtime.hosts.ways import address_of, way_to
from lepton_kit.runtime.spark import talk, task
from lepton_kit.runtime.wire import Connection

_ERROR = re.compile(r"^[\w.]*(Error|Exception)\b.*: ")
_OF_JAVA = ("org.", "java.", "py4j.")
END_SECONDS = 30.0
AGAIN_SECONDS = 0.2
LOOK_SECONDS = 2.0
"""How often it is asked which jobs have tasks that run."""


class Submitter:
    """Serves one driver until it closes the connection, or the application ends."""

    def __init__(self, session: Any, connection: Connection):
        self._session, self._driver = session, connection
        self._running: dict[int, int | None] = {}
        """Job -> how many of its tasks were active when it was last looked."""
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Obey until the driver is gone; then no job of this run is left."""
        self._driver.send(talk.Opened(application=_name(self._session), address=_address(self._session)))
        try:
            while not self._driver.closed:
                if select.select([self._driver], [], [], LOOK_SECONDS)[0]:
                    for message in self._driver.receive(wait=False):
                        self._obey(message)
                if stopped(self._session):
                    self._driver.send(talk.Over(cause="the Spark application has been stopped"))
                    return
                self._cancel()
                self._tell_of_tasks()
        finally:
            self._cancelled.update(self._running)
            deadline = time.monotonic() + END_SECONDS
            while self._running and time.monotonic() < deadline:
                self._cancel()
                time.sleep(AGAIN_SECONDS)
            with contextlib.suppress(OSError):
                self._driver.shut()

    def _obey(self, message: Any) -> None:
        match message:
            case talk.Submit(order=order):
                with self._lock:
                    self._running[order.job] = None
                threading.Thread(
                    target=self._run, args=(message,), daemon=True, name=f"lepton-spark-{order.job}"
                ).start()
            case talk.Cancel(job=job):
                self._cancelled.add(job)

    def _cancel(self) -> None:
        """Cancel what is to end, again and again: Spark cancels only a job that has begun by then."""
        for job in self._cancelled & set(self._running):
            cancel(self._session, self._group(job))

    def _run(self, wanted: talk.Submit) -> None:
        """Run a job to its end, which is told."""
        job, cause = wanted.order.job, None
        try:
            mark(self._session, self._group(job))
            if job not in self._cancelled:
                run_tasks(self._session, asdict(wanted.order), wanted.places, wanted.gang)
        except Exception as failure:  # whatever Spark raises, of whatever kind; the driver is told
            cause = in_words(failure)
        with self._lock:
            self._running.pop(job, None)
        self._driver.send(talk.Ended(job=job, cause=cause))

    def _group(self, job: int) -> str:
        return f"lepton_kit-{id(self):x}-{job}"

    def _tell_of_tasks(self) -> None:
        for job, known in list(self._running.items()):
            active = None
            with contextlib.suppress(Exception):
                active = self._active(job)
            if active != known:
                self._driver.send(talk.Active(job=job, tasks=active))
                with self._lock:
                    if job in self._running:
                        self._running[job] = active

    def _active(self, job: int) -> int | None:
        if is_connect(self._session):
            return None
        tracker = self._session.sparkContext.statusTracker()
        stages = [
            stage
            for one in tracker.getJobIdsForGroup(self._group(job))
            if (info := tracker.getJobInfo(one)) is not None
            for stage in info.stageIds
        ]
        found = [tracker.getStageInfo(stage) for stage in stages]
        active: int = sum(info.numActiveTasks for info in found if info is not None)
        return active


def run_tasks(session: Any, order: dict[str, Any], places: list[int], gang: bool) -> None:
    """Run one task for each place, and wait until all have ended. Raises what Spark raises."""
    import pyspark.cloudpickle

    pyspark.cloudpickle.register_pickle_by_value(task)
    serve = partial(task.serve, order)
    if is_connect(session):
        rows = session.range(min(places), max(places) + 1, 1, len(places))
        rows.mapInArrow(serve, "place long", barrier=gang).collect()
    else:  # this way the executors' Python needs nothing beside what Spark brings
        places_each = session.sparkContext.parallelize(places, len(places))
        (places_each.barrier() if gang else places_each).mapPartitions(serve).collect()


def bring(session: Any, archive: str | None) -> None:
    """Have an archive unpacked at all executors. Raises what Spark raises."""
    if archive is None:
        return
    name = f"{archive}#{task.ARCHIVE}"
    if is_connect(session):
        session.addArtifacts(name, archive=True)
    elif name not in _brought(session):
        session.sparkContext.addArchive(name)


def _brought(session: Any) -> list[str]:
    return [uri for uri in session.sparkContext.listArchives if uri.endswith(f"#{task.ARCHIVE}")]


def look(session: Any, seconds: float) -> dict[str, Any] | None:
    """What an executor has: host, and for each Python there its versions or why it has no lepton_kit.

    None where no task has answered in time: the cluster may have no free slot now. Raises `RunError` where one can't run.
    """
    import pyspark.cloudpickle

    pyspark.cloudpickle.register_pickle_by_value(task)
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    group = f"lepton_kit-look-{secrets.token_hex(4)}"

    def ask() -> None:
        try:
            mark(session, group)
            answers.put(json.loads(_asked(session)))
        except Exception as failure:  # whatever Spark raises; it is told in words
            answers.put(RunError(f"spark: a task can't run there: {in_words(failure)}"))

    threading.Thread(target=ask, daemon=True, name=group).start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        cancel(session, group)
        return None
    if isinstance(found, RunError):
        raise found
    told: dict[str, Any] = found
    return told


def _asked(session: Any) -> str:
    ask = partial(task.look, sys.executable)
    if is_connect(session):
        rows = session.range(0, 1, 1, 1).mapInArrow(partial(task.in_arrow, ask), "told string")
        return str(rows.collect()[0][0])
    return str(session.sparkContext.parallelize([0], 1).mapPartitions(ask).collect()[0])


def mark(session: Any, group: str) -> None:
    """Have this thread's jobs found again under the name of a group."""
    if is_connect(session):
        session.addTag(group)
    else:
        session.sparkContext.setJobGroup(group, "lepton_kit: places of a run", True)


def cancel(session: Any, group: str) -> None:
    """End the jobs of a group, if the application is still there."""
    with contextlib.suppress(Exception):  # an application that is gone has no jobs
        if is_connect(session):
            session.interruptTag(group)
        else:
            session.sparkContext.cancelJobGroup(group)


def is_connect(session: Any) -> bool:
    """Whether a session speaks with a Spark Connect server, which has no `SparkContext` here."""
    return ".connect." in f"{type(session).__module__}."


def stopped(session: Any) -> bool:
    """Whether the application behind a session has ended."""
    if is_connect(session):
        return bool(session.is_stopped)
    context = session._jsparkSession.sparkContext()
    try:
        return bool(context.isStopped())
    except Exception:  # the Java process itself is gone
        return True


def _name(session: Any) -> str:
    return str(session.conf.get("spark.app.name", "Spark"))


def _address(session: Any) -> str | None:
    """Where executors reach this machine: as they reach Spark's own driver, which is here unless the session is one of Connect.

    Of those the address from which this machine reaches the server; None where it can't be found.
    """
    if is_connect(session):
        with contextlib.suppress(Exception):  # a server behind a proxy of the user's own
            way = way_to(address_of(str(session.client.host)))
            return way[1] if way is not None else None
        return None
    return str(session.conf.get("spark.driver.host", "")) or None


def in_words(failure: BaseException) -> str:
    """What went wrong in Spark, without the traceback of its Java process."""
    text = str(failure)
    raised = [line for line in text.splitlines() if _ERROR.match(line) and not line.startswith(_OF_JAVA)]
    first = next((line for line in text.splitlines() if line.strip()), type(failure).__name__)
    return (raised[-1] if raised else first).strip()[:500]
