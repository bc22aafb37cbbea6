"""What predictions come to: counts by class and a handful of samples, as one vector that adds up over ranks. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Target
from lepton_kit.models.answers import Answer
from lepton_kit.rundir.predictions import packed
from lepton_kit.training.logged import Example

EXAMPLES = 8
POINTS = 200
MOST_TARGETS = 4
"""Values a sample that have points."""
MOST_CLASSES = 1000
SHOWN_CLASSES = 20
MAPS = 4
MAP_SIDE = 48
"""Of a label map so many places a side are kept, of so many samples."""
WORDS = 48
BASE = 1 << 12
"""Counts travel in float32 as two digits of this base, so that sums below 2**36 over up to 4,096 ranks are exact."""
PIECE = 1 << 21
"""Outputs that are read at once, numbers."""


def spread(rows: int, wanted: int) -> np.ndarray:
    """At most so many of these rows, evenly spread, int64, ascending.

    >>> spread(9, 3), spread(2, 3)
    (array([0, 4, 8]), array([0, 1]))
    """
    return np.unique(np.linspace(0, max(rows - 1, 0), min(wanted, rows)).round().astype(np.int64))


def most_confused(counts: np.ndarray, wanted: int) -> np.ndarray:
    """The classes with the most errors, of equal ones the more frequent, in their order; all if they are so few.

    >>> most_confused(np.array([[5, 0, 0], [0, 4, 1], [0, 0, 9]]), 2)
    array([1, 2])
    """
    if len(counts) <= wanted:
        return np.arange(len(counts))
    frequent = counts.sum(0) + counts.sum(1)
    errors = frequent - 2 * np.diag(counts)
    return np.sort(np.lexsort((-frequent, -errors))[:wanted])


def gathered(counts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The counts of these classes, with all others together in a last row and column, if there are others.

    >>> gathered(np.array([[5, 0, 1], [0, 4, 1], [2, 0, 9]]), np.array([0, 2])).tolist()
    [[5, 1, 0], [2, 9, 0], [0, 1, 4]]
    """
    if len(chosen) == len(counts):
        return counts
    place = np.full(len(counts), len(chosen))
    place[chosen] = np.arange(len(chosen))
    found = np.zeros((len(chosen) + 1, len(chosen) + 1), counts.dtype)
    np.add.at(found, (place[:, None], place[None, :]), counts)
    return found


