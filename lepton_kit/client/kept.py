"""What a run is called and where it lies: its name, tags and note, and its way into the trash and back."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from lepton_kit.errors import RunError
from lepton_kit.rundir import RunPaths, trash
from lepton_kit.rundir.held import HeldFolder
from lepton_kit.rundir.labels import (
    Labels,
    check_name,
    check_note,
    check_tags,
    first_name,
    read_labels,
    write_labels,
)


class KeptRun:
    """The part of a `Run` that keeps order among runs; nothing of it changes the run's configuration."""

    def __init__(self, paths: RunPaths):
        self._paths = paths
        self._held: HeldFolder | None = None
        self.listed: tuple[Any, dict[str, Any]] | None = None
        """What a list has read of an ended run, with the stamps of the files that it was read from."""

    @property
    def paths(self) -> RunPaths:
        """Its files, where its folder lies now: one that was held is followed when it is renamed or moved."""
        held = self._held
        if held is not None and not held.lies_at(self._paths.root):
            if held.gone:
                self._held = None
            else:
                self._lie_at(RunPaths(held.path))
        return self._paths

    def hold(self) -> None:
        """Keep the folder in sight from now on: whoever renames or moves it does not take it away from this object."""
        if self._held is None:
            try:
                self._held = HeldFolder(self._paths.root)
            except OSError:
                return  # gone, or no descriptor is left; then it is found by its name alone
            weakref.finalize(self._held, os.close, self._held.descriptor)

    @property
    def id(self) -> str:
        """The name of its folder, which stays whatever the run is called, unless somebody renames the folder."""
        return self.paths.id

    @property
    def directory(self) -> Path:
        """Its folder."""
        return self.paths.root

    @property
    def labels(self) -> Labels:
        """Name, tags and note as they stand in the run's ``labels.json``."""
        return read_labels(self.paths)

    @property
    def name(self) -> str:
        """What it is called; assign another name, or None for the first one. Raises `ConfigError`."""
        return self.labels.name or first_name(self.id)

    @name.setter
    def name(self, name: str | None) -> None:
        write_labels(self.paths, name=None if name is None else check_name(name))

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags; assign others, as in ``run.tags = [*run.tags, "baseline"]``. Raises `ConfigError`."""
        return self.labels.tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        write_labels(self.paths, tags=check_tags(tags))

    @property
    def note(self) -> str:
        """What is to be remembered of it; assign a text. Raises `ConfigError`."""
        return self.labels.note

    @note.setter
    def note(self, note: str) -> None:
        write_labels(self.paths, note=check_note(note))

    @property
    def deleted(self) -> bool:
        """Whether it lies in the trash."""
        return trash.in_trash(self.paths)

    def delete(self, *, forever: bool = False) -> Self:
        """Move the run into the trash beside it, from which `restore` brings it back; `runs` with ``trash=True`` lists it.

        ``forever`` removes its files, and lets go of data that the cache kept for it alone; nothing brings those back.
        Raises `RunError` for a run that is under way or is being compressed.
        """
        if forever:
            trash.erase(self.paths)
        elif self.deleted:
            raise RunError(
                f"{self.id} is in the trash; restore() brings it back, delete(forever=True) removes it"
            )
        else:
            self._lie_at(trash.bury(self.paths))
        return self

    def restore(self) -> Self:
        """Bring the run back from the trash. Raises `RunError` where it is not there, or another has its place."""
        if not self.deleted:
            raise RunError(f"{self.id} is not in the trash, but in {self.directory.parent}")
        self._lie_at(trash.unbury(self.paths))
        return self

    def _lie_at(self, paths: RunPaths) -> None:
        """The folder has moved; what was read of it stays true."""
        self._paths = paths
