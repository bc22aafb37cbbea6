"""What rank 0 decides all ranks come to hold: variables, the end, and the callbacks' state."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from lepton_kit.training.callbacks import Best, Callbacks
from lepton_kit.training.decisions import Decisions


class Ring:
    """Two threads that agree on sums and broadcasts."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=20)
        self._sums: list[np.ndarray] = []
        self.broadcasts = 0

    def agree(self, vector: np.ndarray) -> np.ndarray:
        self._sums.append(np.asarray(vector, np.float64))
        self._barrier.wait()
        total = self._sums[0] + self._sums[1]
        if self._barrier.wait() == 0:
            self._sums = []
        self._barrier.wait()
        return total

    def of(self, rank: int) -> Any:
        ring = self

        class Member:
            agree = staticmethod(ring.agree)

            @staticmethod
            def broadcast(data: np.ndarray) -> np.ndarray:
                if rank == 0:
                    ring.sent = data.copy()
                    ring.broadcasts += 1
                ring._barrier.wait()
                found = ring.sent
                ring._barrier.wait()
                return found

        return Member()


class Counter(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(epoch)
        if epoch == 1:
            self.model.optimizer.learning_rate = 0.5
            self.model.stop_training = True


def rank_of(ring: Ring, rank: int) -> tuple[Decisions, Any, Counter]:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    own = Counter()
    callbacks = Callbacks([own], model, {"epochs": 3, "steps": 1, "verbose": 0})
    variables = [*model.variables, *model.optimizer.variables]
    step = SimpleNamespace(model=model, eager=False, position=0, renewed=0)
    step.renew = lambda: setattr(step, "renewed", step.renewed + 1)
    made = Decisions(True, [own], callbacks, Best("loss"), variables, ring.of(rank), step, ["first"])
    return made, model, own


def both(function: Any) -> list[Any]:
    results: list[Any] = [None, None]

    def run(rank: int) -> None:
        results[rank] = function(rank)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.fixture
def ranks() -> tuple[Ring, list[tuple[Decisions, Any, Counter]]]:
    ring = Ring()
    return ring, [rank_of(ring, rank) for rank in range(2)]


def epoch(ranks: Any, number: int, loss: float) -> list[Any]:
    _, members = ranks

    def act(rank: int) -> None:
        decisions = members[rank][0]
        decisions.share(rank, 2, lambda: decisions.end_epoch(number, number, {"loss": loss}))

    return both(act)


def test_a_rate_and_a_stop_of_rank_0_reach_the_other_rank(ranks: Any):
    _, members = ranks
    both(lambda rank: members[rank][0].share(rank, 2, members[rank][0].begin))
    epoch(ranks, 0, 1.0)
    assert [member[0].stop for member in members] == [None, None]
    epoch(ranks, 1, 2.0)
    for decisions, model, _ in members:
        assert float(model.optimizer.learning_rate) == 0.5
        assert "Counter" in decisions.stop
    members[1][0].begin()  # rank 1 becomes the first
    assert [member[2].seen for member in members] == [[0, 1], [0, 1]]


def test_an_epoch_is_told_once_and_knows_whether_it_is_the_best(ranks: Any):
    _, members = ranks
    decisions, _, own = members[0]
    decisions.begin()
    assert [decisions.end_epoch(k, k, {"loss": loss}) for k, loss in ((0, 2.0), (0, 1.0))] == [True, False]
    assert own.seen == [0]
    assert decisions.messages() == ["first"]
    assert decisions.messages() == []


def test_nothing_is_sent_where_nothing_changed(ranks: Any):
    ring, members = ranks
    both(lambda rank: members[rank][0].share(rank, 2, members[rank][0].begin))
    sent = ring.broadcasts
    both(lambda rank: members[rank][0].share(rank, 2, lambda: None))
    assert ring.broadcasts == sent


def test_another_process_goes_on_where_the_state_stands(ranks: Any):
    _, members = ranks
    first, _, _ = members[0]
    first.begin()
    first.end_epoch(0, 0, {"loss": 2.0})
    second, _, own = members[1]
    second.load(first.state())
    second.begin()
    assert own.seen == [0]
    assert not second.end_epoch(0, 0, {"loss": 0.0})
    assert not second.end_epoch(1, 1, {"loss": 3.0})
    second.load(b"")
    assert own.seen == [0, 1]


def test_a_setting_before_the_first_step_reaches_all_and_has_the_step_traced_again(ranks: Any):
    _, members = ranks
    steps = [member[0]._step for member in members]

    def tune(momentum: float) -> None:
        def act(rank: int) -> None:
            members[rank][0].share(rank, 2, lambda: setattr(members[0][1].optimizer, "momentum", momentum))

        both(act)

    tune(0.5)
    assert [member[1].optimizer.momentum for member in members] == [0.5, 0.5]
    assert [step.renewed for step in steps] == [1, 1]
    for step in steps:
        step.position = 1
    tune(0.9)  # the graph is traced: Keras would not follow either
    assert members[1][1].optimizer.momentum == 0.5
    assert [step.renewed for step in steps] == [1, 1]


def test_steps_of_one_execution_are_told_as_one(ranks: Any):
    _, members = ranks
    decisions = members[0][0]
    decisions._together = 2
    told: list[tuple[str, int]] = []
    decisions._callbacks.begin_step = lambda step: told.append(("begin", step))
    decisions._callbacks.end_step = lambda step, logs: told.append(("end", step))
    for within in range(3):
        decisions.step(True, within, within == 2, dict)
        decisions.step(False, within, within == 2, dict)
    assert told == [("begin", 0), ("end", 1), ("begin", 2), ("end", 2)]
