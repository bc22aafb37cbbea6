"""What a worker does to take its seat: with a TensorFlow that only notes what it is told, for no GPU is there."""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace
from typing import Any

import pytest

from lepton_kit.errors import DeviceError
from lepton_kit.machine.topology import affinity
from lepton_kit.runtime import seat
from lepton_kit.training.messages import Fork


class Noting:
    """As much of TensorFlow as a seat needs."""

    def __init__(self, gpus: int):
        self.told: list[tuple[Any, ...]] = []
        listed = {"GPU": [f"GPU:{k}" for k in range(gpus)], "CPU": ["CPU:0"]}

        def note(name: str) -> Any:
            return lambda *given: self.told.append((name, *given))

        self.config = SimpleNamespace(
            threading=SimpleNamespace(
                set_intra_op_parallelism_threads=note("intra"), set_inter_op_parallelism_threads=note("inter")
            ),
            list_physical_devices=lambda kind: listed[kind],
            set_visible_devices=note("visible"),
            experimental=SimpleNamespace(set_memory_growth=note("growth")),
            LogicalDeviceConfiguration=lambda memory_limit=None: memory_limit,
            set_logical_device_configuration=note("logical"),
        )

    def device(self, name: str) -> Any:
        self.told.append(("device", name))
        return contextlib.nullcontext()

    def constant(self, value: float) -> float:
        return value


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "LEPTON_GPU_STAND_IN"):
        monkeypatch.setenv(name, "before")


def taken(gpus: int, **place: Any) -> list[tuple[Any, ...]]:
    tensorflow = Noting(gpus)
    seat.take(tensorflow, Fork(worker=0, log="", threads=3, **place))
    assert tensorflow.told[:2] == [("intra", 3), ("inter", 3)]
    return tensorflow.told[2:]


def test_a_worker_on_cores_sees_no_gpu():
    assert taken(2, slot=0, device="cpu") == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def test_a_worker_with_a_gpu_of_its_choice_sees_that_one_alone():
    assert taken(1, slot=5, device="gpu", gpu=2) == [("visible", "GPU:0", "GPU"), ("growth", "GPU:0", True)]
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"]) == ("2", "PCI_BUS_ID")


def test_one_of_several_on_a_gpu_keeps_within_its_part():
    told = taken(1, slot=0, device="gpu", gpu=0, gpu_bytes=3 << 20)
    assert told == [("visible", "GPU:0", "GPU"), ("logical", "GPU:0", [3])]


def test_without_a_choice_it_takes_the_gpu_of_its_slot():
    assert taken(2, slot=3, device="gpu")[0] == ("visible", "GPU:1", "GPU")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "before"
    assert taken(0, slot=3, device="gpu") == []


def test_a_chosen_gpu_that_tensorflow_does_not_see_is_an_error_and_not_a_worker_on_cores():
    with pytest.raises(DeviceError, match="gpu 0: TensorFlow sees no GPU; it needs CUDA's libraries"):
        taken(0, slot=0, device="gpu", gpu=0)


def test_the_cpu_stands_in_as_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEPTON_GPU_STAND_IN", "1")
    told = taken(0, slot=0, device="gpu", gpu=0)
    assert told == [("logical", "CPU:0", [None, None]), ("device", "CPU:1"), ("device", "CPU:1")]


def test_pinning_binds_this_thread_or_says_why_not():
    before = affinity()
    try:
        assert seat.pin([]) is None
        assert affinity() == before
        assert seat.pin(before[:1]) is None
        assert affinity() == before[:1]
        said = seat.pin([4000])
        assert said is not None
        assert said.startswith("cores 4000: a worker can't be pinned there (")
    finally:
        os.sched_setaffinity(0, before)
