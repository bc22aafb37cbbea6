"""Spark DataFrames: written once as Parquet to a folder that the hosts share, then read by index as any Parquet is."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lepton_kit.data.dataset import Dataset
from lepton_kit.data.files import cache_root
from lepton_kit.data.large.arrow import PARQUET
from lepton_kit.data.large.row_groups import parquet
from lepton_kit.data.places import Files, files_at, is_address
from lepton_kit.errors import ConfigError, DataError

PLAIN = ("byte", "short", "integer", "long", "float", "double", "boolean")
KNOWN = (*PLAIN, "string", "date", "timestamp", "timestamp_ntz", "decimal")
VECTOR = "vectorudt"
ROWS = "lepton_kit_rows"


def is_spark_frame(value: Any) -> bool:
    """Whether it is a DataFrame of Spark, classic or Connect. Loads nothing: who has one has loaded Spark."""
    kinds = [kind for kind in type(value).__mro__ if kind.__name__ == "DataFrame"]
    return any(kind.__module__.startswith("pyspark.sql") for kind in kinds)


def from_spark(
    frame: Any,
    *,
    target: str,
    folder: str | Path | None = None,
    features: Sequence[str] | None = None,
    task: str | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """The rows of a Spark DataFrame, written once as Parquet into ``folder``; what else counts is said at `parquet`.

    ``folder`` is a new or empty folder, or such an address (``s3://…``), that Spark's executors, this machine and all
    hosts of a run see under the same name. Where Spark's master is this machine it may be left out: a new one in the
    user's cache, which `Dataset.path` names and you remove when no run needs it any more. Columns of arrays of numbers, and
    vectors of Spark ML, follow as they are, if all are as long. Raises `ConfigError`, or `DataError` that names a column
    that can't be read, or says that the folder is not shared.

    >>> from_spark([1, 2], target="label")
    Traceback (most recent call last):
    lepton_kit.errors.DataError: frame: got list; expected a Spark DataFrame
    """
    if not is_spark_frame(frame):
        raise DataError(f"frame: got {type(frame).__name__}; expected a Spark DataFrame")
    names = _columns(frame, target, features)
    place = _place(frame, folder)
    made = parquet(
        place, target=target, features=features, task=task, validation_split=validation_split, seed=seed
    )
    _write(_readable(frame, names), place)
    return made


def _columns(frame: Any, target: str, features: Sequence[str] | None) -> list[str]:
    """The columns to write. Raises `DataError` that names one that is missing, there twice, or of a type that is no input."""
    if isinstance(features, str):
        raise ConfigError("data.features", given=features, rule="a list of column names")
    names = [target, *(features or [name for name in frame.columns if name != target])]
    for name in names:
        if name not in frame.columns:
            raise DataError(f"frame: no column {name!r}; it has {', '.join(frame.columns[:30])}")
        if frame.columns.count(name) > 1:
            raise DataError(f"frame: {frame.columns.count(name)} columns are called {name!r}; rename them")
        kind = frame.schema[name].dataType
        rule = "numbers, text, dates, arrays of numbers or vectors; drop or convert it, or name `features`"
        if not _is_known(kind):
            raise DataError(f"frame: column {name!r} is of type {kind.simpleString()}; expected {rule}")
        if name == target and (
            kind.typeName() in ("array", VECTOR, "date") or "timestamp" in kind.typeName()
        ):
            raise DataError(
                f"frame: the target {name!r} is of type {kind.simpleString()}; expected numbers or text"
            )
    return names


def _is_known(kind: Any) -> bool:
    if kind.typeName() == "array":
        return kind.elementType.typeName() in PLAIN
    return kind.typeName() in KNOWN or kind.typeName() == VECTOR


def _readable(frame: Any, names: Sequence[str]) -> Any:
    """The same columns, vectors as arrays of numbers."""
    vectors = [name for name in names if frame.schema[name].dataType.typeName() == VECTOR]
    if vectors:
        from pyspark.ml.functions import vector_to_array

        frame = frame.withColumns({name: vector_to_array(frame[f"`{name}`"], "float32") for name in vectors})
    return frame.select(*(f"`{name}`" for name in names))


def _place(frame: Any, folder: str | Path | None) -> str | Path:
    """Where to write. Raises `ConfigError` for a folder that holds something, or where one has to be named."""
    if folder is None:
        master = str(frame.sparkSession.conf.get("spark.master", ""))
        if not master.startswith("local"):
            rule = "a folder or address that Spark's executors, this machine and all hosts of a run share"
            raise ConfigError("data.folder", given=None, rule=rule)
        return cache_root().parent / "spark" / secrets.token_hex(8)
    if is_address(folder):
        return str(folder)
    place = Path(folder).expanduser().absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        rule = (
            "a new or empty folder; what a DataFrame was written to before opens with lk.data.parquet(folder)"
        )
        raise ConfigError("data.folder", given=str(folder), rule=rule)
    return place


def _write(frame: Any, place: str | Path) -> None:
    """Write all rows, each once, and see that they have arrived here."""
    from pyspark.sql import Observation
    from pyspark.sql.functions import count, lit

    rows = Observation(ROWS)
    address = place if isinstance(place, str) else place.as_uri()
    frame.observe(rows, count(lit(1)).alias(ROWS)).write.mode("append").parquet(address)
    written, here = int(rows.get[ROWS]), _rows_at(place)
    if here != written:
        raise DataError(
            f"{place}: Spark has written {written} rows, {here} are seen here; expected a folder that its executors and "
            "this machine share"
        )


def _rows_at(place: str | Path) -> int:
    import pyarrow.parquet as pq

    try:
        files = Files(files_at(place, PARQUET))
    except DataError:
        return 0
    found = 0
    for number in range(len(files.files)):
        found += pq.read_metadata(files.stream(number)).num_rows
    return found
