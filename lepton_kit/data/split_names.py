"""Which split the name of a file or a folder spells, and so which files are trained on and which are held out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lepton_kit.data.images.layout import FILLERS, SPELLINGS, TEST, TRAIN, VALIDATION, split_of
from lepton_kit.errors import DataError

OF_A_FILE = FILLERS | {"of", "part", "shard", "labels", "features"}
SHORT = {"tr", "ts", "pred", "prediction"}
"""Spellings of folders that mean other things in the name of a file."""


class Named(NamedTuple):
    """Files to train on, files held out, and sentences about those that are left alone."""

    train: list[str]
    held: list[str]
    notes: list[str]


def split_of_file(name: str) -> str | None:
    """The split that a file belongs to by its folders, else by the first or last word of its name; or None.

    >>> [
    ...     split_of_file(f"{name}.csv")
    ...     for name in ("mnist_train", "train-00000-of-00002", "X_training-set", "data_eval")
    ... ]
    ['train', 'train', 'train', 'validation']
    >>> [split_of_file(name) for name in ("dev/a.csv", "TestData.csv", "train_test.csv", "contest.csv")]
    ['validation', 'test', None, None]
    """
    *folders, base = name.split("/")
    for folder in folders:
        if split := split_of(folder):
            return split
    base = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", base.lstrip(".").partition(".")[0])
    words = [word for word in re.split(r"[^a-z]+", base.lower()) if word and word not in OF_A_FILE]
    ends = {words[0], words[-1]} - SHORT if words else set()
    found = {split for split, spelled in SPELLINGS.items() if ends & spelled}
    return found.pop() if len(found) == 1 else None


def by_names(names: Sequence[str]) -> Named:
    """Files by their names: those for test are left alone where others are for validation.

    Without such names, or where all files are of one split, all are trained on. Raises `DataError` for a file that says
    nothing among files that do, and for files held out without any to train on.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(split_of_file(name) or "", []).append(name)
    if len(groups) < 2:
        return Named(list(names), [], [])
    if "" in groups:
        other = next(split for split in (TRAIN, VALIDATION, TEST) if split in groups)
        raise DataError(
            f"{groups[''][0]}: neither a file to train on nor one held out, as {groups[other][0]} is ({other}); "
            "name it so, or move it away"
        )
    if TRAIN not in groups:
        raise DataError(
            f"{groups[VALIDATION][0]} and {groups[TEST][0]}: files for validation and for test, none to train on; "
            "name those with 'train', or give one file"
        )
    held = VALIDATION if VALIDATION in groups else TEST
    left = groups.get(TEST, []) if held == VALIDATION else []
    notes = [f"{len(left)} files of 'test' are left alone: 'validation' is held out"] if left else []
    return Named(groups[TRAIN], groups[held], notes)
