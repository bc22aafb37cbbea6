"""What the shell's `predict` reads and writes: the words of a command as raw input, and a frame as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from zipfile import BadZipFile

import numpy as np

from lepton_kit.deploy.frames import free
from lepton_kit.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    import pandas as pd

NAME = "name"
SHOWN_ROWS = 40
SHOWN_COLUMNS = 12
SUFFIXES = (".csv", ".parquet", ".jsonl")


def is_export(name: str) -> bool:
    """Whether the first word of the command is a model file or a folder of exports, and not a run."""
    from lepton_kit.deploy.loading import find

    path = Path(name)
    if not path.exists() or (path / "config.yaml").is_file():
        return False
    try:
        find(path)
    except ModelError:
        return False
    return True


def read_input(words: Sequence[str], lines: Iterable[str]) -> Any:
    """The raw input of a command: one path, several, the arrays of ``.npy`` or ``.npz``, or ``-`` for ``lines``.

    Arrays are never unpickled. Raises `DataError` that names what is not there.
    """
    if list(words) == ["-"]:
        return [line.rstrip("\n") for line in lines if line.strip()]
    paths = [Path(word) for word in words]
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
    if len(paths) > 1:
        return paths
    if paths[0].suffix not in (".npy", ".npz"):
        return paths[0]
    try:
        found = np.load(paths[0], allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, BadZipFile) as failure:
        raise DataError(f"{paths[0]}: not a readable file of arrays ({failure})") from None
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def check_output(path: str | Path) -> None:
    """Raise `ConfigError` for a file that could not be written, before anything is predicted."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError("output", given=str(path), rule=f"a file that ends in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError("output", given=str(path), rule="a file in a folder that exists")
    if path.suffix == ".parquet":
        from importlib.util import find_spec

        if find_spec("pyarrow") is None:
            raise ConfigError(
                "output", given=str(path), rule=".csv or .jsonl; .parquet needs pip install pyarrow"
            )


def write(table: pd.DataFrame, path: str | Path) -> Path:
    """Write every row; ``name`` is the first column (see `name_column`). Arrays, such as maps of classes, become lists."""
    path = Path(path)
    check_output(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".csv":
            plain(table, json.dumps).to_csv(temporary, index=False)
        elif path.suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as stream:
                write_lines(table, stream)
        else:
            plain(table, lambda value: value).to_parquet(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_lines(table: pd.DataFrame, stream: TextIO) -> None:
    """One JSON object a row; what is missing is null."""
    for row in plain(table, lambda value: value).to_dict(orient="records"):
        stream.write(
            json.dumps({name: _json(value) for name, value in row.items()}, ensure_ascii=False) + "\n"
        )


def name_column(table: pd.DataFrame) -> str:
    """The column for the names of the inputs: ``name``, or ``name_of_input`` where a target is named ``name``."""
    return free(NAME, table.columns)


def plain(table: pd.DataFrame, told: Callable[[Any], Any]) -> pd.DataFrame:
    """The frame with its index as the first column, ``name`` (see `name_column`), and ``told(list)`` for each array.

    >>> import pandas as pd
    >>> plain(pd.DataFrame({"output": [np.arange(2)]}), str).to_json(orient="records")
    '[{"name":0,"output":"[0, 1]"}]'
    """
    found = table.rename_axis(name_column(table)).reset_index()
    for name in found.columns:
        values = found[name]
        if values.dtype == object and any(isinstance(value, np.ndarray) for value in values):
            found[name] = [
                told(value.tolist()) if isinstance(value, np.ndarray) else value for value in values
            ]
    return found


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value or type(value).__name__ == "NAType":
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)
