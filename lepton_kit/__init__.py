"""lepton_kit: data-parallel training that lives in a notebook, watched and re-scaled while it runs."""

from __future__ import annotations

import os

from lepton_kit.lazy import lazily

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
# Else the first model of a notebook takes all memory of the GPUs, and leaves none for workers.

__version__ = "0.1.0"

_HOMES = {
    "LeptonModel": "models",
    "RunConfig": "config",
    "Run": "client.run",
    "attach": "client.attaching",
    "open_run": "client.run",
    "runs": "client.table",
    "launch": "client.launch",
    "launch_config": "client.launch",
    "submit": "client.submitting",
    "fit": "fitting",
    "warm": "client.launch",
    "cool": "runtime.start",
    "certify": "client.certify",
    "audit": "client.audit",
    "Cluster": "client.cluster",
    "check_spark": "client.spark",
    "compare": "client.compare",
    "plan": "client.plans.planning",
    "devices": "client.devices",
    "pool": "client.pool",
    "tradeoff": "client.tradeoff",
    "Workbench": "panels",
    "compress": "deploy",
    "sensitivity": "deploy",
    "infer": "deploy",
    "export": "deploy",
    "load": "deploy",
}
_ROOMS = (
    "compression",
    "config",
    "data",
    "deploy",
    "doctor",
    "errors",
    "models",
    "panels",
    "training",
)
__all__ = [*_HOMES, *_ROOMS]
__getattr__, __dir__ = lazily(__name__, _HOMES, _ROOMS)
