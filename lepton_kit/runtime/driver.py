"""The driver: one process per run that owns its workers, writes its event log and obeys its control folder.

`python -m lepton_kit.runtime.driver RUN_FOLDER` drives a run to its end. With ``--standby`` it warms workers first and
reads from standard input what to prepare and, at last, which run to drive; it ends when its input does.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import mmap
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.devices import free_cores, usable_cores
from lepton_kit.errors import LeptonError, RunError
from lepton_kit.runs import EventLog, RunPaths, RunView, read_requests
from lepton_kit.runs.paths import write_atomically
from lepton_kit.runtime import coordinator as decisions
from lepton_kit.runtime.crew import Crew, Member
from lepton_kit.runtime.rendezvous import Rendezvous
from lepton_kit.runtime.reports import Ledger
from lepton_kit.runtime.standby import Standby

TICK_SECONDS = 0.05
FORM_SECONDS = 120.0
STOP_SECONDS = 30.0


class Driver:
    """Reconciles one run's processes with what is wanted until it ends."""

    def __init__(self, paths: RunPaths, crew: Crew | None):
        self.paths = paths
        self.config = RunConfig.load(paths.config)
        self._lock = _lock(paths)
        self._ledger = Ledger(paths, EventLog(paths.events))
        self._ledger.status("starting")
        cores = usable_cores()
        count = self.config.workers.count
        self._auto = count == "auto"
        self._wanted = cores if count == "auto" else int(count)
        self._limit = self.config.workers.max_workers or (cores if self._auto else max(64, self._wanted))
        self._paused = self._stopping = False
        self._phase: decisions.Phase = "none"
        self._generation = 0
        self._formed_before = False
        self._asked: set[str] = set()
        self._phase_since = self._last_check = time.monotonic()
        self._cause = "start"
        self._failures, self._failure_step = 0, 0
        self._segment: mmap.mmap | None = None
        self._segment_descriptor: int | None = None
        self._log_seconds = self.config.training.log_seconds
        self._rendezvous = Rendezvous()
        self._crew = crew or Crew(str(paths.driver_log))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._crew.zygote_connection, selectors.EVENT_READ, None)
        for member in self._crew.members.values():
            self._adopt(member)

    # ------------------------------------------------------------------ main loop

    def run(self) -> str:
        """Drive the run to its end; returns its final status."""
        status, cause = "failed", "the driver ended unexpectedly"
        try:
            status, cause = self._loop()
        except LeptonError as failure:
            cause = str(failure)
        except Exception as failure:
            cause = f"the driver failed: {type(failure).__name__}: {failure}"
            raise
        finally:
            self._crew.close()
            self._rendezvous.close()
            self._close_segment()
            self._ledger.end(status, self._with_checkpoint(status, cause))
        return status

    def _loop(self) -> tuple[str, str | None]:
        while True:
            for key, _ in self._selector.select(TICK_SECONDS):
                self._receive(key.data)
            self._read_requests()
            self._look_after()
            ended = self._ending()
            if ended is not None:
                return ended
            for action in decisions.decide(self._situation()):
                if isinstance(action, decisions.End):
                    return action.status, None
                self._do(action)
            self._ledger.workers(self._wanted, [member.row() for member in self._crew.members.values()])

    def _situation(self) -> decisions.Situation:
        wanted = decisions.Wanted(self._wanted, self.config.workers.standby, self._paused, self._stopping)
        workers = [member.observed() for member in self._crew.members.values()]
        return decisions.Situation(wanted, workers, self._phase, self._formed_before, frozenset(self._asked))

    def _ending(self) -> tuple[str, str | None] | None:
        members = [m for m in self._crew.members.values() if m.rank is not None]
        outcomes = {member.outcome for member in members if member.state == "detached"}
        training = [member for member in members if member.state == "training"]
        if members and not training and "finished" in outcomes:
            return "finished", None
        if members and not training and "stop" in outcomes:
            return "stopped", None
        if self._failures > self.config.workers.max_failures:
            return "failed", f"{self._failures} worker failures without progress; the last: {self._cause}"
        waited = time.monotonic() - self._phase_since
        if self._phase == "none" and waited > FORM_SECONDS and not self._stopping:
            return "failed", f"no worker was ready for {FORM_SECONDS:.0f} s"
        if self._stopping and "stop" in self._asked and waited > STOP_SECONDS and self._phase != "forming":
            return "stopped", f"the workers did not stop within {STOP_SECONDS:.0f} s and were killed"
        return None

    def _with_checkpoint(self, status: str, cause: str | None) -> str | None:
        if status != "failed":
            return cause
        last = self._ledger.view.checkpoints[-1]["path"] if self._ledger.view.checkpoints else "none yet"
        return f"{cause} (last checkpoint: {last}; logs: {self.paths.logs})"

    # ------------------------------------------------------------------ actions

    def _do(self, action: decisions.Action) -> None:
        match action:
            case decisions.Spawn(count):
                for _ in range(count):
                    self._adopt(self._crew.spawn(threads=self._threads(), device=self.config.workers.device))
            case decisions.Dismiss(workers):
                for worker in workers:
                    self._crew.dismiss(self._crew.members[worker])
            case decisions.Form(workers, fresh):
                self._form([self._crew.members[worker] for worker in workers], fresh)
            case decisions.Reform(cause):
                self._cause = cause
                self._enter("breaking")
                self._command("reform")
            case decisions.Abort():
                self._abort()
            case decisions.Command(kind):
                self._asked.add(kind)
                self._phase_since = time.monotonic()
                self._command(kind)
                if kind == "resume":
                    self._asked.discard("pause")
                    self._enter("training")
                    self._ledger.status("running")
                elif kind == "stop":
                    self._ledger.status("stopping")

    def _threads(self) -> int:
        return self.config.workers.threads or default_threads(self.config)

    def _command(self, kind: str, **fields: Any) -> None:
        for member in self._crew.members.values():
            if member.state == "training":
                member.connection.send(kind, generation=self._generation, **fields)

    def _form(self, members: list[Member], fresh: bool) -> None:
        self._generation += 1
        self._asked.clear()
        self._rendezvous.begin(self._generation, len(members))
        slot_bytes = max(member.slot_bytes for member in members)
        self._open_segment(len(members), slot_bytes)
        checkpoint = self._ledger.last_checkpoint() if fresh else None
        if checkpoint is not None:
            self._ledger.rewind(checkpoint.step, checkpoint.logged_epochs)
        for rank, member in enumerate(members):
            member.rank, member.state, member.outcome = rank, "training", None
            member.connection.send(
                "join",
                descriptor=self._segment_descriptor,
                membership={
                    "generation": self._generation,
                    "rank": rank,
                    "world_size": len(members),
                    "rendezvous_host": self._rendezvous.host,
                    "rendezvous_port": self._rendezvous.port,
                    "interface": "lo",
                    "slot_bytes": slot_bytes,
                    "timeout_seconds": max(5, int(self.config.workers.hang_seconds)),
                },
                weights=self._weights(len(members)),
                checkpoint=str(checkpoint.path) if checkpoint else None,
                reported_step=self._ledger.reported_step,
                logged_epochs=self._ledger.logged_epochs,
                log_seconds=self._log_seconds,
            )
        self._enter("forming")

    def _weights(self, world_size: int) -> list[float]:
        given = self.config.workers.weights
        return list(given) if given is not None and len(given) == world_size else [1.0] * world_size

    def _abort(self) -> None:
        """Wake the members that wait for a lost one; they detach with the last whole step."""
        if self._segment is not None:
            self._segment[0:4] = b"\x01\0\0\0"
        for member in list(self._crew.members.values()):
            if member.state == "lost":
                self._crew.remove(member)
        self._enter("breaking")

    def _enter(self, phase: decisions.Phase) -> None:
        self._phase, self._phase_since = phase, time.monotonic()

    def _open_segment(self, world_size: int, slot_bytes: int) -> None:
        from lepton_kit.training.collective import segment_bytes

        self._close_segment()
        size = segment_bytes(world_size, slot_bytes)
        self._segment_descriptor = os.memfd_create("lepton-ring", os.MFD_CLOEXEC)
        os.ftruncate(self._segment_descriptor, size)
        self._segment = mmap.mmap(self._segment_descriptor, size)

    def _close_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._segment_descriptor is not None:
            os.close(self._segment_descriptor)
            self._segment_descriptor = None

    # ------------------------------------------------------------------ what comes in

    def _adopt(self, member: Member) -> None:
        self._selector.register(member.connection, selectors.EVENT_READ, member)
        self._crew.prepare(member, self.paths.root, self.paths.id, os.getcwd())

    def _receive(self, member: Member | None) -> None:
        if member is None:
            self._receive_from_zygote()
            return
        for message in member.connection.receive(wait=False):
            member.last_heard = time.monotonic()
            getattr(self, f"_on_{message.pop('kind')}")(member, message)
        if member.connection.closed:
            self._selector.unregister(member.connection)
            self._on_gone(member)

    def _receive_from_zygote(self) -> None:
        connection = self._crew.zygote_connection
        for message in connection.receive(wait=False):
            if message["kind"] == "exited":
                member = self._crew.members.get(message["worker"])
                if member is not None:
                    member.exit_code = message["code"]
        if connection.closed:
            raise RunError("the process that forks workers has died; see logs/driver.log")

    def _on_hello(self, member: Member, message: dict[str, Any]) -> None:
        member.pid = message["pid"]

    def _on_alive(self, member: Member, message: dict[str, Any]) -> None:
        member.memory_bytes = message["memory_bytes"]

    def _on_ready(self, member: Member, message: dict[str, Any]) -> None:
        if message["token"] == self.paths.id:
            member.state = "standby"
            member.slot_bytes, member.parameters = message["slot_bytes"], message["parameters"]
            self._ledger.plan(self.config, member.parameters)

    def _on_formed(self, member: Member, message: dict[str, Any]) -> None:
        members = [m for m in self._crew.members.values() if m.state == "training"]
        for one in members:
            one.step = message["step"]
        if member.rank != 0 or self._phase != "forming":
            return
        ranks = sorted(members, key=lambda m: m.rank or 0)
        self._ledger.generation(
            self._generation, [m.worker for m in ranks], self._weights(len(ranks)), message["step"], self._cause
        )
        self._formed_before = True
        self._enter("training")
        self._ledger.status("running")

    def _on_steps(self, member: Member, message: dict[str, Any]) -> None:
        if message["last"] > self._failure_step + 50:
            self._failures = 0
        member.step = message["last"]
        self._ledger.append("steps", message)

    def _on_epoch(self, member: Member, message: dict[str, Any]) -> None:
        self._ledger.append("epoch", message)

    def _on_compression(self, member: Member, message: dict[str, Any]) -> None:
        self._ledger.append("compression", message)

    def _on_checkpoint(self, member: Member, message: dict[str, Any]) -> None:
        self._ledger.append("checkpoint", message)

    def _on_warning(self, member: Member, message: dict[str, Any]) -> None:
        self._ledger.append("warning", message)

    def _on_paused(self, member: Member, message: dict[str, Any]) -> None:
        member.outcome = "paused"
        members = [m for m in self._crew.members.values() if m.state == "training"]
        if all(m.outcome == "paused" for m in members) and self._phase == "training":
            for one in members:
                one.outcome = None
            self._enter("paused")
            self._ledger.status("paused")

    def _on_detached(self, member: Member, message: dict[str, Any]) -> None:
        member.step, member.outcome = message["step"], message["outcome"]
        if message["generation"] != self._generation:
            return
        member.state = "detached"
        if member.outcome == "broken" and self._phase in ("forming", "training", "paused"):
            self._cause = f"worker {member.worker} (rank {member.rank}) lost its ring"
            self._abort()

    def _on_failed(self, member: Member, message: dict[str, Any]) -> None:
        member.cause = message["cause"] if message["what"] == "error" else message["what"]
        if message["what"] == "error":
            raise RunError(f"worker {member.worker}: {message['cause']}")

    def _on_gone(self, member: Member) -> None:
        if member.state == "leaving":
            self._crew.remove(member)
            return
        self._await_exit_code(member)
        what = self._crew.describe_exit(member)
        self._cause = f"worker {member.worker} lost: {what}"
        self._ledger.append("incident", {"worker": member.worker, "rank": member.rank, "what": what})
        self._failures, self._failure_step = self._failures + 1, self._ledger.reported_step
        if member.rank is None or self._phase in ("none", "breaking"):
            self._crew.remove(member)
        else:
            member.state = "lost"

    def _await_exit_code(self, member: Member) -> None:
        deadline = time.monotonic() + 0.2
        while member.exit_code is None and time.monotonic() < deadline:
            with selectors.DefaultSelector() as only:
                only.register(self._crew.zygote_connection, selectors.EVENT_READ)
                if only.select(0.05):
                    self._receive_from_zygote()

    def _look_after(self) -> None:
        """What time alone brings: silent workers, waiting log lines, the number of free cores."""
        now = time.monotonic()
        if now - self._last_check < 0.5:
            return
        self._last_check = now
        self._ledger.flush()
        for member in self._crew.members.values():
            silent = now - member.last_heard
            if silent > self.config.workers.hang_seconds and member.pid is not None and member.cause is None:
                member.cause = f"hung: nothing heard for {silent:.0f} s; killed"
                self._crew.kill(member)
        if self._auto and self._phase == "training" and now - self._phase_since > 5.0:
            members = sum(member.state == "training" for member in self._crew.members.values())
            self._wanted = min(self._limit, max(self.config.workers.min_workers, free_cores(own=members)))

    def _read_requests(self) -> None:
        requests, refused = read_requests(self.paths)
        for reason in refused:
            self._ledger.append("warning", {"text": reason})
        for request in requests:
            cause = self._apply(request.verb, request.arguments)
            self._ledger.append(
                "request", {"verb": request.verb, **request.arguments, "accepted": cause is None, "cause": cause}
            )

    def _apply(self, verb: str, arguments: dict[str, Any]) -> str | None:
        if verb == "scale":
            self._auto = arguments["workers"] == "auto"
            if not self._auto:
                limit = min(self._limit, self.config.training.global_batch)
                if arguments["workers"] > limit:
                    return f"workers: got {arguments['workers']}; expected at most {limit}"
                self._wanted = arguments["workers"]
        elif verb in ("pause", "resume"):
            self._paused = verb == "pause"
        elif verb == "stop":
            self._stopping = True
        else:
            self._log_seconds = arguments.get("log_seconds", self._log_seconds)
            self._command("set", **arguments)
        return None


