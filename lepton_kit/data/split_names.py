"""Which split the name of a file, a folder or a cell spells: the one place where such names are decided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from lepton_kit.errors import DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPELLINGS = {
    TRAIN: frozenset({"train", "training", "trn", "tr", "trainset"}),
    VALIDATION: frozenset(
        [
            "val",
            "valid",
            "validation",
            "validate",
            "dev",
            "develop",
            "development",
            "eval",
            "evaluation",
            "valset",
            "validset",
            "devset",
            "evalset",
        ]
    ),
    TEST: frozenset({"test", "testing", "tst", "ts", "testset", "holdout", "pred", "prediction"}),
}
FILLERS = frozenset(
    [
        "set",
        "data",
        "dataset",
        "images",
        "image",
        "imgs",
        "img",
        "pictures",
        "photos",
        "seg",
        "split",
        "folder",
        "files",
        "samples",
        "x",
        "jpg",
        "png",
    ]
)
"""Words that say nothing about the split in the name of a folder."""
OF_A_FILE = FILLERS | {"of", "part", "shard", "labels", "features"}
SHORT = frozenset({"tr", "ts", "pred", "prediction"})
"""Spellings of folders that mean other things elsewhere: languages in names of classes, answers in names of files."""
IN_A_COLUMN = {"tr": TRAIN, "fit": TRAIN, "learn": TRAIN}
"""Words that spell a split only where a whole column does."""
ANSWERS = frozenset({"submission", "submissions", "submit"})
"""Words in the names of files that show how answers are handed in, as contests have them."""


class Named(NamedTuple):
    """Files to train on, files held out, and sentences about those that are left alone."""

    train: list[str]
    held: list[str]
    notes: list[str]


def split_of_word(word: str) -> str | None:
    """The split that one word spells.

    >>> [split_of_word(word) for word in ("Train", "dev", "testing", "tr", "contest")]
    ['train', 'validation', 'test', None, None]
    """
    word = word.strip().lower()
    return None if word in SHORT else next((one for one, words in SPELLINGS.items() if word in words), None)


def split_of_cell(cell: str) -> str | None:
    """The split that a cell of a column of splits spells.

    >>> [split_of_cell(cell) for cell in ("train", "tr", "Val", "0")]
    ['train', 'train', 'validation', None]
    """
    return IN_A_COLUMN.get(cell.strip().lower()) or split_of_word(cell)


def split_of(folder: str) -> str | None:
    """The split that a folder's name spells, or None.

    >>> [
    ...     split_of(name)
    ...     for name in ("Training", "seg_train", "test_set", "train2017", "cats", "valid_images")
    ... ]
    ['train', 'train', 'test', 'train', None, 'validation']
    """
    words = [word for word in re.split(r"[^a-z]+", folder.lower()) if word]
    words = [word for word in words if word not in FILLERS] or words
    if len(words) != 1:
        return None
    return next((split for split, names in SPELLINGS.items() if words[0] in names), None)


def split_of_file(name: str) -> str | None:
    """The split that a file belongs to by its folders, else by the first or last word of its name, or its ending.

    >>> [
    ...     split_of_file(f"{name}.csv")
    ...     for name in ("mnist_train", "train-00000-of-00002", "X_training-set", "data_eval")
    ... ]
    ['train', 'train', 'train', 'validation']
    >>> [
    ...     split_of_file(name)
    ...     for name in ("dev/a.csv", "TestData.csv", "adult.test", "train_test.csv", "contest.csv")
    ... ]
    ['validation', 'test', 'test', None, None]
    """
    *folders, base = name.split("/")
    for folder in folders:
        if split := split_of(folder):
            return split
    words = _words(base)
    ends = {words[0], words[-1]} - SHORT if words else set()
    found = {split for split, spelled in SPELLINGS.items() if ends & spelled}
    if not found:
        return split_of_word(base.rpartition(".")[2])
    return found.pop() if len(found) == 1 else None


def lies_in_split(name: str) -> bool:
    """Whether a file is a part of a split: by its own name or the folder it is in, not by one further up.

    Below ``train/walk/`` files belong to the class ``walk``.

    >>> (
    ...     lies_in_split("data/train/0.csv"),
    ...     lies_in_split("train-00000-of-00001.parquet"),
    ...     lies_in_split("train/walk/0.csv"),
    ... )
    (True, True, False)
    """
    return split_of_file("/".join(PurePosixPath(name).parts[-2:])) is not None


def is_example_of_answers(name: str) -> bool:
    """Whether a file shows the form of answers, by its name.

    >>> [
    ...     is_example_of_answers(name)
    ...     for name in ("sample_submission.csv", "sampleSubmission.csv", "train.csv")
    ... ]
    [True, True, False]
    """
    return not ANSWERS.isdisjoint(_words(name.rpartition("/")[2]))


def by_names(names: Sequence[str]) -> Named:
    """Files by their names: those for test are left alone where others are for validation.

    A file without such a word is the one to train on where a held-out file has its name and the word beside it
    (``adult.data`` and ``adult.test``). Examples of answers are left alone. Without such names, or where all files are
    of one split, all are trained on. Raises `DataError` for a file that says nothing among files that do, and for files
    held out without any to train on.
    """
    answers = [name for name in names if is_example_of_answers(name)]
    if len(answers) < len(names):
        names = [name for name in names if name not in answers]
        notes = [f"{_some(answers)}: shows how answers are handed in, left alone"] if answers else []
    else:
        notes = []
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(split_of_file(name) or "", []).append(name)
    if len(groups) < 2:
        return Named(list(names), [], notes)
    if TRAIN not in groups and {*map(_stem, groups.get("", []))} & {
        _stem(name) for split in (VALIDATION, TEST) for name in groups.get(split, [])
    }:
        groups[TRAIN] = groups.pop("")
    if "" in groups:
        other = next(split for split in (TRAIN, VALIDATION, TEST) if split in groups)
        raise DataError(
            f"{groups[''][0]}: neither a file to train on nor one held out, as {groups[other][0]} is ({other}); "
            "name it so, move it away, or give the path of the file to train on"
        )
    if TRAIN not in groups:
        raise DataError(
            f"{groups[VALIDATION][0]} and {groups[TEST][0]}: files for validation and for test, none to train on; "
            "name those with 'train', or give one file"
        )
    held = VALIDATION if VALIDATION in groups else TEST
    left = groups.get(TEST, []) if held == VALIDATION else []
    if left:
        notes.append(f"{_some(left)} (test): left alone, as {_some(groups[held])} is held out")
    return Named(groups[TRAIN], groups[held], notes)


def told_to_predict(files: Sequence[str], train: Sequence[str], targets: Sequence[str]) -> str:
    """The sentence about files beside those to train on that lack what is to be predicted.

    >>> told_to_predict(["test.csv"], ["train.csv"], ["price"])
    "test.csv: without the target 'price', so data to predict, not held out: run.predict('test.csv'); train.csv alone is trained on"
    """
    return (
        f"{_some(files)}: without the target {', '.join(map(repr, targets))}, so data to predict, not held out: "
        f"run.predict({files[0]!r}); {_some(train)} alone is trained on"
    )


def _words(base: str) -> list[str]:
    """The words of a file's name that may say something: without its ending, numbers and fillers."""
    base = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", base.lstrip(".").partition(".")[0])
    return [word for word in re.split(r"[^a-z]+", base.lower()) if word and word not in OF_A_FILE]


def _stem(name: str) -> tuple[str, ...]:
    """What is left of a file's name without the word that spells a split.

    >>> _stem("adult.data") == _stem("adult.test"), _stem("houses_test.csv")
    (True, ('houses',))
    """
    return tuple(word for word in _words(name.rpartition("/")[2]) if split_of_word(word) is None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
