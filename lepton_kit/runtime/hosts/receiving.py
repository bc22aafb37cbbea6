"""Takes in what comes back from a host: whole folders that rank 0 has written there, and what workers have printed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lepton_kit.models import trust
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.mirror import is_inside
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
        self.problem: str | None = None
        """Why the last file could not be written, if it could not."""

    def take(self, piece: talk.Returned) -> None:
        """Write a piece of a file. Nothing outside the folders that workers write to is touched."""
        if not is_inside(piece.name) or Path(piece.name).parts[0] not in self._names:
            return
        try:
            self._write(piece)
        except OSError as failure:
            self.problem = f"{piece.name} from {self._host}: {failure.strerror or failure}"

    def _write(self, piece: talk.Returned) -> None:
        parts = Path(piece.name).parts
        depth = 1 if parts[0] in ALONE else 2
        unfinished = self._folder.joinpath(*parts[: depth - 1], f".{parts[depth - 1]}.{self._host}")
        target = unfinished.joinpath(*parts[depth:])
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(target, "r+b" if piece.offset else "wb") as file:
            file.seek(piece.offset)
            file.write(talk.unpacked(piece.data))
            if piece.last:
                file.flush()
                os.fsync(file.fileno())
        if piece.whole is not None and is_inside(piece.whole):
            final = self._folder / piece.whole
            shutil.rmtree(final, ignore_errors=True)
            os.replace(unfinished, final)
            if parts[0] in ALONE:
                trust.trust(final)  # else its user would be asked whether he trusts his own model
            if (keep := KEPT.get(parts[0])) is not None:
                place = self._folder / parts[0]
                saved = parts[0] != "predictions"  # a state is whole once it has its sums
                for old in (checkpoint_folders(place) if saved else sorted(place.glob("step-*")))[:-keep]:
                    shutil.rmtree(old, ignore_errors=True)

    def printed(self, worker: int, text: str) -> None:
        """Add to the log of a worker; on a full disk it is lost."""
        with contextlib.suppress(OSError), open(RunPaths(self._folder).worker_log(worker), "a") as file:
            file.write(text)
