"""Which collective a run sums with."""

from __future__ import annotations

from lepton_kit.training import native
from lepton_kit.training.collective import HorovodCollective, Kind, RingCollective, Sharing
from lepton_kit.training.hierarchical import HierarchicalCollective


def choose(allreduce: str, device: str, sharing: Sharing = "all") -> Kind:
    """The collective that a run uses: what was asked for, else shared memory as far as it reaches."""
    if allreduce == "horovod" or device == "gpu" or sharing == "none":
        return "horovod"
    if sharing == "host":
        return "hierarchical"
    return "shared_memory" if native.available() else "horovod"


def make(kind: Kind, wire: str = "float32") -> HorovodCollective:
    """The collective of this kind; what goes over Horovod may be rounded to float16."""
    kinds: dict[Kind, type[HorovodCollective]] = {
        "horovod": HorovodCollective,
        "shared_memory": RingCollective,
        "hierarchical": HierarchicalCollective,
    }
    return kinds[kind](wire)