def default_threads(config: RunConfig) -> int:
    """TensorFlow threads per worker: the cores, shared by the workers that the run starts with."""
    count = config.workers.count
    cores = usable_cores()
    return max(1, cores // (cores if count == "auto" else int(count)))


def _lock(paths: RunPaths) -> int:
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise RunError(f"{paths.root}: this run has a driver already") from None
    return descriptor


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lepton_kit.runtime.driver", description=__doc__)
    parser.add_argument("run", nargs="?", help="folder of the run to drive")
    parser.add_argument("--standby", metavar="FOLDER", help="warm workers, logging to this folder, and wait for orders")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    crew = None
    run = options.run
    if options.standby:
        standby = Standby(Path(options.standby))
        run = standby.wait_for_run()
        if run is None:
            return 0
        crew = standby.crew
    try:
        return 0 if Driver(RunPaths(Path(run)), crew).run() == "finished" else 1
    except LeptonError as failure:
        write_failure(RunPaths(Path(run)), str(failure))
        print(failure, file=sys.stderr)
        return 1


def write_failure(paths: RunPaths, cause: str) -> None:
    """Leave a cause where readers look, if the driver could not even start."""
    if not paths.events.exists():
        write_atomically(paths.status, json.dumps({"status": "failed", "cause": cause, "driver_pid": None}))


if __name__ == "__main__":
    sys.exit(main())
