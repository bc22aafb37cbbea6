"""Which collective a run sums with."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from lepton_kit.training import native
from lepton_kit.training.collective import HorovodCollective, Kind, RingCollective, Sharing
from lepton_kit.training.hierarchical import HierarchicalCollective


def choose(allreduce: str, devices: AbstractSet[str], sharing: Sharing = "all", nccl: bool = False) -> Kind:
    """The collective that a run uses: what was asked for, else shared memory as far as it reaches.

    ``devices`` are what its ranks compute on. Where all of them have a GPU and Horovod has NCCL, that sums on the GPUs.
    """
    if allreduce == "horovod" or sharing == "none":
        return "horovod"
    if sharing == "host":
        return "horovod" if "gpu" in devices else "hierarchical"
    if allreduce == "auto" and devices == {"gpu"} and nccl:
        return "horovod"
    return "shared_memory" if native.available() else "horovod"


def is_staged(kind: Kind, devices: AbstractSet[str], nccl: bool = False) -> bool:
    """Whether ranks on a GPU bring their gradients to the host's memory, where the sum takes place.

    They do unless NCCL sums for all ranks: shared memory is the host's, and a rank without a GPU can't reach one.

    >>> is_staged("horovod", {"cpu", "gpu"}, nccl=True), is_staged("horovod", {"gpu"}, nccl=True)
    (True, False)
    """
    return "gpu" in devices and not (kind == "horovod" and devices == {"gpu"} and nccl)


def has_nccl() -> bool:
    """Whether this Horovod was built with NCCL."""
    import horovod.tensorflow as hvd

    return bool(hvd.nccl_built())


def make(kind: Kind, wire: str = "float32", staged: bool = False) -> HorovodCollective:
    """The collective of this kind; what goes over Horovod may be rounded to float16."""
    kinds: dict[Kind, type[HorovodCollective]] = {
        "horovod": HorovodCollective,
        "shared_memory": RingCollective,
        "hierarchical": HierarchicalCollective,
    }
    return kinds[kind](wire, staged)
