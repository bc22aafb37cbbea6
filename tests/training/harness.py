"""Runs a worker of one rank inside the test process, with the driver's side of the channel in a list."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lepton_kit.client.launch import plan
from lepton_kit.config import RunConfig
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.runtime.rendezvous import Rendezvous
from lepton_kit.training import job, messages
from lepton_kit.training.collective import segment_bytes
from lepton_kit.training.logged import Logged
from lepton_kit.training.loop import Worker
from lepton_kit.training.slowness import Slowness


class Channel:
    """What the driver would see and say."""

    def __init__(self, commands: dict[int, list[messages.Command]] | None = None):
        self.sent: list[messages.Message] = []
        self._commands = commands or {}
        self.slowness = Slowness()
        self._asked = 0

    def send(self, message: messages.FromWorker) -> None:
        self.sent.append(messages.decode(messages.encode(message)))

    def take_commands(self) -> list[messages.Command]:
        self._asked += 1
        return self._commands.pop(self._asked, [])

    def wait_for(self, *kinds: Any) -> Any:
        return kinds[0](generation=1)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of this kind that the driver would log."""
        told = [one for one in self.sent if isinstance(one, Logged)]
        return [one.content for one in told if one.event == event]


def prepare(folder: Path, model: Any, data: Any, **options: Any) -> RunConfig:
    """Write a run's configuration, model and data as `launch` does, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    config = plan(model, data, **options).store(folder)
    (folder / "config.yaml").write_text(config.to_yaml())
    return config


def train(
    folder: Path,
    config: RunConfig,
    *,
    commands: dict[int, list[messages.Command]] | None = None,
    checkpoint: Path | None = None,
    logged_epochs: int = 0,
) -> tuple[str, Worker, Channel]:
    """One generation of one rank, from the start or from a checkpoint."""
    channel = Channel(commands)
    built = job.build(config, folder)
    worker = Worker(built, channel)
    worker.attach(config, folder)
    rendezvous = Rendezvous()
    slot_bytes = worker.slot_bytes
    (membership,) = on_this_machine(1, rendezvous.address, slot_bytes=slot_bytes, timeout_seconds=10)
    rendezvous.begin([membership])
    segment = os.memfd_create("test-ring")
    os.ftruncate(segment, segment_bytes(1, slot_bytes))
    join = messages.Join(
        descriptor=segment,
        membership=membership,
        weights=[1.0],
        state_place=1 << 20,
        handed=False,
        checkpoint=str(checkpoint) if checkpoint else None,
        reported_step=0,
        logged_epochs=logged_epochs,
        durable_step=0,
        log_seconds=0.01,
        learning_rate=None,
        paused=False,
    )
    try:
        return worker.run(join), worker, channel
    finally:
        os.close(segment)
        rendezvous.close()


def weights_of(worker: Worker) -> list[Any]:
    return [variable.numpy() for variable in worker._step.model.variables]
