"""Tables in files, frames and databases: `table` describes one, `build` reads it piece by piece into arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.dataset import Dataset, dataset_of, name_of
from lepton_kit.data.prepared import meta_of
from lepton_kit.data.splitting import check_split
from lepton_kit.data.tables.chunks import Table, is_frame, of_frame
from lepton_kit.data.tables.formats import of_query
from lepton_kit.data.tables.heading import header_of
from lepton_kit.data.tables.making import make
from lepton_kit.data.tables.reader import column, open_files, read_csv
from lepton_kit.data.tables.splits import dialect_of, named_files, open_split
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError

__all__ = ["build", "column", "inputs", "read_csv", "table"]

Name = str | int
Names = Name | Sequence[Name]
TASKS = ("classification", "regression", "multilabel")
WILD = "*?["


def table(
    path: Any,
    *,
    target: Names,
    task: str | None = None,
    unit: str | None = None,
    features: Sequence[Name] | None = None,
    drop: Sequence[Name] = (),
    split: Name | None = None,
    group: Name | None = None,
    time: Name | None = None,
    validation: str | None = None,
    sample_weight: Name | None = None,
    class_weight: str | Mapping[str, float] | None = None,
    categorical: Sequence[Name] = (),
    max_categories: int = 64,
    hash_buckets: int = 32,
    separator: str | None = None,
    decimal: str | Mapping[str, str] | None = None,
    thousands: str | Mapping[str, str] | None = None,
    encoding: str | None = None,
    quote: str | None = None,
    comment: str | None = None,
    header: bool | int = True,
    units: bool | None = None,
    missing: Sequence[str | float] = (),
    day_first: bool | None = None,
    sheet: str | int | None = None,
    query: str | None = None,
    pattern: str | Sequence[str] | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """A table with a target column; samples are float32 ``(features,)``.

    Columns are given by name; those of a frame without names by their number.

    ``path`` is a file (CSV in any dialect, packed or not, JSON, JSON lines, Parquet, Feather, Excel, SQLite with a
    ``query``), a folder or a pattern such as ``"parts/*.csv"`` of several, a frame of pandas or Polars, a list of
    dictionaries, or with ``query`` the address of a database, an engine or connection of SQLAlchemy. A frame and the
    answer of a database are stored with the run; an address is stored nowhere, because it may hold a password.

    Numbers and dates are standardised with the training rows' mean and deviation, texts become a feature for each
    category, or for each of ``hash_buckets`` where there are more than ``max_categories``; so do the ``categorical``
    columns, such as codes in digits; a column with missing
    values gets a feature that flags them. What was understood and what was left out is said in the notes of the
    prepared data. ``separator``, ``decimal``, ``thousands``, ``encoding``, ``quote``, ``comment``, ``day_first``
    and ``missing`` (more words for it, or numbers such as -999) are found out where they are not given; ``decimal`` and
    ``thousands`` hold for all columns, or for those named: ``thousands={"price": "."}``.

    Titles above the header are skipped, a row of units below it is taken as the columns' units. ``header`` is the number
    of the line that names the columns where another is found, or False where there is none; ``units`` says whether the row
    below holds units. Of an Excel file with several sheets the first that holds a table is read, or the ``sheet`` of that
    name or place.

    ``task``: without it texts, or at most 20 different whole numbers, are classes, all else is a regression, whose
    target is standardised within and answered in its ``unit``. Several targets make a regression of several values,
    or with 0 and 1 alone a ``multilabel`` task; so does one column of texts such as ``a|b``.

    Of several files those whose names or folders say ``train`` are trained on, and those for validation, else for test,
    are held out; a file without the target is data to predict, and left alone. Held out otherwise: rows that ``split`` calls validation, whole groups of ``group``, the latest rows by ``time``, the rows of
    the file ``validation``, or ``validation_split`` of the rows at random, every class in proportion.

    >>> rows = [{"size": k, "heated": "yes" if k % 2 else "no", "price": 3.0 * k} for k in range(50)]
    >>> table(rows, target="price", task="regression", unit="k€").prepare()
    PreparedData(40 + 10 samples, 2, regression)
    """
    check_split(validation_split, seed)
    options: dict[str, Any] = {
        "target": _target(target),
        "task": _one_of("task", task, TASKS),
        "unit": _text("unit", unit),
        "features": None if features is None else _names("features", features),
        "drop": _names("drop", drop),
        "split": _text("split", _named(split)),
        "group": _text("group", _named(group)),
        "time": _text("time", _named(time)),
        "validation": None if validation is None else _beside(path, validation),
        "sample_weight": _text("sample_weight", _named(sample_weight)),
        "class_weight": _class_weight(class_weight),
        "categorical": _names("categorical", categorical),
        "max_categories": _whole("max_categories", max_categories),
        "hash_buckets": _whole("hash_buckets", hash_buckets),
        "separator": _sign("separator", separator, most=3),
        "decimal": _mark("decimal", decimal, (".", ",")),
        "thousands": _mark("thousands", thousands, ("", ",", ".", " ", "'")),
        "encoding": _text("encoding", encoding),
        "quote": quote if quote == "" else _sign("quote", quote),
        "comment": _text("comment", comment),
        "header": header_of(header),
        "units": None if units is None else _truth("units", units),
        "missing": _names("missing", _spelled(missing)),
        "day_first": None if day_first is None else _truth("day_first", day_first),
        "sheet": _sheet(sheet),
        "query": _text("query", query),
        "pattern": None
        if pattern is None
        else pattern
        if isinstance(pattern, str)
        else _names("pattern", pattern),
        "validation_split": validation_split,
        "seed": seed,
    }
    ways = [name for name in ("split", "group", "time", "validation") if options[name] is not None]
    if len(ways) > 1:
        raise ConfigError(
            f"data.{ways[1]}",
            given=options[ways[1]],
            rule=f"only one of {', '.join(ways)} decides what is held out",
        )
    if query is not None and (not isinstance(path, str | Path) or "://" in str(path)):
        return _held(of_frame(of_query(path, query), "the query's answer"), options)
    if isinstance(path, str) and "://" in path:
        raise ConfigError(
            "data.path", given=path.partition("://")[0] + "://…", rule="a file, or for a database also query="
        )
    if isinstance(path, list | tuple) and path and all(isinstance(one, str | Path) for one in path):
        path, options["pattern"] = _common([Path(one).expanduser().absolute() for one in path])
    elif is_frame(path):
        return _held(of_frame(path), options)
    elif isinstance(path, str | Path) and not Path(path).expanduser().exists():
        parts = Path(path).expanduser().parts
        wild = next((place for place, part in enumerate(parts) if any(sign in part for sign in WILD)), None)
        if wild is not None:
            path, options["pattern"] = Path(*parts[:wild]), "/".join(parts[wild:])
    return dataset_of("table", path, **options)


def inputs(path: Path, options: Mapping[str, Any]) -> list[Path]:
    """The files that are read, so those whose change changes the data: training rows, then ``validation``."""
    train, held, _ = named_files(path, options)
    return [
        *train,
        *held,
        *([Path(options["validation"])] if options.get("validation") else []),
    ]


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Samples are float32 ``(features,)``; statistics and categories come from the training rows alone."""
    target = options["target"]
    opened = open_split(path, options, [target] if isinstance(target, str) else list(target))
    opened.train.notes.update(dict.fromkeys(opened.notes, 1))
    prepared = make(opened.train, opened.held or _validation(options), options, writer)
    writer.finish(**meta_of(prepared))


