"""Tables in folders below: the files of a split, the parts of a partitioned table, or recordings in class folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from lepton_kit.data.files import partition_of
from lepton_kit.errors import DataError

TRAIN = ("train", "training")
HELD_OUT = ("validation", "valid", "val", "dev", "eval", "test", "testing")
"""Names of the files of a split; the first that is there is held out."""
_SHARD = re.compile(r"(?P<split>[a-z]+)([-_.]\d+([-_.]of[-_.]\d+)?)?")


def kind_of_tables(names: Sequence[str]) -> str:
    """``partitions``, ``splits`` or ``recordings``: what tables that all lie in folders are, by their names.

    >>> kind_of_tables(["year=2023/0.parquet"]), kind_of_tables(["train/0.csv", "test/0.csv"])
    ('partitions', 'splits')
    >>> (
    ...     kind_of_tables(["data/train-00000-of-00001.parquet"]),
    ...     kind_of_tables(["train/walk/0.csv", "train/run/0.csv"]),
    ... )
    ('splits', 'recordings')
    """
    if any(partition_of(name) for name in names):
        return "partitions"
    return "splits" if all(map(split_of, of_rows(names))) else "recordings"


def of_rows(names: Sequence[str]) -> list[str]:
    """The tables among files: without ``.json`` beside others, which says something about them."""
    return [name for name in names if not name.endswith(".json")] or list(names)


def split_of(name: str) -> str | None:
    """The word for a split that the folder of a file or, as Hugging Face names them, the file itself spells.

    >>> split_of("train/0.csv"), split_of("data/test-00000-of-00001.parquet"), split_of("walk/test_run.csv")
    ('train', 'test', None)
    """
    path = PurePosixPath(name)
    shard = _SHARD.fullmatch(path.name.partition(".")[0].lower())
    for word in (path.parent.name.lower(), shard["split"] if shard else ""):
        if word in (*TRAIN, *HELD_OUT):
            return word
    return None


def apart(names: Sequence[str], where: str) -> tuple[list[str], list[str], list[str]]:
    """(files to train on, those held out, sentences). Raises `DataError` where none is to train on, or folders mix."""
    by_word: dict[str, list[str]] = {}
    for name in sorted(names):
        by_word.setdefault(str(split_of(name)), []).append(name)
    train = [name for word in TRAIN for name in by_word.get(word, [])]
    held = next((word for word in HELD_OUT if word in by_word), None)
    if not train:
        raise DataError(
            f"{where}: no table to train on among {', '.join(sorted(names)[:5])}; give the path of one"
        )
    left = [name for word, files in by_word.items() if word not in (*TRAIN, held) for name in files]
    notes = [f"{', '.join(left[:5])}: left alone, as {held!r} is the validation"] if left else []
    return train, by_word[held] if held else [], notes


def refusal(names: Sequence[str], where: str) -> DataError:
    """The error that says what to do with the folders of a partitioned table."""
    folder, column = next(found for name in names if (found := partition_of(name)))
    columnar = names[0].endswith((".parquet", ".pq"))
    way = f"pandas.read_parquet({where!r})" if columnar else "frame"
    return DataError(
        f"{where}: folders such as {folder!r} are the parts of one table, and its column {column!r} stands in their names "
        f"alone; read it with pandas, and give the frame: lk.data.read({way}, target=…)"
        + (f"; or kind='parquet', which leaves {column!r} out" if columnar else "")
    )