class Tally(ABC):
    """Looks at the rows that it is given with `add`; the `vector` of all ranks, added up, is what `take` takes."""

    form: str

    def __init__(self, answer: Answer, rows: int, watched: int, counts: tuple[int, ...], width: int):
        self.answer = answer
        self.watched = spread(rows, watched)
        self.counts = np.zeros(counts, np.int64)
        self.noted = np.zeros((len(self.watched), width))
        self.misfits = 0
        """Batches whose targets have another form than the outputs."""

    def add(self, first: int, y: np.ndarray, outputs: np.ndarray, counted: np.ndarray | None = None) -> None:
        """Rows from ``first`` on, with their targets; ``counted`` is true at places that count."""
        try:
            for start, stop in self._pieces(outputs):
                mask = None if counted is None else counted[start:stop]
                self._add(first + start, y[start:stop], outputs[start:stop], mask)
        except (ValueError, TypeError, IndexError):
            self.misfits += 1

    def _pieces(self, outputs: np.ndarray) -> Iterator[tuple[int, int]]:
        rows = max(1, PIECE // max(1, int(np.prod(outputs.shape[1:]))))
        for start in range(0, len(outputs), rows):
            yield start, min(start + rows, len(outputs))

    def _add(self, first: int, y: np.ndarray, outputs: np.ndarray, counted: np.ndarray | None) -> None:
        true = self.true(y, outputs)
        self.count(true, outputs, counted)
        here = np.flatnonzero((self.watched >= first) & (self.watched < first + len(outputs)))
        if len(here):
            rows = self.watched[here] - first
            self.noted[here] = self.note(true[rows], outputs[rows]).reshape(len(here), -1)

    @property
    def vector(self) -> np.ndarray:
        """Float32; added up over ranks it is that of all rows."""
        high, low = np.divmod(self.counts.ravel(), BASE)
        return np.concatenate([[self.misfits], high, low, self.noted.ravel()]).astype(np.float32)

    def take(self, vector: np.ndarray) -> None:
        """What all ranks have seen together."""
        size = self.counts.size
        self.misfits = int(vector[0])
        high, low = vector[1 : 1 + 2 * size].astype(np.int64).reshape(2, size)
        self.counts = (high * BASE + low).reshape(self.counts.shape)
        self.noted = vector[1 + 2 * size :].astype(np.float64).reshape(self.noted.shape)

    @abstractmethod
    def true(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """What is true, in the form of what is counted. Raises `ValueError` for targets of another form."""

    @abstractmethod
    def count(self, true: np.ndarray, outputs: np.ndarray, counted: np.ndarray | None) -> None:
        """Add to ``counts``."""

    @abstractmethod
    def note(self, true: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """What is kept of watched rows, one row each."""

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """The fields of `logged.Predicted` that come from what was seen."""


class ClassTally(Tally):
    """One class a sample, or one a place of a sample; labels outside of the classes, and ignored ones, do not count."""

    def __init__(
        self, answer: Answer, rows: int, classes: int, shape: tuple[int, ...] = (), ignore: int | None = None
    ):
        self.form = "places" if shape else "classes"
        self._classes, self._ignore = classes, ignore
        self._thin = tuple(np.arange(0, size, -(-size // MAP_SIDE)) for size in shape)
        width = 2 + 2 * int(np.prod([len(one) for one in self._thin])) if shape else 3
        super().__init__(answer, rows, MAPS if shape else EXAMPLES, (classes, classes), width)

    def true(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Class numbers, shape ``(rows, …)``."""
        places = outputs.shape[:-1] if outputs.ndim > 1 else outputs.shape
        if y.shape == (*places, 1):
            y = y[..., 0]
        elif y.ndim == len(places) + 1 and y.shape[:-1] == places and y.shape[-1] == self._classes:
            y = y.argmax(axis=-1)
        if y.shape != places:
            raise ValueError("targets of another form than the outputs")
        found: np.ndarray = np.rint(y).astype(np.int64)
        return found

    def _valid(self, true: np.ndarray) -> np.ndarray:
        found: np.ndarray = (true >= 0) & (true < self._classes)
        return found if self._ignore is None else found & (true != self._ignore)

    def count(self, true: np.ndarray, outputs: np.ndarray, counted: np.ndarray | None) -> None:
        """Pairs of a true class and the one that was said."""
        valid = self._valid(true)
        if counted is not None and counted.shape == true.shape:
            valid &= counted
        said = self.answer.classes(outputs)
        pairs = true[valid] * self._classes + said[valid]
        self.counts += np.bincount(pairs, minlength=self._classes**2).reshape(self.counts.shape)

    def note(self, true: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """(true, said, probability of what was said); of a map the places that count, those that are right, both maps."""
        said = self.answer.classes(outputs)
        if self.form == "places":
            valid = self._valid(true).reshape(len(true), -1)
            right = valid & (true == said).reshape(len(true), -1)
            thinned = (
                one[np.ix_(np.arange(len(one)), *self._thin)].reshape(len(one), -1) for one in (true, said)
            )
            return np.concatenate([valid.sum(1)[:, None], right.sum(1)[:, None], *thinned], axis=1)
        chances = self.answer.probabilities(outputs)
        chance = np.full(len(said), np.nan) if chances is None else chances[np.arange(len(said)), said]
        return np.stack([true, said, chance], axis=1)

    def told(self) -> dict[str, Any]:
        """Counts of the most confused classes, and the samples in words."""
        chosen = most_confused(self.counts, SHOWN_CLASSES)
        read = self._map if self.form == "places" else self._sample
        return {
            "counted": int(self.counts.sum()),
            "right": int(np.trace(self.counts)),
            "names": [word(self.answer.label(int(one))) for one in chosen],
            "others": len(self.counts) - len(chosen),
            "counts": gathered(self.counts, chosen).tolist(),
            "examples": [read(int(row), noted) for row, noted in zip(self.watched, self.noted, strict=True)],
        }

    def _sample(self, row: int, noted: np.ndarray) -> Example:
        true, said = int(noted[0]), int(noted[1])
        known = 0 <= true < self._classes
        return Example(
            row=row,
            true=word(self.answer.label(true)) if known else f"no class ({true})",
            predicted=word(self.answer.label(said)),
            right=true == said if known else None,
            probability=finite(noted[2]),
        )

    def _map(self, row: int, noted: np.ndarray) -> Example:
        valid, right = noted[:2]
        maps = noted[2:].reshape(2, *(len(one) for one in self._thin))
        share = f"{right / valid:.1%} of its places right" if valid else "no place counts"
        return Example(
            row=row, true="", predicted=share, places=packed(np.clip(maps, 0, 255).astype(np.uint8))
        )


class LabelTally(Tally):
    """Several labels a sample, each yes or no."""

    form = "labels"

    def __init__(self, answer: Answer, rows: int, labels: int):
        self._labels = labels
        super().__init__(answer, rows, EXAMPLES, (labels, 4), 2 * labels)

    def true(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """1 where a label is true, shape ``(rows, labels)``."""
        if y.shape != outputs.shape or outputs.ndim != 2:
            raise ValueError("targets of another form than the outputs")
        return (y > 0.5).astype(np.int64)

    def count(self, true: np.ndarray, outputs: np.ndarray, counted: np.ndarray | None) -> None:
        """Of each label: yes said and true, yes said, yes true, and how many rows."""
        said = self.answer.classes(outputs)
        seen = [(said & true).sum(0), said.sum(0), true.sum(0), np.full(self._labels, len(true))]
        self.counts += np.stack(seen, axis=1)

    def note(self, true: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """The true labels, then those that were said."""
        return np.concatenate([true, self.answer.classes(outputs)], axis=1)

    def told(self) -> dict[str, Any]:
        """Counts of the labels with the most errors, and the samples in words."""
        both, said, true, rows = self.counts.T
        errors = said + true - 2 * both
        chosen = np.sort(np.lexsort((-true, -errors))[:SHOWN_CLASSES])
        return {
            "counted": int(rows.sum()),
            "right": int((rows - errors).sum()),
            "names": [word(self.answer.label(int(one))) for one in chosen],
            "others": self._labels - len(chosen),
            "counts": self.counts[chosen, :3].tolist(),
            "examples": [
                self._sample(int(row), noted) for row, noted in zip(self.watched, self.noted, strict=True)
            ],
        }

    def _sample(self, row: int, noted: np.ndarray) -> Example:
        true, said = noted[: self._labels] > 0.5, noted[self._labels :] > 0.5
        words = [
            ", ".join(word(self.answer.label(int(k))) for k in np.flatnonzero(one)) for one in (true, said)
        ]
        return Example(
            row=row,
            true=word(words[0] or "none"),
            predicted=word(words[1] or "none"),
            right=bool((true == said).all()),
        )


class ValueTally(Tally):
    """One value or a few a sample; told in the target's own unit."""

    form = "values"

    def __init__(self, answer: Answer, rows: int, values: int, target: Target):
        self._values, self._shown, self._target = values, min(values, MOST_TARGETS), target
        super().__init__(answer, rows, POINTS, (1,), 2 * values)

    def true(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Values, shape ``(rows, values)``."""
        found = np.asarray(y, np.float64).reshape(len(y), -1)
        if found.shape[1] != self._values or outputs.size != found.size:
            raise ValueError("targets of another form than the outputs")
        return found

    def count(self, true: np.ndarray, outputs: np.ndarray, counted: np.ndarray | None) -> None:
        """How many samples there are."""
        self.counts += len(true)

    def note(self, true: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """The true values, then those that were said."""
        return np.concatenate([true, outputs.reshape(len(true), -1)], axis=1)

    def told(self) -> dict[str, Any]:
        """Pairs of a true value and what was said, and some samples in words."""
        true, said = (self._target.values(part) for part in np.split(self.noted, 2, axis=1))
        points = [
            [[significant(value) for value in part[:, k]] for part in (true, said)]
            for k in range(self._shown)
        ]
        unit = f" {self._target.unit}" if self._target.unit else ""
        some = spread(len(self.watched), EXAMPLES)
        return {
            "counted": int(self.counts[0]),
            "names": self._names(),
            "points": points,
            "examples": [
                Example(row=int(self.watched[k]), true=words(true[k]) + unit, predicted=words(said[k]) + unit)
                for k in some
            ],
        }

    def _names(self) -> list[str]:
        named = (self._target.name or "").split(", ")
        names = (
            named
            if len(named) == self._values and all(named)
            else [f"value {k}" for k in range(self._values)]
        )
        names = names if self._values > 1 or all(named) else ["value"]
        unit = f" ({self._target.unit})" if self._target.unit else ""
        return [word(f"{name}{unit}") for name in names[: self._shown]]


def word(label: Any) -> str:
    """A label as a short text."""
    text = str(label)
    return text if len(text) <= WORDS else text[: WORDS - 1] + "…"


def words(values: np.ndarray) -> str:
    """Some values of a sample as a short text."""
    more = " …" if len(values) > MOST_TARGETS else ""
    return ", ".join(f"{value:.4g}" for value in values[:MOST_TARGETS]) + more


def finite(value: float) -> float | None:
    """A number that JSON can hold, with four digits behind the point; None if it is not finite."""
    return round(float(value), 4) if np.isfinite(value) else None


def significant(value: float) -> float | None:
    """A number with six digits; None if it is not finite."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
