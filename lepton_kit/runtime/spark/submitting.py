"""Runs the jobs of a run in a Spark session, classic or Connect: where the session lives, on a driver's orders."""

from __future__ import annotations

import contextlib
import re
import select
import threading
from dataclasses import asdict
from functools import partial
from typing import Any

from lepton_kit.runtime.spark import talk, task
from lepton_kit.runtime.wire import Connection

_ERROR = re.compile(r"^[\w.]*(Error|Exception)\b.*: ")
_OF_JAVA = ("org.", "java.", "py4j.")
LOOK_SECONDS = 2.0
"""How often it is asked which jobs have tasks that run."""


class Submitter:
    """Serves one driver until it closes the connection, or the application ends."""

    def __init__(self, session: Any, connection: Connection):
        self._session, self._driver = session, connection
        self._running: dict[int, int | None] = {}
        """Job -> how many of its tasks were active when it was last looked."""
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
                self._tell_of_tasks()
        finally:
            for job in list(self._running):
                self._cancel(job)
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
                self._cancel(job)

    def _run(self, wanted: talk.Submit) -> None:
        """Run a job to its end, which is told."""
        job, cause = wanted.order.job, None
        try:
            self._mark(job)
            run_tasks(self._session, asdict(wanted.order), wanted.places, wanted.gang)
        except Exception as failure:  # whatever Spark raises, of whatever kind; the driver is told
            cause = in_words(failure)
        with self._lock:
            self._running.pop(job, None)
        self._driver.send(talk.Ended(job=job, cause=cause))

    # ------------------------------------------------------------------ classic sessions and those of Connect

    def _group(self, job: int) -> str:
        return f"lepton_kit-{id(self):x}-{job}"

    def _mark(self, job: int) -> None:
        """Have this thread's jobs found again under the group."""
        if is_connect(self._session):
            self._session.addTag(self._group(job))
        else:
            self._session.sparkContext.setJobGroup(self._group(job), "lepton_kit: places of a run", True)

    def _cancel(self, job: int) -> None:
        with contextlib.suppress(Exception):  # an application that is gone has no jobs
            if is_connect(self._session):
                self._session.interruptTag(self._group(job))
            else:
                self._session.sparkContext.cancelJobGroup(self._group(job))

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
        return sum(info.numActiveTasks for info in found if info is not None)


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
    """Where the executors of a classic session reach this machine: as they reach Spark's own driver, which is here."""
    if is_connect(session):
        return None
    return str(session.conf.get("spark.driver.host", "")) or None


def in_words(failure: BaseException) -> str:
    """What went wrong in Spark, without the traceback of its Java process."""
    text = str(failure)
    raised = [line for line in text.splitlines() if _ERROR.match(line) and not line.startswith(_OF_JAVA)]
    first = next((line for line in text.splitlines() if line.strip()), type(failure).__name__)
    return (raised[-1] if raised else first).strip()[:500]
