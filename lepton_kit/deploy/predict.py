"""`Predictor`: a trained model with its preprocessing; raw input in, a frame of classes, probabilities or values out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_kit.data.prepared import Split
from lepton_kit.data.preprocessing import Encoded, Preprocessing, Target
from lepton_kit.data.structure import first, items, joined, label
from lepton_kit.deploy import frames
from lepton_kit.deploy.inference import infer
from lepton_kit.deploy.progressing import Line
from lepton_kit.deploy.runners import Runner, in_batches
from lepton_kit.deploy.splits import pieces
from lepton_kit.errors import ConfigError, DataError
from lepton_kit.models.answers import Answer

if TYPE_CHECKING:
    import pandas as pd

    from lepton_kit.deploy.modelcard.card import ModelCard

ROWS = {"images": 256}
MOST_ROWS = 8192
"""Inputs that are read at a time; images are larger than rows of a table."""


class Predictor:
    """Raw input to answers, with the preprocessing that the model was trained with.

    ``preprocessing`` encodes input, ``answers`` say how each output reads, ``run`` computes outputs; ``file`` gives
    the model's file, in a folder that it may write to, for worker processes. ``about`` are sentences that belong to
    every prediction, such as which checkpoint answers.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        answers: Sequence[Answer],
        run: Runner,
        *,
        file: Callable[[Path], Path] | None = None,
        about: Sequence[str] = (),
        name: str = "model",
    ):
        self.preprocessing = preprocessing
        self.answers = tuple(answers)
        self.about = tuple(about)
        self.name = name
        self._run, self._file = run, file

    def __repr__(self) -> str:
        tasks = ", ".join(answer.task for answer in self.answers)
        return f"<Predictor {self.name}: {self.preprocessing.kind} -> {tasks}>"

    def encode(self, raw: Any) -> Encoded:
        """The samples that the model would see, as training would have made them of this input."""
        return self.preprocessing.encode(raw)

    def inputs(self) -> pd.DataFrame:
        """The fields of a row, as the training rows had them: see `frames.fields`. Raises `DataError` without fields."""
        return frames.fields(self.preprocessing)

    def predict(
        self,
        raw: Any,
        *,
        workers: int | None = None,
        hosts: Any = None,
        batch_size: int = 256,
        top: int | None = None,
        progress: bool | Callable[[int, int | None], Any] | None = None,
    ) -> pd.DataFrame:
        """Answers for raw input: one row an input, in order; the index holds their names.

        Columns are those of `frames.columns`: class, probability and one probability a class; labels; or the value in
        the target's unit. ``top=3`` gives the three likeliest classes instead of a probability for each (``class``,
        ``probability``, ``class_2``, ``probability_2``, …). An input that can't be read keeps its row, with missing values and a ``problem``; what was
        done with input unlike the training data stands in ``frame.attrs["notes"]``. ``workers`` processes, each with
        the model, predict in parallel, here or on ``hosts`` (as `launch` takes them), whose slots count. ``progress`` True, False, or a function of (done, total); None shows a line
        where someone looks. Raises `DataError` for input of another kind as a whole, such as a missing column.
        """
        for option, value in (("workers", workers), ("batch_size", batch_size), ("top", top)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(option, given=value, rule="a whole number of at least 1")
        if top is not None and any(answer.task != "classification" for answer in self.answers):
            raise ConfigError("top", given=top, rule="none: this model gives no classes to rank")
        line = Line(self.preprocessing.count(raw), progress)
        read = self.preprocessing.pieces(raw, max(batch_size, ROWS.get(self.preprocessing.kind, MOST_ROWS)))
        with line:
            if workers is None and hosts is None:
                found = list(self._here(read, batch_size, line, top))
            else:
                found = self._elsewhere(read, batch_size, workers, hosts, line, top)
        return self._framed(found, top)

    def predict_array(self, raw: Any, *, batch_size: int = 256) -> np.ndarray:
        """The numbers of `predict` as one array, rows first, without a frame: for streams of one input a call.

        Classes and several labels: probabilities, float64 ``(inputs, classes)`` in the order of the columns of `predict`
        (scores where the loss knows none). Values: float64 ``(inputs, values)`` in the target's unit. Other: what the model
        gives. Notes on input unlike the training data are left out, and no line shows progress; what remains beside the
        preprocessing and the model is small.

        Raises `DataError` for an input that can't be read or for which the model gives no finite number, since there is no
        row to say so in, and `ConfigError` for a model with several outputs.

        >>> from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
        >>> plain = ArraysPreprocessing(inputs=(ArrayForm(shape=(1,), dtype="float32"),))
        >>> double = Predictor(plain, [Answer(task="regression")], lambda x: [2 * x])
        >>> double.predict_array([[1.5]]).tolist()
        [[3.0]]
        """
        parts = []
        rows = max(batch_size, ROWS.get(self.preprocessing.kind, MOST_ROWS))
        for piece in self.preprocessing.pieces(raw, rows):
            parts.append(self._numbers(piece, batch_size))
        if not parts:
            raise DataError("input: nothing to predict; expected at least one input")
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _numbers(self, piece: Encoded, batch: int) -> np.ndarray:
        """The numbers of a piece in which every input can be read, and has a finite answer."""
        for place, why in piece.problems.items():
            raise DataError(f"input {piece.names[place]}: {why}")
        assert piece.x is not None
        outputs = in_batches(self._run, piece.x, batch)
        if len(outputs) != 1:
            rule = "one output; predict answers for all"
            raise ConfigError("predict_array", given=f"a model with {len(outputs)} outputs", rule=rule)
        output, answer = outputs[0], self.answers[0] if self.answers else Answer(task="other")
        _check_rows(output, len(piece.rows))
        if len(bad := np.flatnonzero(~_finite(output))):
            raise DataError(f"input {piece.names[bad[0]]}: the model's output is not finite")
        return frames.numbers(answer, self.preprocessing.target, output)

    def report(self, on: Any) -> ModelCard:
        """The model card on rows that are given with their truth: a table with the target's column, else a pair
        (raw input, its true classes or values). Raises `DataError`."""
        from lepton_kit.deploy.modelcard.given import EXPECTED, card_of

        if on is None:
            raise DataError(f"on: None; expected {EXPECTED}")
        return card_of(self, None, self.name, on=on)

    def outputs(self, split: Split, batch_size: int = 256) -> list[np.ndarray]:
        """What the model gives for the samples of a split, which are encoded: one array an output, rows first."""
        parts = [in_batches(self._run, x, batch_size) for x, _ in pieces(split)]
        return [np.concatenate(one) for one in zip(*parts, strict=True)]

    def _here(self, pieces: Iterator[Encoded], batch: int, line: Line, top: int | None) -> Iterator[_Part]:
        for piece in pieces:
            outputs = in_batches(self._run, piece.x, batch, line.add) if piece.x is not None else None
            line.add(len(piece.names) - len(piece.rows))
            yield self._part(piece, outputs, top)

    def _elsewhere(
        self,
        pieces: Iterator[Encoded],
        batch: int,
        workers: int | None,
        hosts: Any,
        line: Line,
        top: int | None,
    ) -> list[_Part]:
        """Samples go to disk as they are read; then each worker predicts a part of them."""
        from lepton_kit.data.columns import Column

        if self._file is None:
            name, given = ("workers", workers) if hosts is None else ("hosts", hosts)
            raise ConfigError(name, given=given, rule="none: this model has no file of its own")
        with tempfile.TemporaryDirectory(prefix="lepton-predict-") as folder:
            home = Path(folder)
            columns: dict[Any, Column] = {}
            read = []
            for piece in pieces:
                for key, part in items(piece.x):
                    column = columns.setdefault(key, Column(home, f"x{len(columns)}"))
                    column.append(part, label("x", key))
                read.append(Encoded(piece.names, None, piece.rows, piece.problems, piece.notes))
                line.add(len(piece.names))
            if not columns:
                return [self._part(piece, None, top) for piece in read]
            samples = {}
            for place, (key, column) in enumerate(columns.items()):
                column.finish(home / f"x{place}.npy", column.shape)
                samples[key] = np.load(home / f"x{place}.npy", mmap_mode="r")
            where = f"in {workers} processes" if hosts is None else "over hosts"
            line.say(f"predicting {len(first(samples)):,} samples {where}")
            settings = {"workers": workers, "hosts": hosts, "batch": batch}
            found = infer(self._file(home), joined(samples), **settings).outputs
            outputs = found if isinstance(found, list) else [found]
            parts, start = [], 0
            for piece in read:
                stop = start + len(piece.rows)
                part = [one[start:stop] for one in outputs] if stop > start else None
                parts.append(self._part(piece, part, top))
                start = stop
            return parts

    def _part(self, piece: Encoded, outputs: list[np.ndarray] | None, top: int | None) -> _Part:
        """A piece with its columns; an input for which the model gives no finite number becomes a problem."""
        if outputs is None:
            return _Part(piece, {})
        good = np.ones(len(piece.rows), bool)
        for output in outputs:
            _check_rows(output, len(piece.rows))
            good &= _finite(output)
        if not good.all():
            bad = {int(place): "the model's output is not finite" for place in piece.rows[~good]}
            problems = {**piece.problems, **bad}
            piece = Encoded(piece.names, None, piece.rows[good], problems, piece.notes)
            outputs = [output[good] for output in outputs]
        return _Part(piece, self._columns(outputs, top))

    def _columns(self, outputs: list[np.ndarray], top: int | None) -> dict[str, Any]:
        read = [*self.answers, *[Answer(task="other")] * len(outputs)][: len(outputs)]
        alone = len(outputs) == 1
        made: dict[str, Any] = {}
        for place, (answer, output) in enumerate(zip(read, outputs, strict=True)):
            prefix = "" if alone else f"{answer.name or f'output_{place}'}_"
            target = self.preprocessing.target if alone else Target()
            made |= frames.columns(answer, target, output, prefix, top)
        return made

    def _framed(self, parts: list[_Part], top: int | None) -> pd.DataFrame:
        names: list[Any] = []
        rows, problems, counts = [], {}, {}  # type: ignore[var-annotated]  # filled below
        made: dict[str, list[Any]] = {}
        for part in parts:
            start = len(names)
            names += part.piece.names
            rows.append(part.piece.rows + start)
            problems |= {place + start: why for place, why in part.piece.problems.items()}
            for text, count in part.piece.notes.items():
                counts[text] = counts.get(text, 0) + count
            for name, values in part.columns.items():
                made.setdefault(name, []).append(values)
        if not names:
            raise DataError("input: nothing to predict; expected at least one input")
        whole = {name: np.concatenate(values) for name, values in made.items()}
        notes = [*self.about, *(answer.note for answer in self.answers if answer.note)]
        notes += [f"{text} ({count:,} of {len(names):,} inputs)" for text, count in counts.items()]
        if not whole:
            whole = self._empty(top)
        return frames.frame(names, np.concatenate(rows), whole, problems, notes)

    def _empty(self, top: int | None) -> dict[str, Any]:
        """The columns of a prediction in which no input could be read: those of any other, without a row."""
        return self._columns(
            [np.zeros((0, *self._shape(answer)), np.float32) for answer in self.answers], top
        )

    def _shape(self, answer: Answer) -> tuple[int, ...]:
        """The shape of a sample's output; of an export of an older version what the target says of it."""
        if answer.shape is not None:
            return tuple(size or 1 for size in answer.shape)
        if answer.labels is not None:
            return (len(answer.labels),)
        mean = self.preprocessing.target.mean
        return (len(mean) if mean is not None and answer.task == "regression" else 1,)


def _check_rows(output: np.ndarray, samples: int) -> None:
    if len(output) != samples:
        raise DataError(f"the model gave {len(output)} rows for {samples} samples; expected as many")


def _finite(output: np.ndarray) -> np.ndarray:
    """Which rows of an output are finite."""
    if output.dtype.kind != "f":
        return np.ones(len(output), bool)
    result: np.ndarray = np.isfinite(output).reshape(len(output), -1).all(axis=1)
    return result


class _Part:
    """A piece of the input with the columns of its samples."""

    def __init__(self, piece: Encoded, columns: dict[str, Any]):
        self.piece, self.columns = piece, columns
