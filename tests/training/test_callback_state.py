from __future__ import annotations

import os
import threading
from typing import Any

import keras
import numpy as np
import pytest
from cloudpickle import cloudpickle

from lepton_kit.training.callback_state import (
    LARGEST_ARRAY_BYTES,
    Keeper,
    Parts,
    code_by_value,
    importable,
    pack,
    unpack,
)

NOTES: dict[str, int] = {}
BIG = np.zeros(LARGEST_ARRAY_BYTES + 1, np.uint8)


class Record:
    """An object of the user's own that a callback writes into."""

    def __init__(self) -> None:
        self.lines = 0


RECORD = Record()


class Own(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.kept = [1]
        self.table = np.zeros(2)

    def act(self) -> None:
        self.kept.append(2)
        self.table[0] = 5
        self.found = "yes"
        note()
        RECORD.lines += 1
        BIG[0] = 1


def note() -> None:
    NOTES["count"] = NOTES.get("count", 0) + 1


def test_only_what_has_changed_travels() -> None:
    keeper = Keeper(Own(), Parts())
    assert keeper.take() == {"changed": {}, "stuck": []}
    keeper.callback.act()
    names = {name for _, name in keeper.take()["changed"]}
    assert names == {"kept", "table", "found", "global NOTES", "global RECORD"}


def test_containers_of_the_receiver_stay_the_same_objects() -> None:
    NOTES.clear()
    RECORD.lines = 0
    acted = Keeper(Own(), Parts())
    acted.callback.act()
    taken = acted.take()
    NOTES.clear()
    RECORD.lines = 0
    mine = Own()
    kept, table = mine.kept, mine.table
    Keeper(mine, Parts()).give(taken)
    assert mine.kept is kept == [1, 2]
    assert mine.table is table
    assert table[0] == 5
    assert mine.found == "yes"
    assert NOTES == {"count": 1}
    assert RECORD.lines == 1


def test_what_cannot_be_pickled_is_named_and_left_where_it_is() -> None:
    callback = Own()
    callback.lock = threading.Lock()
    assert Keeper(callback, Parts()).take() == {"changed": {}, "stuck": ["lock"]}


@pytest.mark.parametrize("kind", [set, bytearray, __import__("collections").deque])
def test_every_kind_of_container_is_filled(kind: Any) -> None:
    one, two = Own(), Own()
    one.box, two.box = kind(), kind()
    keeper = Keeper(one, Parts())
    one.box.update([7]) if kind is set else one.box.append(7)
    box = two.box
    Keeper(two, Parts()).give(keeper.take())
    assert two.box is box
    assert list(box) == [7]


def test_a_class_that_is_here_already_keeps_its_own_methods() -> None:
    before = Own.act
    with code_by_value([Own()]):
        data = pack(Own(), Parts())
    assert type(unpack(data, Parts())) is Own
    assert Own.act is before


def test_a_class_of_another_process_comes_with_its_methods() -> None:
    reading, writing = os.pipe()
    with code_by_value([Own()]):
        data = pack(Own(), Parts())
    pid = os.fork()
    if pid == 0:  # a process that forgets the class, as one that never had it
        try:
            cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
            found = unpack(data, Parts())
            found.act()
            os.write(writing, bytes(found.kept))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading, "rb") as file:
        assert list(file.read()) == [1, 2]


def test_the_model_and_its_parts_go_by_name() -> None:
    def made() -> Any:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="out")])
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
        return model

    here, there = made(), made()
    held = [here, here.layers[0], here.variables[0], here.optimizer, here.optimizer.inner_optimizer]
    data = pack(held, Parts(here))
    assert len(data) < 500
    found = unpack(data, Parts(there))
    assert [id(one) for one in found] == [
        id(one)
        for one in (
            there,
            there.layers[0],
            there.variables[0],
            there.optimizer,
            there.optimizer.inner_optimizer,
        )
    ]


def test_what_the_models_loss_reads_is_the_same_object_in_a_callback() -> None:
    import tensorflow as tf

    from lepton_kit.models import objects

    knob, teacher = tf.Variable(1.0), keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    here = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    here.compile("sgd", lambda y, p: knob * keras.ops.mean(teacher(p)))
    there = objects.loads(objects.dumps(here))
    one, two = unpack(pack([knob, teacher], Parts(here)), Parts(there))
    one.assign(7.0)
    two.layers[0].kernel.assign([[3.0]])
    two.layers[0].bias.assign([1.0])
    assert float(there._compile_loss._user_loss(None, keras.ops.ones((1, 1)))) == 7.0 * 4.0
    assert float(knob) == 1.0


def test_what_every_process_can_import_goes_by_name() -> None:
    assert importable(keras.callbacks.EarlyStopping)
    assert importable(threading.Thread)
    assert importable(Keeper)
    assert not importable(Own)
    assert not importable(lambda: 0)
