"""Takes in what comes back from a host: whole folders that rank 0 has written there, and what workers have printed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lepton_kit.errors import why_not_written
from lepton_kit.models import trust
from lepton_kit.rundir import RunPaths
from lepton_kit.rundir.held import named
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.mirror import is_inside
from lepton_kit.training import logged, messages
from lepton_kit.training.state import KEEP_CHECKPOINTS, checkpoint_folders

KEPT = {"checkpoints": KEEP_CHECKPOINTS, "best": 1, "predictions": 1}
"""Folder -> how many of the folders in it stay."""
RETURNED = ("checkpoints", "best", "predictions", "final")
ALONE = ("final", "model")
"""Folders without other folders in them that are whole by themselves."""


class Receiving:
    """Writes into the run's own folder. A folder that comes back is there whole or not at all."""

    def __init__(self, folder: Path, host: str, names: Sequence[str] = RETURNED):
        """Folders of other ``names`` are not taken."""
        self._folder, self._host, self._names = folder, host.replace("/", "-"), names
        self._broken: dict[Path, str] = {}
        """Folders of which a piece could not be written, and why: the rest of them does not count."""
        self._problems: dict[str, str] = {}
        """Kind of folder -> why the last one could not be stored, until it is told."""

    def take(self, piece: talk.Returned) -> None:
        """Write a piece of a file. Nothing outside the folders that workers write to is touched."""
        if not is_inside(piece.name) or Path(piece.name).parts[0] not in self._names:
            return
        parts = Path(piece.name).parts
        depth = 1 if parts[0] in ALONE else 2
        unfinished = self._folder.joinpath(*parts[: depth - 1], f".{parts[depth - 1]}.{self._host}")
        try:
            if unfinished not in self._broken:
                self._write(piece, unfinished, unfinished.joinpath(*parts[depth:]))
        except OSError as failure:
            self._broken[unfinished] = why_not_written(failure, self._folder)
            shutil.rmtree(unfinished, ignore_errors=True)
        if piece.whole is None or not is_inside(piece.whole):
            return
        if (why := self._broken.pop(unfinished, None)) is not None:
            self._problems[parts[0]] = named(f"{self._folder / piece.whole}: can't be stored ({why})")
            return
        try:
            self._finish(unfinished, piece.whole, parts[0])
        except OSError as failure:
            why = why_not_written(failure, self._folder)
            self._problems[parts[0]] = named(f"{self._folder / piece.whole}: can't be stored ({why})")

    def _write(self, piece: talk.Returned, unfinished: Path, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(target, "r+b" if piece.offset else "wb") as file:
            file.seek(piece.offset)
            file.write(talk.unpacked(piece.data))
            if piece.last:
                file.flush()
                os.fsync(file.fileno())

    def _finish(self, unfinished: Path, name: str, kind: str) -> None:
        final = self._folder / name
        shutil.rmtree(final, ignore_errors=True)
        os.replace(unfinished, final)
        if kind in ALONE:
            trust.trust(final)  # else its user would be asked whether he trusts his own model
        if (keep := KEPT.get(kind)) is not None:
            place = self._folder / kind
            saved = kind != "predictions"  # a state is whole once it has its sums
            for old in (checkpoint_folders(place) if saved else sorted(place.glob("step-*")))[:-keep]:
                shutil.rmtree(old, ignore_errors=True)

    def told(self, message: messages.Message) -> list[messages.Message]:
        """What a worker's word that it has written something amounts to here, now that it has come back or has not."""
        problems, self._problems = self._problems, {}
        if "final" in problems and isinstance(message, messages.Detached):
            return [messages.Failed(what="error", cause=problems["final"])]
        warned: list[messages.Message] = [logged.Warned(text=text) for text in problems.values()]
        if "checkpoints" in problems and isinstance(message, logged.Saved):
            return warned
        return [*warned, message]

    def printed(self, worker: int, text: str) -> None:
        """Add to the log of a worker; on a full disk it is lost."""
        with contextlib.suppress(OSError), open(RunPaths(self._folder).worker_log(worker), "a") as file:
            file.write(text)
