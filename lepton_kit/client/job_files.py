"""Files with which other schedulers run the same `lepton run`: a Job of Kubernetes, a script for Ray.

Neither was run by this project; the files say so.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Literal

import yaml

from lepton_kit.config import RunConfig
from lepton_kit.data.places import is_address
from lepton_kit.errors import ConfigError

NOT_RUN = (
    "not_run: written by `lepton export-job`, and checked by a parser alone; no such cluster has run it yet."
)
GRACE_SECONDS = 120
"""From SIGTERM on, for the checkpoint with which a run becomes `interrupted`."""
Kind = Literal["kubernetes", "ray"]


def kubernetes(config: RunConfig, image: str, claim: str, *, memory: str = "4Gi", gpus: int = 0) -> str:
    """The manifest of a Job whose one pod trains on this configuration: a ConfigMap and a Job, as YAML.

    ``image`` has lepton_kit installed, ``claim`` names the volume claim that keeps the runs. Paths have to be absolute: they
    are looked for in the container. Raises `ConfigError`.

    >>> spec = {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10}
    >>> config = RunConfig.from_dict({"model": spec, "data": {"kind": "sample", "name": "digits"}})
    >>> [one["kind"] for one in yaml.safe_load_all(kubernetes(config, "lab/lepton:1", "runs"))]
    ['ConfigMap', 'Job']
    """
    _check(config, "kubernetes")
    for section in ("model", "data"):
        path = getattr(config, section).get("path")
        if path is not None and not is_address(path) and not Path(path).is_absolute():
            raise ConfigError(
                f"{section}.path", given=path, rule="an absolute path, as it is in the container"
            )
    if not re.fullmatch(r"\S+", image):
        raise ConfigError("image", given=image, rule="the name of a container image, such as lab/lepton:1")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", claim):
        raise ConfigError(
            "claim", given=claim, rule="the name of a volume claim: small letters, digits and -"
        )
    if not re.fullmatch(r"\d+(\.\d+)?([KMGT]i?)?", memory):
        raise ConfigError("memory", given=memory, rule="bytes as Kubernetes takes them, such as 4Gi")
    name = "lepton-" + re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")[:50]
    given: dict[str, Any] = {"cpu": str(_cores(config)), "memory": memory}
    if gpus:
        given["nvidia.com/gpu"] = gpus
    container = {
        "name": "lepton",
        "image": image,
        "command": ["lepton", "--runs-dir", "/runs", "run", "/config/config.yaml", "--foreground"],
        "resources": {"requests": given, "limits": given},
        "volumeMounts": [
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "runs", "mountPath": "/runs"},
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": name}},
            {"name": "runs", "persistentVolumeClaim": {"claimName": claim}},
        ],
    }
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"config.yaml": config.to_yaml()},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    head = (
        f"# {NOT_RUN}\n"
        f"# kubectl apply -f FILE starts it. Deleting the pod stops the run with a checkpoint, as interrupted:\n"
        "# `lepton --runs-dir /runs resume ID --foreground` as the command goes on with it.\n"
    )
    return head + str(yaml.safe_dump_all([held, job], sort_keys=False))


def ray(config: RunConfig, file: Path, runs_dir: str, *, gpus: int = 0) -> str:
    """A shell script that has Ray run this configuration's file as one job; its folder goes along.

    ``runs_dir`` is a folder on storage that outlives the job. Raises `ConfigError`.
    """
    _check(config, "ray")
    if not Path(runs_dir).is_absolute():
        raise ConfigError(
            "runs_dir", given=runs_dir, rule="an absolute path on storage that outlives the job"
        )
    command = ["lepton", "--runs-dir", runs_dir, "run", file.name, "--foreground"]
    options = ["--working-dir", str(file.resolve().parent), "--entrypoint-num-cpus", str(_cores(config))]
    if gpus:
        options += ["--entrypoint-num-gpus", str(gpus)]
    return (
        f"#!/bin/sh\n# {NOT_RUN}\n"
        "# RAY_ADDRESS names the cluster, as http://HEAD:8265. Ray kills a stopped job after RAY_JOB_STOP_WAIT_TIME_S\n"
        f"# (3 s): give it {GRACE_SECONDS} for the checkpoint.\n"
        f"exec ray job submit {shlex.join(options)} -- {shlex.join(command)}\n"
    )


def _check(config: RunConfig, kind: Kind) -> None:
    if config.workers.hosts is not None:
        given = [host.name for host in config.workers.hosts]
        raise ConfigError("workers.hosts", given=given, rule=f"null: a job of {kind} is one machine")
    if config.workers.driver is not None:
        raise ConfigError("workers.driver", given=config.workers.driver, rule="null: it is where the job is")


def _cores(config: RunConfig) -> int:
    count = config.workers.count
    workers = config.workers.min_workers if count == "auto" else int(count)
    return workers * (config.workers.threads or 1)
