"""Folders as a user walks them: what a typed path may go on to, and what a folder holds. Pure but for the listing."""

from __future__ import annotations

import os
from pathlib import Path

MOST = 200


def completions(typed: str, most: int = MOST) -> list[str]:
    """What a typed path may become: names in its folder that begin like its end, folders with a slash, as typed.

    A relative path counts from the current folder, which is the notebook's.
    """
    folder, begun = os.path.split(typed)
    base = Path(folder).expanduser() if folder else Path()
    return [
        os.path.join(folder, name)
        for name in names_in(base, hidden=begun.startswith("."))
        if name.lower().startswith(begun.lower())
    ][:most]


def names_in(folder: Path, hidden: bool = False) -> list[str]:
    """The names in a folder, folders first and with a slash, sorted; empty for one that can't be listed."""
    try:
        with os.scandir(folder) as entries:
            found = [(not entry.is_dir(), entry.name) for entry in entries]
    except OSError:
        return []
    shown = sorted((is_file, name) for is_file, name in found if hidden or not name.startswith("."))
    return [name if is_file else f"{name}/" for is_file, name in shown]


def shown(path: Path) -> str:
    """A path as it is typed: from the current folder where it lies below it, else whole.

    >>> shown(Path.cwd() / "data" / "a.csv"), shown(Path.cwd())
    ('data/a.csv', '.')
    """
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