def _held(found: Table, options: dict[str, Any]) -> Dataset:
    """A table in memory as prepared data, which a launch stores."""
    options = json.loads(json.dumps(options))
    return Dataset("arrays", held=make(found, _validation(options), options, None))


def _validation(options: Mapping[str, Any]) -> Table | None:
    if options["validation"] is None:
        return None
    return open_files([Path(options["validation"])], dialect_of(options), options["sheet"], options["query"])


def _common(paths: list[Path]) -> tuple[Path, list[str]]:
    """The folder that all these files are in, and their names from there."""
    import os

    folder = Path(os.path.commonpath([one.parent for one in paths]))
    return folder, [str(one.relative_to(folder)) for one in paths]


def _beside(path: Any, validation: Any) -> str:
    """A relative name counts from here or, as in a configuration file, from the folder of the table."""
    if not isinstance(validation, str | Path):
        raise ConfigError("data.validation", given=validation, rule="the path of a file")
    found = Path(validation).expanduser()
    if not found.is_absolute() and not found.exists() and isinstance(path, str | Path):
        found = Path(path).expanduser().parent / found
    return str(found.absolute())


def _target(value: Any) -> str | list[str]:
    value = _named(value)
    return name_of("target", value) if isinstance(value, str) or not value else _names("target", value)


def _named(column: Any) -> Any:
    """A column's number as its name, which it is in a frame without names; anything else as it is."""
    return str(column) if isinstance(column, int | np.integer) and not isinstance(column, bool) else column


def _names(name: str, value: Any) -> list[str]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = [_named(one) for one in value]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigError(
            f"data.{name}",
            given=value,
            rule="a list of column names" if name != "missing" else "a list of words",
        )
    return list(value)


def _spelled(words: Any) -> Any:
    if not isinstance(words, list | tuple):
        return words
    return [
        f"{word:g}" if isinstance(word, int | float) and word == float(f"{word:g}") else word
        for word in words
    ]


def _text(name: str, value: Any) -> str | None:
    return None if value is None else name_of(name, value)


def _sign(name: str, value: Any, most: int = 1) -> str | None:
    if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= most):
        rule = "one character" if most == 1 else f"one character, or up to {most} such as '::'"
        raise ConfigError(f"data.{name}", given=value, rule=rule)
    return value


def _mark(name: str, value: Any, allowed: Sequence[str]) -> Any:
    if not isinstance(value, Mapping):
        return _one_of(name, value, allowed)
    return {name_of(name, _named(column)): _one_of(name, mark, allowed) for column, mark in value.items()}


def _sheet(value: Any) -> str | int | None:
    if value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ConfigError("data.sheet", given=value, rule="the name of a sheet, or its place, from 0")


def _one_of(name: str, value: Any, allowed: Sequence[str]) -> str | None:
    if value is None or value in allowed:
        return None if value is None else str(value)
    raise ConfigError(f"data.{name}", given=value, rule=f"one of {', '.join(map(repr, allowed))}")


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"data.{name}", given=value, rule="True or False")
    return value


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"data.{name}", given=value, rule="a whole number of at least 1")
    return value


def _class_weight(value: Any) -> Any:
    if value is None or value == "balanced":
        return value
    if not isinstance(value, Mapping):
        raise ConfigError("data.class_weight", given=value, rule="'balanced', or class -> weight")
    return {str(key): float(weight) for key, weight in value.items()}
