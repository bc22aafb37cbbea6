"""Texts with labels as token ids, with a vocabulary from the training texts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lepton_kit.data.checks import check_classes
from lepton_kit.data.dataset import Dataset, dataset_of, is_whole, name_of
from lepton_kit.data.prepared import PreparedData, Split, write_folder
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.splitting import check_split, split_rows
from lepton_kit.data.tables.chunks import is_frame
from lepton_kit.data.tables.heading import header_of
from lepton_kit.data.texts import subword
from lepton_kit.data.texts.labelled import Labelled, of_memory, read
from lepton_kit.data.texts.preprocessing import TextPreprocessing, splitter
from lepton_kit.data.texts.tokens import FITS, MAX_LENGTH, RESERVED, TOKENIZERS, auto_length, choose
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError


def text(
    path: Any,
    *,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    split: str | None = None,
    header: bool | int = True,
    separator: str | None = None,
    encoding: str | None = None,
    tokenizer: Literal["auto", "words", "characters", "subword"] = "auto",
    lowercase: bool = True,
    vocabulary_size: int = 4000,
    sequence_length: int | Literal["auto"] = "auto",
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Texts and labels; samples are token ids, int32 ``(sequence_length,)``, 0 pads at the end, 1 is unknown.

    ``path`` is a frame, a dictionary of columns or a list of dictionaries, which are stored with the run; or a table or JSON lines with a column of texts and one of labels, a folder with such a file a split
    (train.csv, validation.csv), or class folders of .txt files; ``header``, ``separator`` and ``encoding`` are as in `table`. Columns
    that are not named are found by usual names.
    A text has several labels where ``label_separator`` cuts the label, where it is a list in JSON, or where ``label``
    names several columns of 0 and 1: targets are then float32 ``(classes,)`` of 0 and 1.

    ``split`` names a column with train and validation (or test); test rows are left alone where there are validation
    rows. Without it ``validation_split`` is held out. ``tokenizer``: words by Unicode's rules, characters (the choice
    of ``auto`` where texts have no spaces), or pieces of words. ``sequence_length`` ``auto`` is the length that 95 of 100
    training texts fit into, at most 512. Raises `ConfigError`, and `prepare` `DataError`.
    """
    check_split(validation_split, seed)
    if tokenizer not in ("auto", *TOKENIZERS):
        raise ConfigError(
            "data.tokenizer", given=tokenizer, rule=f"one of {', '.join(('auto', *TOKENIZERS))}"
        )
    smallest = subword.SMALLEST if tokenizer == "subword" else len(RESERVED) + 1
    if not is_whole(vocabulary_size, smallest):
        raise ConfigError(
            "data.vocabulary_size", given=vocabulary_size, rule=f"a whole number of at least {smallest}"
        )
    if sequence_length != "auto" and not is_whole(sequence_length, 1):
        raise ConfigError(
            "data.sequence_length", given=sequence_length, rule="auto, or a whole number of at least 1"
        )
    if separator is not None and (not isinstance(separator, str) or len(separator) != 1):
        raise ConfigError("data.separator", given=separator, rule="one character, or none to find out")
    if label_separator is not None and (not isinstance(label_separator, str) or not label_separator):
        raise ConfigError("data.label_separator", given=label_separator, rule="a text, such as | or ,")
    if label is not None and not isinstance(label, str):
        label = [name_of("label", one) for one in label]
        if len(label) < 2:
            raise ConfigError("data.label", given=label, rule="a column, or two or more columns of 0 and 1")
    options = {
        "text": name_of("text", text) if text is not None else None,
        "label": name_of("label", label) if isinstance(label, str) else label,
        "label_separator": label_separator,
        "split": split,
        "header": header_of(header),
        "separator": separator,
        "encoding": encoding,
        "tokenizer": tokenizer,
        "lowercase": bool(lowercase),
        "vocabulary_size": vocabulary_size,
        "sequence_length": sequence_length,
        "validation_split": validation_split,
        "seed": seed,
    }
    if is_frame(path):
        return Dataset("arrays", held=_prepared(of_memory(path, options), options))
    return dataset_of("text", path, **options)


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Samples are int32 ``(sequence_length,)``; classes are the training rows' distinct labels, sorted."""
    write_folder(_prepared(read(path, options), options), writer.folder)


def _prepared(found: Labelled, options: dict[str, Any]) -> PreparedData:
    classes, y, train, held = _targets(found, options)
    learned, notes = _learn(found, [found.texts[row] for row in train], options, classes)
    ids, cut, unknown = learned.ids(found.texts)
    notes += _losses(learned, ids, cut, unknown, train, held)
    return PreparedData(
        train=Split(ids[train], y[train]),
        validation=Split(ids[held], y[held]) if len(held) else None,
        task=learned.target.task,
        class_names=classes,
        num_classes=len(classes),
        vocabulary=learned.vocabulary,
        vocabulary_size=len(learned.vocabulary),
        value_range=(0.0, float(len(learned.vocabulary) - 1)),
        details={"notes": [*found.notes, *notes]},
        preprocessing=learned,
    )


