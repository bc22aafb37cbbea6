"""What is told of a real GPU: devices, the report card's row, clocks, shares of unequal ranks."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest

import lepton_kit as lk
from lepton_kit.machine import nvml
from tests.gpu.conftest import events, net, until, wide

pytestmark = [pytest.mark.processes, pytest.mark.gpu]


def test_devices_tell_of_it(gpu: nvml.Gpu):
    table = lk.devices().gpus
    print(table.to_string())
    print(lk.devices())
    row = table.iloc[0]
    assert row["memory_gb"] * 1e9 == pytest.approx(gpu.memory_bytes)
    assert 0 < row["free_gb"] <= row["memory_gb"]
    assert gpu.uuid.startswith("GPU-")
    assert gpu.millijoules


def test_the_report_card_has_its_row(tmp_path):
    model = net(64)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    card = lk.compress(
        model, lk.data.sample("digits"), quantize=("dynamic_int8",), repetitions=8, memory=False, control=False,
        folder=tmp_path / "card",
    )  # fmt: skip
    print(card)
    row = card["keras-gpu"]
    assert row.error is None, row.error
    assert row.target == "GPU"


@pytest.mark.parametrize("allreduce", ["auto", "horovod"])
def test_its_work_counts_as_computing(train: Callable[..., lk.Run], allreduce: str):
    """A rank alone has nobody to add up with: what it takes is computing, although a GPU's work is queued."""
    run = train(["gpu:0"], wide(), max_steps=300, global_batch=1024, allreduce=allreduce, log_seconds=0.2)
    (row,) = run.workers_table().to_dict("records")
    assert row["computing_percent"] > 5 * row["communicating_percent"], row


@pytest.mark.parametrize("allreduce", ["auto", "horovod"])
def test_a_slowed_rank_is_waited_for(begun: Callable[..., lk.Run], allreduce: str):
    run = begun(["gpu:0", "gpu:0"], allreduce=allreduce)
    until(lambda: run.view().step > 30, run)
    run.slow_down(1, 3)
    slow = until(lambda: run.view().ranks.straggler(), run)
    assert slow.rank == 1
    first, second = run.workers_table().to_dict("records")
    assert first["waiting_percent"] > second["waiting_percent"]


def test_unequal_ranks_get_unequal_shares(begun: Callable[..., lk.Run]):
    run = begun(["gpu:0", "cpu"], weights="auto")
    until(lambda: events(run, "weights"), run)
    on_gpu, on_cores = events(run, "weights")[-1]["weights"]
    assert on_gpu > on_cores
