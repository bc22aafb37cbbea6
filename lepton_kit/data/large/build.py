"""Decodes large data into arrays on disk after all, for those who ask for it and have the room."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from lepton_kit.data.checks import check_classes, task_of
from lepton_kit.data.large.index import READERS, Found, opened_parts
from lepton_kit.data.large.reading import Blocks, Records
from lepton_kit.data.places import Files
from lepton_kit.data.writing import FolderWriter

ROWS_AT_ONCE = 4096


def decoded(writer: FolderWriter, found: Found, parts: Mapping[str, Any], targets: np.ndarray | None) -> None:
    """Write the samples as arrays: what training then reads is like any other decoded source."""
    module, name = READERS[found.kind]
    kind = getattr(importlib.import_module(f"lepton_kit.data.large.{module}"), name)
    reader = kind(Files(found.files), found.state, found.arrays)
    store: Any = Blocks(reader, 0, 0) if found.by_block else Records(reader)
    train, held, _ = opened_parts(parts, found.edges)
    ys: dict[str, Any] = {"train": None, "validation": None}
    for split, part in (("train", train), ("validation", held)):
        if part is None:
            continue
        arrays = {
            (form.role, form.key): writer.array(
                split, form.role, form.key, (len(part), *form.shape), form.dtype
            )
            for form in found.forms
        }
        y: Any = arrays.get(("y", None))
        if targets is not None:
            y = writer.array(split, "y", None, (len(part), *targets.shape[1:]), targets.dtype)
        ys[split] = y
        for start in range(0, len(part), ROWS_AT_ONCE):
            places = np.arange(start, min(start + ROWS_AT_ONCE, len(part)))
            rows = part.rows(places)
            for key, values in store.take(rows).items():
                arrays[key][places] = values
            if targets is not None:
                y[places] = targets[rows]
    task, classes = found.task or "other", None
    if ys["train"] is not None:
        task, classes = task_of(ys["train"], ys["validation"], found.class_names)
    if task == "classification":
        check_classes(ys["train"], found.class_names)
    writer.finish(
        task=task,
        class_names=found.class_names if task == "classification" else None,
        num_classes=classes,
        value_range=found.value_range,
        feature_names=found.feature_names,
        details={"notes": found.notes} if found.notes else {},
        preprocessing=found.preprocessing.model_dump(mode="json") if found.preprocessing else None,
    )
