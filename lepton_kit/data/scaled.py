"""Arrays in memory with their columns scaled, and the preprocessing that scales new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lepton_kit.data import scaling
from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
from lepton_kit.data.checks import check_finite
from lepton_kit.data.convert import TEXT, narrowed
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.structure import items, joined, label
from lepton_kit.errors import DataError

Scaled = tuple[scaling.Scaling, str]
"""A scaling, and the type that values have before it."""


def scaled(
    train: Split, held: Split | None, scale: Any, notes: list[str]
) -> tuple[Split, Split | None, dict[Any, Scaled]]:
    """Both splits scaled as the training rows say, in float32 after that, and what was done to each array by role and key."""
    parts: dict[str, dict[Any, Any]] = {}
    scalings: dict[Any, Scaled] = {}
    for role in ("x", "y"):
        one, two = dict(items(getattr(train, role))), dict(items(getattr(held, role) if held else None))
        for key, array in one.items():
            name = label(role, key)
            wish = scaling.of(scale, role, key, role if key is None else str(key))
            if wish is None:
                one[key] = narrowed(array)
                if key in two:
                    two[key] = narrowed(two[key])
                continue
            if array.dtype.kind in TEXT:
                raise DataError(f"{name}: text can't be scaled")
            found = scaling.learned(wish, [array])
            assert found is not None
            scalings[role, key] = found, scaling.raw_type(array.dtype)
            one[key] = found(array)
            check_finite(one[key], name)
            if key in two:
                two[key] = found(two[key])
                check_finite(two[key], f"validation {name}")
            if wish == scaling.STANDARDIZE:
                notes.append(f"{name} is standardised by column, with the training rows' mean and deviation")
        parts[role] = {"train": joined(one), "held": joined(two)}
    return (
        replace(train, x=parts["x"]["train"], y=parts["y"]["train"]),
        replace(held, x=parts["x"]["held"], y=parts["y"]["held"]) if held else None,
        scalings,
    )


def preprocessing_with(prepared: PreparedData, scalings: Mapping[Any, Scaled]) -> ArraysPreprocessing:
    """The form of the training arrays with their scalings, by role and key."""
    forms = []
    for key, array in items(prepared.train.x):
        kind = "str" if array.dtype.kind in TEXT else array.dtype.name
        found, kind = scalings.get(("x", key), (None, kind))
        forms.append(
            ArrayForm(
                key=key,
                shape=array.shape[1:],
                dtype=kind,
                factor=found.factor if found else None,
                offset=found.offset if found else None,
            )
        )
    task: Any = prepared.task
    target = Target(task=task, class_names=prepared.class_names)
    if ("y", None) in scalings:
        target = scalings["y", None][0].target(task)
    return ArraysPreprocessing(inputs=tuple(forms), target=target)
