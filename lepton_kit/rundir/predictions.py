"""What a run has told of its predictions on the validation split, as a reader holds it."""

from __future__ import annotations

import base64
import binascii
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.rundir.reading import regular

MOST_PLACES = 1 << 16


@dataclass(frozen=True)
class Example:
    """One sample of the validation split: its row there, what is true and what was said; maps of ``places`` if it is one.

    ``right`` and ``probability`` (of what was said) are None where they are no question, or unknown.
    """

    row: int
    true: str
    predicted: str
    right: bool | None = None
    probability: float | None = None
    places: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Predictions:
    """What the model said of the validation split after an epoch (from 0).

    ``form`` is ``classes``, ``places`` (a class for each place of a sample), ``labels`` (several a sample), ``values`` or
    ``none``, and ``why`` says why. ``counts`` is int64: of classes ``(true, said)`` with ``others`` more classes together
    in a last row and column; of labels ``(labels, 3)``: yes said and true, yes said, yes true. ``points`` are pairs of true
    values and what was said, one for each of ``names``.
    """

    epoch: int
    step: int
    form: str
    why: str | None = None
    counted: int = 0
    right: int = 0
    names: tuple[str, ...] = ()
    others: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    points: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    examples: tuple[Example, ...] = ()

    @classmethod
    def of(cls, event: dict[str, Any]) -> Predictions:
        """From an event of the log. Raises one of `fields.WRONG` for one that is none."""
        names, others = tuple(map(str, event["names"])), int(event["others"])
        counts = np.asarray(event["counts"] or np.zeros((0, 0)), np.int64)
        side = len(names) + (others > 0)
        shapes = {"classes": (side, side), "places": (side, side), "labels": (len(names), 3)}
        points = tuple(tuple(np.asarray(one, np.float64) for one in pair) for pair in event["points"])
        fits = counts.shape == shapes.get(event["form"], counts.shape)
        if not fits or any(len(pair) != 2 or pair[0].shape != pair[1].shape for pair in points):
            raise ValueError("counts or points of another form than the names")
        return cls(
            epoch=event["epoch"],
            step=event["step"],
            form=event["form"],
            why=event["why"],
            counted=int(event["counted"]),
            right=int(event["right"]),
            names=names,
            others=others,
            counts=counts,
            points=points,  # type: ignore[arg-type]  # pairs, as was just seen
            examples=tuple(_example(one) for one in event["examples"]),
        )

    def whole(self, file: Path) -> Predictions:
        """With the counts of all classes from this file (`RunPaths.confusion`), if it is there."""
        if not self.others or self.form == "labels":
            return self
        try:
            with np.load(regular(file), allow_pickle=False) as stored:
                counts, names = stored["counts"].astype(np.int64), tuple(map(str, stored["names"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return self
        return (
            replace(self, counts=counts, names=names, others=0) if counts.shape == (len(names),) * 2 else self
        )


def _example(told: dict[str, Any]) -> Example:
    places = unpacked(told["places"]) if told.get("places") is not None else None
    chance = told.get("probability")
    return Example(
        row=int(told["row"]),
        true=str(told["true"]),
        predicted=str(told["predicted"]),
        right=None if told.get("right") is None else bool(told["right"]),
        probability=None if chance is None else float(chance),
        places=places,
    )


def packed(maps: np.ndarray) -> str:
    """Two maps, uint8 ``(2, …)``, as a short text.

    >>> [one.tolist() for one in unpacked(packed(np.array([[[1, 2]], [[1, 0]]], np.uint8)))]
    [[[1, 2]], [[1, 0]]]
    """
    shape = "x".join(map(str, maps.shape[1:]))
    return f"{shape}:{base64.b64encode(zlib.compress(maps.tobytes(), 9)).decode()}"


def unpacked(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The two maps in a text of `packed`. Raises `ValueError`."""
    shape, _, data = text.partition(":")
    sizes = tuple(int(one) for one in shape.split("x"))
    try:
        count = 2 * int(np.prod(sizes))
        if not 0 < count <= 2 * MOST_PLACES:
            raise ValueError(f"a map of {sizes}")
        raw = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), count)
        found = np.frombuffer(raw, np.uint8).reshape(2, *sizes)
    except (binascii.Error, zlib.error) as failure:
        raise ValueError(f"no map ({failure})") from None
    return found[0], found[1]
