"""Callbacks decide on rank 0; here all ranks come to hold what they decided: variables, the end, their state."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_kit.training import attributes, state
from lepton_kit.training.callback_specs import GIVEN, acts
from lepton_kit.training.callbacks import Best, Callbacks
from lepton_kit.training.job import Job
from lepton_kit.training.patched import trained_by

_LIMB = 1 << 16


class Decisions:
    """The callbacks of a run and the best epoch so far. What it holds travels to joiners and into checkpoints.

    ``variables`` are all that a callback could change. After `share` every rank has them as rank 0 has.
    """

    def __init__(
        self,
        asked: bool,
        own: Sequence[Any],
        callbacks: Callbacks,
        best: Best | None,
        variables: Sequence[Any],
        collective: Any,
        step: Any,
        remarks: Sequence[str] = (),
    ):
        self._asked, self._own = asked, own
        self._step, self._settings = step, dict[attributes.Place, Any]()
        self._together = max(1, int(getattr(step.model, "steps_per_execution", None) or 1))
        self._callbacks, self._best = callbacks, best
        self._variables, self._collective = variables, collective
        self._started = False
        self._begun = self._ended = 0
        self._shared: bytes | None = None
        self._remarks, self._texts = remarks, list[str]()
        self.added: dict[str, Any] = {}
        """What callbacks have put into the logs of the last epoch, such as the learning rate."""

    @property
    def stop(self) -> str | None:
        """Which callback has ended the run, in words."""
        return self._callbacks.stop

    @property
    def each_step(self) -> bool:
        """Whether a callback wants to hear of every step."""
        return self._callbacks.needs_steps

    def hears(self, *hooks: str) -> bool:
        """Whether one of the user's callbacks does something in one of these hooks."""
        return any(acts(callback, hook) for callback in self._own for hook in hooks)

    @property
    def ends_epochs(self) -> bool:
        """Whether the end of an epoch has to be shared: a callback may act then, or the best epoch is kept."""
        return self._asked or self._best is not None

    def state(self) -> bytes:
        """All of it, for a checkpoint or another rank."""
        return pickle.dumps(
            {
                "told": (self._started, self._begun, self._ended),
                "best": self._best.value if self._best else None,
                "callbacks": self._callbacks.state(),
                "settings": self._settings,
                "optimizers": trained_by(self._step.model),
            }
        )

    def load(self, packed: bytes) -> None:
        """Take over what `state` gave."""
        if not packed:
            return
        taken = pickle.loads(packed)
        self._started, self._begun, self._ended = taken["told"]
        self._callbacks.load(taken["callbacks"])
        if self._best is not None:
            self._best.value = taken["best"]
        self._shared = packed
        settings = taken.get("settings", {})  # none in versions of 2026-11-25
        self._follow(attributes.changed(self._settings, settings))

    # ------------------------------------------------------------------ on rank 0

    def begin(self) -> None:
        """Rank 0 takes the callbacks up: at the start of the run, or from another rank."""
        if not self._started:
            self._texts = list(self._remarks)
        self._callbacks.begin(fresh=not self._started)
        self._started = True

    def begin_epoch(self, number: int, epoch: int) -> None:
        """Epoch ``number`` of this run begins, Keras' ``epoch``; told once."""
        if self._begun <= number:
            self._begun = number + 1
            self._callbacks.begin_epoch(epoch)

    def step(self, first: bool, within: int, last: bool, logs: Callable[[], dict[str, Any]]) -> None:
        """A step begins or is over; ``last`` of its epoch. As in Keras those of one execution are told as one."""
        if first and within % self._together == 0:
            self._callbacks.begin_step(within)
        elif not first and (last or (within + 1) % self._together == 0):
            self._callbacks.end_step(within, logs())

    def validation(self, logs: dict[str, float] | None) -> None:
        """A validation begins (None) or has given its figures."""
        if logs is None:
            self._callbacks.begin_validation()
        else:
            self._callbacks.end_validation(logs)

    def end_epoch(self, number: int, epoch: int, logs: dict[str, Any]) -> bool:
        """An epoch is over; told once. Returns whether it is the best one so far."""
        if self._ended > number:
            return False
        self._ended = number + 1
        told = self._callbacks.end_epoch(epoch, logs)
        self.added = {name: value for name, value in told.items() if name not in logs}
        value = logs.get(self._best.monitor) if self._best else None
        return self._best is not None and value is not None and self._best.update(value)

    def end(self, logs: dict[str, Any]) -> None:
        """Training is over."""
        self._callbacks.end(logs)

    def messages(self) -> list[str]:
        """What callbacks have warned of since the last call, for the run's log."""
        texts, self._texts = self._texts, []
        return [*texts, *self._callbacks.take_warnings()]

    def output(self) -> str:
        """What callbacks have printed since the last call."""
        return self._callbacks.take_output()

    # ------------------------------------------------------------------ on all ranks

    def share(self, rank: int, size: int, act: Callable[[], None]) -> None:
        """Have rank 0 act, then bring all ranks to the same variables and the same state."""
        if size == 1:
            self._act(act)
            return
        changed, packed = False, b""
        if rank == 0:
            before = state.capture(self._variables)
            self._act(act)
            after = state.capture(self._variables)
            changed = any(
                not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
                for a, b in zip(before, after, strict=True)
            )
            found = self.state()
            packed = found if found != self._shared else b""
        told = np.array([changed, len(packed) // _LIMB, len(packed) % _LIMB], np.float32)
        agreed = self._collective.agree(told * (rank == 0))
        if agreed[0]:
            mine = state.capture(self._variables)
            received = self._collective.broadcast(state.pack(mine))
            if rank != 0:
                state.restore(self._variables, state.unpack(received, mine), "the variables of rank 0")
        length = int(agreed[1]) * _LIMB + int(agreed[2])
        if length:
            data = np.frombuffer(packed, np.uint8) if rank == 0 else np.zeros(length, np.uint8)
            received = self._collective.broadcast(data).tobytes()
            if rank != 0:
                self.load(received)
            self._shared = received

    def share_anew(self) -> None:
        """Some ranks are new: the next `share` sends the whole state."""
        self._shared = None

    def _act(self, act: Callable[[], None]) -> None:
        """Have the callbacks act, and keep the settings that they change, as far as Keras' `fit` would follow them."""
        model = self._step.model
        counts = self._step.eager or not self._step.position  # a graph is traced at the first step
        before = attributes.plain(model) if counts and self._asked else {}
        act()
        if before:
            self._follow(attributes.changed(before, attributes.plain(model)))

    def _follow(self, settings: dict[attributes.Place, Any]) -> None:
        if settings:
            self._settings |= settings
            attributes.assign(self._step.model, settings)
            self._step.renew()


def decisions_of(job: Job, variables: Sequence[Any]) -> Decisions:
    """The callbacks that a job's configuration names, and the best epoch if it asks for it."""
    training, model = job.config.training, job.step.model
    params = {"epochs": training.epochs, "steps": job.length.steps_per_epoch, "verbose": 0}
    best = Best(training.keep_best, metrics=model.metrics) if training.keep_best else None
    callbacks = Callbacks(job.callbacks, model, params)
    given = [spec["kind"] for spec in training.callbacks if spec["kind"] in GIVEN]
    remarks = [f"{kind}: {GIVEN[kind]}" for kind in given]
    return Decisions(
        bool(training.callbacks), job.callbacks, callbacks, best, variables, job.collective, job.step, remarks
    )
