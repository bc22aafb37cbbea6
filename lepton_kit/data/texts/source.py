"""Texts in CSV files: lower-cased words as token ids, with a vocabulary from the training rows alone."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.dataset import Dataset, dataset_of, is_whole, name_of
from lepton_kit.data.memory import check_classes, describe
from lepton_kit.data.prepared import FolderWriter, Split, write_folder
from lepton_kit.data.splitting import check_split, split_rows
from lepton_kit.data.tables.source import column, read_csv
from lepton_kit.errors import ConfigError, DataError

WORD = re.compile(r"\w+|[^\w\s]")
RESERVED = ("[padding]", "[unknown]")
TRAIN_VALUES = {"train", "training"}
HELD_OUT_VALUES = {"test", "val", "valid", "validation", "dev"}


def words(text: str) -> list[str]:
    """Lower-cased words and punctuation marks.

    >>> words("Book a table, please")
    ['book', 'a', 'table', ',', 'please']
    """
    return WORD.findall(text.lower())


def encode(texts: list[str], vocabulary: tuple[str, ...], length: int) -> np.ndarray:
    """Token ids, int32 ``(n, length)``: 0 pads at the end, 1 stands for a word that is not in the vocabulary.

    >>> encode(["b a c"], ("[padding]", "[unknown]", "a", "b"), 4).tolist()
    [[3, 2, 1, 0]]
    """
    index = {word: i for i, word in enumerate(vocabulary)}
    ids = np.zeros((len(texts), length), np.int32)
    for row, text in enumerate(texts):
        tokens = [index.get(word, 1) for word in words(text)[:length]]
        ids[row, : len(tokens)] = tokens
    return ids


def text(
    path: str | Path,
    *,
    text: str = "text",
    label: str = "intent",
    split: str | None = None,
    vocabulary_size: int = 4000,
    sequence_length: int = 24,
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Texts and labels in a CSV file; samples are token ids, int32 ``(sequence_length,)``, 0 pads, 1 is unknown.

    ``split`` names a column with train and validation (or test); without it ``validation_split`` is held out.
    """
    check_split(validation_split, seed)
    if not is_whole(vocabulary_size, 3):
        raise ConfigError("data.vocabulary_size", given=vocabulary_size, rule="a whole number of at least 3")
    if not is_whole(sequence_length, 1):
        raise ConfigError("data.sequence_length", given=sequence_length, rule="a whole number of at least 1")
    return dataset_of(
        "text",
        path,
        text=name_of("text", text),
        label=name_of("label", label),
        split=split,
        vocabulary_size=vocabulary_size,
        sequence_length=sequence_length,
        validation_split=validation_split,
        seed=seed,
    )


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Samples are int32 ``(sequence_length,)``; classes are the label's distinct values, sorted."""
    header, rows = read_csv(path)
    texts = column(header, rows, options["text"], path.name)
    labels = column(header, rows, options["label"], path.name)
    for name, values in ((options["text"], texts), (options["label"], labels)):
        if "" in values:
            raise DataError(f"{path.name}: row {values.index('') + 1} is empty in column {name!r}")
    classes = tuple(sorted(set(labels)))
    y = np.array([classes.index(label) for label in labels], np.int32)
    if options["split"] is not None:
        train, held = _given(column(header, rows, options["split"], path.name), options["split"], path.name)
        classes, y = _classes_of(labels, train, held, path.name)
    else:
        train, held = split_rows(len(rows), options["validation_split"], options["seed"], labels=y)
    check_classes(y[train], classes)
    counts = Counter(word for i in train for word in words(texts[i]))
    kept = sorted(counts, key=lambda word: (-counts[word], word))[
        : options["vocabulary_size"] - len(RESERVED)
    ]
    vocabulary = (*RESERVED, *kept)
    x = encode(texts, vocabulary, options["sequence_length"])
    prepared = describe(
        Split(x[train], y[train]),
        Split(x[held], y[held]) if len(held) else None,
        classes,
        vocabulary=vocabulary,
        vocabulary_size=len(vocabulary),
        value_range=(0.0, float(len(vocabulary) - 1)),
    )
    write_folder(prepared, writer.folder)


def _given(values: list[str], name: str, file: str) -> tuple[np.ndarray, np.ndarray]:
    for row, value in enumerate(values):
        if value.lower() not in TRAIN_VALUES | HELD_OUT_VALUES:
            raise DataError(
                f"{file}: row {row + 1} has {value!r} in column {name!r}; allowed: train, validation, test"
            )
    train = np.array([value.lower() in TRAIN_VALUES for value in values])
    if not train.any():
        raise DataError(f"{file}: column {name!r} marks no row as train")
    return np.flatnonzero(train), np.flatnonzero(~train)


def _classes_of(
    labels: list[str], train: np.ndarray, held: np.ndarray, file: str
) -> tuple[tuple[str, ...], np.ndarray]:
    classes = tuple(sorted({labels[i] for i in train}))
    for i in held:
        if labels[i] not in classes:
            raise DataError(
                f"{file}: row {i + 1} is held out with the label {labels[i]!r}, which no training row has"
            )
    return classes, np.array([classes.index(label) for label in labels], np.int32)