def _targets(
    found: Labelled, options: dict[str, Any]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """(classes, targets, rows to train on, rows held out)."""
    if found.splits[0] is not None:
        train, held = found.rows("train"), found.rows("validation")
        classes = tuple(sorted({one for row in train for one in found.labels[row]}))
    else:
        classes = tuple(sorted({one for labels in found.labels for one in labels}))
    if isinstance(options["label"], list):
        classes = tuple(options["label"])
    index = {name: place for place, name in enumerate(classes)}
    for row, labels in enumerate(found.labels):
        for one in labels:
            if one not in index:
                raise DataError(
                    f"{found.file}: {found.places[row]} is held out with the label {one!r}, which no training row has"
                )
    if found.several:
        y = np.zeros((len(found.labels), len(classes)), np.float32)
        for row, labels in enumerate(found.labels):
            y[row, [index[one] for one in labels]] = 1
        found.notes.append(
            f"several labels a text: {y.sum(1).mean():.3g} on average, {int((y.sum(1) == 0).sum())} texts have none"
        )
    else:
        y = np.array([index[labels[0]] for labels in found.labels], np.int32)
    if found.splits[0] is None:
        train, held = split_rows(
            len(y), options["validation_split"], options["seed"], labels=None if found.several else y
        )
    if len(classes) < 2:
        raise DataError(f"{found.file}: one class only ({', '.join(classes)}); expected at least two")
    if not found.several:
        check_classes(y[train], classes)
        missing = sorted(set(classes) - {classes[place] for place in y[held]})
        if len(held) and missing:
            names = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            found.notes.append(f"{len(missing)} of {len(classes)} classes have no held-out text: {names}")
    return classes, y, train, held


def _learn(
    found: Labelled, texts: list[str], options: dict[str, Any], classes: tuple[str, ...]
) -> tuple[TextPreprocessing, list[str]]:
    """The preprocessing that the training texts give, and what it took them for."""
    tokenizer, why = options["tokenizer"], None
    if tokenizer == "auto":
        tokenizer, why = choose(texts)
    size, lowercase, model = options["vocabulary_size"], options["lowercase"], None
    if tokenizer == "subword":
        model = subword.trained(texts, size, lowercase)
    split = splitter(tokenizer, lowercase, model)
    counts: Counter[str] = Counter()
    lengths = []
    for one in texts:
        tokens = list(split(one))
        lengths.append(len(tokens))
        counts.update(tokens)
    if not counts:
        raise DataError(f"{found.file}: the training texts have no {tokenizer}")
    if model is not None:
        vocabulary = subword.vocabulary(model)
    else:
        kept = sorted(counts, key=lambda token: (-counts[token], token))[: size - len(RESERVED)]
        vocabulary = (*RESERVED, *kept)
    length = options["sequence_length"]
    notes = [f"tokens are {tokenizer}" + (f", since {why}" if why and tokenizer != "words" else "")]
    if len(counts) > len(vocabulary) - len(RESERVED) and model is None:
        notes.append(
            f"the {len(vocabulary) - len(RESERVED)} most frequent of {len(counts)} {tokenizer} are told apart"
        )
    if length == "auto":
        length = auto_length(lengths)
        most = f", but at most {MAX_LENGTH}" if length == MAX_LENGTH else ""
        notes.append(f"sequence_length {length}: {FITS:.0%} of the training texts are no longer{most}")
    learned = TextPreprocessing(
        target=Target(
            task="multilabel" if found.several else "classification",
            name=options["label"] if isinstance(options["label"], str) else None,
            class_names=classes,
        ),
        tokenizer=tokenizer,
        lowercase=lowercase,
        vocabulary=vocabulary,
        sequence_length=length,
        subword=model,
        column=found.column,
        whole_files=found.whole_files,
        header=found.header,
        separator=found.separator,
    )
    total = sum(lengths)
    lost = total - sum(min(one, length) for one in lengths)
    if lost:
        longer = sum(one > length for one in lengths)
        notes.append(
            f"cut: {longer} of {len(lengths)} training texts to their first {length} {learned.units} "
            f"(the longest has {max(lengths)}), which loses {lost / total:.1%} of all {learned.units}"
        )
    return learned, notes


def _losses(
    learned: TextPreprocessing,
    ids: np.ndarray,
    cut: np.ndarray,
    unknown: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
) -> list[str]:
    """What was lost of the held-out texts, and training texts of which nothing is left."""
    notes = []
    tokens = (ids > 0).sum(1)
    for name, rows in (("training", train), ("held-out", held)):
        if not len(rows):
            continue
        if nothing := int((unknown[rows] == tokens[rows]).sum()):
            notes.append(f"{nothing} of {len(rows)} {name} texts have no {learned.units} that are known")
        if share := unknown[rows].sum() / max(1, tokens[rows].sum()):
            notes.append(f"{share:.1%} of the {learned.units} of {name} texts are unknown")
    if cut[held].any():
        notes.append(f"cut: {int(cut[held].sum())} of {len(held)} held-out texts")
    return notes
