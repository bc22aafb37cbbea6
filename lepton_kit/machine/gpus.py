"""The GPUs that this process may use: those of NVIDIA's driver that the environment leaves it, or stand-ins of the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from lepton_kit.machine import nvml
from lepton_kit.machine.nvml import Gpu

STAND_IN = "LEPTON_GPU_STAND_IN"
"""The environment variable by which so many GPUs are played by the CPU: everything goes its way as with GPUs, but for speed."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
STAND_IN_NAME = "stand-in for a GPU (this machine's CPU)"


def stand_ins(environment: Mapping[str, str] = os.environ) -> int:
    """How many GPUs the CPU plays; 0: none.

    >>> stand_ins({"LEPTON_GPU_STAND_IN": "2"}), stand_ins({})
    (2, 0)
    """
    text = environment.get(STAND_IN, "")
    return int(text) if text.isdigit() else 0


def found(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs that this process may use, by their numbers; none without NVIDIA's driver."""
    played = stand_ins(environment)
    if played:
        return [Gpu(number, STAND_IN_NAME) for number in range(played)]
    return visible(nvml.read() or [], environment.get(VISIBLE))


def visible(gpus: Sequence[Gpu], setting: str | None) -> list[Gpu]:
    """Those that a value of CUDA_VISIBLE_DEVICES leaves: numbers or beginnings of UUIDs, up to the first that is none.

    One that several GPUs could be is none, and so is one that is there already: no GPU counts twice.

    CUDA C++ Programming Guide, *CUDA environment variables*.

    >>> [gpu.number for gpu in visible([Gpu(0, "A", "GPU-1f"), Gpu(1, "B", "GPU-2e")], "GPU-2,7,0")]
    [1]
    """
    if setting is None:
        return list(gpus)
    left: list[Gpu] = []
    for word in (one.strip() for one in setting.split(",")):
        meant = [one for one in gpus if word and (str(one.number) == word or one.uuid.startswith(word))]
        if len(meant) != 1 or meant[0] in left:
            break
        left += meant
    return sorted(left, key=lambda gpu: gpu.number)
