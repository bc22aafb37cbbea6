"""Whether the machine and the hosts of a run have room for it; all of it is asked before any process starts."""

from __future__ import annotations

from typing import Any

from lepton_kit.client.cluster import Cluster
from lepton_kit.client.spark import look_at
from lepton_kit.config import RunSettings
from lepton_kit.data import PreparedData
from lepton_kit.errors import ConfigError, DeviceError, RunError
from lepton_kit.machine.devices import gpus, memory
from lepton_kit.models.footprint import WORKER_BYTES
from lepton_kit.places import PINNED
from lepton_kit.planning.seating import problems, seated
from lepton_kit.runtime.pool.folder import usual_pool
from lepton_kit.runtime.pool.spread import shares
from lepton_kit.runtime.seating import room_now
from lepton_kit.workers import WorkersConfig


def reach(config: RunSettings, prepared: PreparedData, each: int, session: Any = None) -> None:
    """Look at the hosts of a run. Raises `RunError` with what is wrong with each that can't be used."""
    if (driver := config.workers.driver) is not None:
        if session is not None:
            raise ConfigError("driver", given=driver, rule="null: the Spark session is here")
        if problems := Cluster([driver]).check().problems:
            raise RunError("driver: " + "; ".join(problems))
        return  # which hosts that one reaches is for it to find out
    if config.workers.spark is not None:
        look_at(config.workers.spark, session)
        return
    if config.workers.hosts is None:
        return
    cluster = Cluster(config.workers.hosts)
    _check_slots(config, cluster.slots)
    workers = _first_workers(config) + config.workers.standby
    if problems := cluster.check_for(prepared, workers, each).problems:
        raise RunError("hosts: " + "; ".join(problems))


def _first_workers(config: RunSettings) -> int:
    return config.workers.min_workers if config.workers.count == "auto" else int(config.workers.count)


def _check_slots(config: RunSettings, slots: int) -> None:
    workers = _first_workers(config)
    if workers + config.workers.standby > slots:
        rule = f"at most the {slots} slots of the hosts, those of standby ({config.workers.standby}) included"
        raise ConfigError("workers.count", given=workers, rule=rule)


def _check_hosts(config: RunSettings) -> None:
    hosts = config.workers.hosts or ()
    if not any(host.is_allocation for host in hosts):  # else its slots are known where the run starts
        _check_slots(config, sum(host.slots for host in hosts))
    for name, allowed, words in (
        ("weights", (None, "auto"), "auto, or the `speed` of each host"),
        ("allreduce", ("auto", "horovod"), "auto or horovod"),
    ):
        given = getattr(config.workers, name)
        if given not in allowed:
            raise ConfigError(f"workers.{name}", given=given, rule=f"{words}, where there are hosts")
    if not shares(config) or config.workers.driver is not None or usual_pool() is None:
        return
    if config.workers.standby:
        rule = "0 where runs share the slots of hosts (auto)"
        raise ConfigError("workers.standby", given=config.workers.standby, rule=rule)


def check_places(workers: WorkersConfig, each: int) -> None:
    """Whether the chosen places can be had now; a worker needs ``each`` bytes. Raises `DeviceError` naming the place."""
    if workers.places is None:
        return
    assert workers.slots is not None, "it counts the places"
    room = room_now()
    if not isinstance(workers.places, tuple):
        seated(PINNED, workers.slots, workers.threads, room)
    elif wrong := next(problems(workers.places, room, max(0, each - WORKER_BYTES)), None):
        raise DeviceError(str(wrong))


def check(config: RunSettings, prepared: PreparedData, each: int) -> None:
    """What only the data and the machine can tell about a configuration; a worker needs ``each`` bytes."""
    samples, batch = len(prepared.train), config.training.global_batch
    workers = _first_workers(config)
    if workers > samples:
        raise ConfigError("workers.count", given=workers, rule=f"at most the {samples} training samples")
    if batch < workers:
        raise ConfigError(
            "training.global_batch",
            given=batch,
            rule=f"at least one sample for each of the {workers} workers",
        )
    if config.workers.hosts is not None:
        return _check_hosts(config)
    weights = config.workers.weights
    if isinstance(weights, tuple) and len(weights) != workers:
        raise ConfigError(
            "workers.weights", given=list(weights), rule=f"one weight for each of the {workers} workers"
        )
    if config.workers.driver is not None:
        return  # which machine this is about is not known here
    check_places(config.workers, each)
    if config.workers.device == "gpu" and not gpus():
        raise DeviceError(
            "workers.device: got 'gpu'; this machine shows no GPU (nvidia-smi), so only 'cpu' is allowed"
        )
    total, free = memory()
    pooled = config.workers.count == "auto"
    if pooled:
        usual_pool()
        free = total  # what other runs hold now is waited for
    needed = each * (workers + config.workers.standby)
    if free < needed:
        raise DeviceError(
            f"memory: {workers} workers and {config.workers.standby} standby need about {needed / 1e9:.1f} GB "
            f"({each / 1e9:.2f} GB each, estimated from the model's size); {free / 1e9:.1f} GB are {'there' if pooled else 'free'}. "
            "Fewer workers need less"
        )
