"""A worker takes its seat: it is pinned to its cores, sees its GPU alone, and starts TensorFlow there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from lepton_kit.errors import DeviceError
from lepton_kit.machine.gpus import VISIBLE, stand_ins
from lepton_kit.machine.topology import tell_cores
from lepton_kit.training import messages

STAND_IN_DEVICE = "CPU:1"
"""What computes in the place of a GPU: a second device that TensorFlow makes of the same cores."""


def pin(cores: Sequence[int]) -> str | None:
    """Have this process, and the threads that it starts from now on, run on these cores alone; none: wherever it may.

    Returns why the system does not let it, if so.
    """
    if not cores:
        return None
    try:
        os.sched_setaffinity(0, cores)
    except OSError as failure:
        return f"cores {tell_cores(cores)}: a worker can't be pinned there ({failure.strerror})"
    return None


def take(tensorflow: Any, start: messages.Fork) -> AbstractContextManager[Any]:
    """Set TensorFlow up for this place and start its runtime; returns the device scope in which all is to happen.

    On a GPU that was chosen the process sees that one, else the one of its slot, and takes its memory as needed, or at
    most ``gpu_bytes``. Raises `DeviceError` for a chosen GPU that TensorFlow does not see.
    """
    configured = tensorflow.config
    configured.threading.set_intra_op_parallelism_threads(start.threads)
    configured.threading.set_inter_op_parallelism_threads(start.threads)
    played = start.device == "gpu" and stand_ins() > 0
    if start.device != "gpu" or played:
        os.environ[VISIBLE] = "-1"
    elif start.gpu is not None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # so that numbers mean what NVIDIA's driver counts
        os.environ[VISIBLE] = str(start.gpu)
    if played:
        _split_cpu(configured)
    elif start.device == "gpu":
        _take_gpu(configured, start)
    scope = tensorflow.device(STAND_IN_DEVICE) if played else contextlib.nullcontext()
    with scope:
        tensorflow.constant(0.0) + 1.0  # starts TensorFlow's runtime while nobody waits
    return tensorflow.device(STAND_IN_DEVICE) if played else contextlib.nullcontext()


def _take_gpu(configured: Any, start: messages.Fork) -> None:
    gpus = configured.list_physical_devices("GPU")
    if start.gpu is not None and not gpus:
        raise DeviceError(
            f"gpu {start.gpu}: TensorFlow sees no GPU; it needs CUDA's libraries (`lepton doctor` tells more)"
        )
    if not gpus:
        return
    mine = gpus[0] if start.gpu is not None else gpus[start.slot % len(gpus)]
    configured.set_visible_devices(mine, "GPU")
    if start.gpu_bytes is None:
        configured.experimental.set_memory_growth(mine, True)
    else:  # TensorFlow refuses growth beside a limit; its limits count in MiB
        limit = configured.LogicalDeviceConfiguration(memory_limit=max(1, start.gpu_bytes >> 20))
        configured.set_logical_device_configuration(mine, [limit])


def _split_cpu(configured: Any) -> None:
    (cpu,) = configured.list_physical_devices("CPU")
    two = [configured.LogicalDeviceConfiguration(), configured.LogicalDeviceConfiguration()]
    configured.set_logical_device_configuration(cpu, two)
