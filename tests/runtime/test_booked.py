"""What a report says of its steps is of these steps: the time of each block, short ones at the end of an epoch too."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.rundir.events import EventReader

pytestmark = pytest.mark.processes
ROUNDED = 1e-3
"""Seconds: figures of the log have four places."""


@pytest.mark.parametrize("allreduce", ["auto", pytest.param("horovod", marks=pytest.mark.long)])
def test_no_report_books_more_time_than_it_has(tmp_path: Path, allreduce: str):
    generator = np.random.default_rng(0)
    x, y = generator.random((1000, 32), np.float32), generator.integers(0, 4, 1000).astype(np.int32)
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((32,)), dense(256, activation="relu"), dense(256), dense(4)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    run = lk.launch(
        model, lk.data.arrays(x, y, validation_split=0.2), workers=2, threads=1, allreduce=allreduce, global_batch=24,
        epochs=8, log_seconds=0.02, runs_dir=tmp_path,
    ).wait(120)  # fmt: skip
    assert run.status == "finished", run.cause
    events = list(EventReader(run.paths.events).stream())
    told = [one for one in events if one["kind"] == "steps"]
    for one in told:
        booked = one["busy"][0] + one["data"][0] + one["waited"][0] + one["communicated"]
        assert booked <= one["seconds"] + ROUNDED, one
        assert min(one["busy"]) > 0, one
    last = told[-1]
    assert last["last"] == run.view().step == 8 * 34
    # Each epoch of 33 whole batches ends with one of 8 samples, in a block of its own, after which a report is due.
    ends = [one["last"] for one in told]
    assert {34 * epoch for epoch in range(1, 9)} <= set(ends)
    assert [one["step"] for one in events if one["kind"] == "epoch"] == [34 * epoch for epoch in range(1, 9)]
