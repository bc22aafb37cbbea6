"""Opens the files of a table by their splits: those to train on, those held out, and those that are to be predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_kit.data.files import is_table, of_rows
from lepton_kit.data.split_names import by_names, told_to_predict
from lepton_kit.data.tables.chunks import Table
from lepton_kit.data.tables.delimited import Dialect
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.values import is_missing
from lepton_kit.errors import DataError

DIALECT = ("separator", "encoding", "quote", "comment", "header", "units")
"""Options of a table that say how its files are written."""


@dataclass(frozen=True)
class Opened:
    """The table to train on, the one held out or None, and sentences.

    ``lacking``: columns of the former that files to be predicted lack, in order; ``predict`` are the names of these.
    """

    train: Table
    held: Table | None
    notes: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    predict: tuple[str, ...] = field(default=())


def dialect_of(options: Mapping[str, Any]) -> Dialect:
    """What the options say of how files are written; what they leave open is found out."""
    return Dialect(**{name: options[name] for name in DIALECT if options.get(name) is not None})


def open_split(path: Path, options: Mapping[str, Any], targets: Sequence[str] | None) -> Opened:
    """The files of a table. A held-out file without a target is to be predicted; ``targets`` None: it lacks any column.

    Raises `DataError` that names the file.
    """
    files, named, notes = named_files(path, options)
    how = (dialect_of(options), options.get("sheet"), options.get("query"))
    train = open_files(files, *how)
    held: list[Path] = []
    predict: list[Path] = []
    lacking: dict[str, None] = {}
    one: Table | None = None
    for file in named:
        opened = open_files([file], *how)
        names = {*opened.names}
        gone = [name for name in train.names if name not in names]
        asked = gone if targets is None else [name for name in targets if name in gone]
        if targets and not asked and not gone:
            asked = [name for name in targets if name in train.names and _is_empty(opened, name)]
        (predict if asked else held).append(file)
        one = one if asked else opened
        lacking |= dict.fromkeys([*gone, *asked] if asked else ())
    told = [file.name for file in files]
    notes = list(notes)
    if held:
        notes.insert(0, f"by the names of the files {_some(told)} is trained on, {_some(held)} is held out")
    if predict and targets is not None:
        fresh = [file.name for file in predict]
        notes.append(told_to_predict(fresh, told, [name for name in targets if name in lacking]))
        others = [name for name in lacking if name not in targets]
        if others:
            notes.append(
                f"{_some(predict)}: without {', '.join(map(repr, others[:8]))} too, so that a model that learns from these "
                f"can't answer it: drop={others!r}"
            )
    return Opened(
        train,
        one if len(held) < 2 else open_files(held, *how),
        tuple(notes),
        tuple(lacking),
        tuple(file.name for file in predict),
    )


def _is_empty(table: Table, name: str) -> bool:
    """Whether no row has a value in a column; reading ends at the first that has one."""
    return all(is_missing(chunk.columns[name]).all() for chunk in table.chunks(256))


def named_files(path: Path, options: Mapping[str, Any]) -> tuple[list[Path], list[Path], list[str]]:
    """Files to train on, files that their names hold out, and sentences. Raises `DataError`."""
    files, notes = _files(path, options.get("pattern"))
    if path.is_file() or options.get("split") is not None:  # a column says it
        return files, [], notes
    of = {file.relative_to(path).as_posix(): file for file in files}
    train, held, more = by_names(list(of))
    notes = [*notes, *more]
    decided = next((name for name in ("group", "time", "validation") if options.get(name) is not None), None)
    if held and decided:
        notes.append(f"{len(held)} files are left alone, as their names hold them out and {decided}= decides")
        held = []
    return [of[name] for name in train], [of[name] for name in held], notes


def _files(path: Path, pattern: str | list[str] | tuple[str, ...] | None) -> tuple[list[Path], list[str]]:
    """The files of a folder that are meant, and a sentence about those that are no tables."""
    if path.is_file():
        return [path], []
    if isinstance(pattern, list | tuple):
        return [path / name for name in pattern], []
    found = sorted(
        file for file in path.glob(pattern or "*") if file.is_file() and not file.name.startswith((".", "_"))
    )
    if not found:
        raise DataError(f"{path}: no file {'' if pattern is None else f'like {pattern!r} '}in this folder")
    kept = of_rows([file.name for file in found if is_table(file.name) or file.suffix.lower() == ".zip"])
    tables = [file for file in found if file.name in kept]
    if pattern is not None or not tables or len(tables) == len(found):
        return found, []
    others = [file for file in found if file not in tables]
    return tables, [f"{_some(others)}: no table by its ending, left alone"]


def _some(files: Sequence[Path | str]) -> str:
    return ", ".join(Path(file).name for file in files[:5]) + (" …" if len(files) > 5 else "")
