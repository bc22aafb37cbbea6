"""Brings what rank 0 writes on a host back to the run's folder, before the word that it is written."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.mirror import Mirror, pieces
from lepton_kit.runtime.hosts.outbox import Outbox
from lepton_kit.training import logged, messages

Job = tuple[Sequence[str], talk.Passed]


def written(message: messages.Message) -> list[str]:
    """Folders of the run that are whole when a worker says this."""
    match message:
        case logged.Saved(path=path):
            return [path, "best"]
        case logged.Predicted(step=step, others=others) if others:
            return [f"predictions/step-{step:08d}"]
        case messages.Detached(outcome="finished" | "stop"):
            return ["best", "final"]
    return []


class Returning:
    """A thread that sends folders piece by piece, each followed by the message that tells of it."""

    def __init__(self, mirror: Mirror, outbox: Outbox):
        self._mirror, self._outbox = mirror, outbox
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="returning").start()

    def give(self, folders: Sequence[str], message: talk.Passed) -> None:
        """Send these folders, as far as they are there, and then this message."""
        self._jobs.put((folders, message))

    def _run(self) -> None:
        while not self._outbox.closed:
            folders, message = self._jobs.get()
            for folder in folders:
                for whole in self._each(folder):
                    self._send(whole)
            self._outbox.post_bulk(message)

    def _each(self, folder: str) -> list[str]:
        """The folders that are whole or not at all; those of the best epochs lie side by side in one."""
        if folder != "best":
            return [folder]
        return [f"best/{path.name}" for path in sorted((self._mirror.folder / folder).glob("step-*"))]

    def _send(self, folder: str) -> None:
        names = self._mirror.files_of(folder)
        for name in names:
            try:
                for offset, data, last in pieces(self._mirror.folder / name):
                    whole = folder if last and name == names[-1] else None
                    told = talk.Returned(
                        name=name, offset=offset, data=talk.packed(data), last=last, whole=whole
                    )
                    self._outbox.post_bulk(told)
            except OSError:
                return  # removed meanwhile, as old checkpoints are: it is not whole, and counts as none
