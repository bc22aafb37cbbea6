"""Preprocessing of arrays: shape and type are checked, and columns scaled where the training data were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lepton_kit.data.convert import as_given, pad, texts
from lepton_kit.data.elements import Elements, is_stream, source_of
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.preprocessing import Encoded, Preprocessing, Target
from lepton_kit.data.scaling import Scaling
from lepton_kit.data.structure import first, items, joined, label
from lepton_kit.errors import DataError
from lepton_kit.specs import Section

if TYPE_CHECKING:
    from lepton_kit.data.images.preprocessing import ImagePreprocessing


class ArrayForm(Section):
    """One input of a model: its name or place (None for a single one), the shape of a sample, and its type.

    Where there is a ``factor``, samples of that type become ``factor * value + offset``, float32; one number each or
    one a column (last axis).
    """

    key: str | int | None = None
    shape: tuple[int, ...]
    dtype: str
    factor: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None

    @property
    def scaling(self) -> Scaling | None:
        """How values are scaled."""
        return Scaling(self.factor, self.offset) if self.factor and self.offset else None

    def read(self, raw: Any) -> np.ndarray:
        """Input in whatever form training takes, as an array of the samples' shape, before it becomes their type.

        Raises `DataError` that names the input.

        >>> ArrayForm(shape=(3,), dtype="int64").read([[1, 2], [3]]).tolist()
        [[1, 2, 0], [3, 0, 0]]
        """
        name, notes = label("x", self.key), dict[str, str]()
        try:
            array = texts(as_given(raw, name, notes))
        except UnicodeDecodeError as failure:
            raise DataError(f"{name}: bytes that are no UTF-8 ({failure})") from None
        if (array.dtype.kind == "U") != self.is_text:
            hint = "" if self.is_text else "; of files, give what you read from them"
            kind = "text" if self.is_text else self.dtype
            raise DataError(f"{name}: not an array of {kind}, on which the model was trained{hint}")
        sample = array.shape[1:]
        if {sample, self.shape} == {(), (1,)}:  # a column, which pandas and NumPy hold in two ways
            array = array.reshape(-1, *self.shape)
        elif notes and sample[1:] == self.shape[1:] and sample[:1] < self.shape[:1]:  # padded, as in training
            array = pad(array, self.shape, array.dtype)
        if array.shape[1:] != self.shape:
            raise DataError(
                f"{name}: shape {array.shape}; expected (samples, {', '.join(map(str, self.shape))})"
            )
        return array

    def cast(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The array in the samples' type, and which of its rows hold a number that this type hasn't: ``(n,)`` of bool.

        >>> found, odd = ArrayForm(shape=(), dtype="uint8").cast(np.array([7.0, 0.5, -1.0]))
        >>> found[:1], odd
        (array([7], dtype=uint8), array([False,  True,  True]))
        """
        if self.is_text:
            return array, np.zeros(len(array), bool)
        with np.errstate(all="ignore"):  # what becomes infinite is a problem of that sample
            cast = array.astype(self.dtype, copy=False)
        if cast.dtype.kind == "f" or np.can_cast(array.dtype, cast.dtype):
            return cast, np.zeros(len(array), bool)
        return cast, (cast != array).reshape(len(array), -1).any(axis=1)

    @property
    def is_text(self) -> bool:
        """Whether samples are texts."""
        return self.dtype == "str"


class ArraysPreprocessing(Preprocessing):
    """Samples come as arrays, in the form that the training data had.

    >>> plain = ArraysPreprocessing(inputs=(ArrayForm(shape=(2,), dtype="float32"),))
    >>> plain.encode([[1, 2], [3, 4]]).x.dtype
    dtype('float32')
    """

    kind: Literal["arrays"] = "arrays"
    inputs: tuple[ArrayForm, ...]

    def count(self, raw: Any) -> int | None:
        """How many samples there are; None for a stream of batches."""
        if self._takes_pictures(raw):
            return self._pictures().count(raw)
        return None if is_stream(raw) else len(first(self._arrays(raw)))

    def pieces(self, raw: Any, rows: int = 1024) -> Iterator[Encoded]:
        """Slices of the arrays; a sample with a number that is not finite is a problem of its own.

        Of a `tf.data.Dataset`, a loader or another stream, whose elements are batches, the inputs are taken. Where samples
        are arrays of bytes (height, width), or with 1 or 3 channels after that, image files, folders and archives of
        them and Pillow images are taken too: turned to the colours and the size of the samples, which notes say.
        """
        if self._takes_pictures(raw):
            yield from self._of_pictures(raw, rows)
            return
        if not is_stream(raw):
            yield from self._slices(raw, rows, 0)
            return
        source, elements, told = source_of(raw), Elements(batched="auto"), 0
        for place, element in enumerate(source.read()):
            split, _ = elements.rows(element, place)
            yield from self._slices(split.x, rows, told)
            told += len(split)

    def _slices(self, raw: Any, rows: int, told: int) -> Iterator[Encoded]:
        """The pieces of arrays; the first sample's number is ``told``."""
        arrays = dict(items(self._arrays(raw)))
        total = len(next(iter(arrays.values())))
        for start in range(0, total, rows):
            part = {key: array[start : start + rows] for key, array in arrays.items()}
            count = len(next(iter(part.values())))
            good, problems = np.ones(count, bool), dict[int, str]()
            for form in self.inputs:
                name, (array, odd) = label("x", form.key), form.cast(part[form.key])
                for place in np.flatnonzero(odd & good):
                    given, got = part[form.key][place], array[place]
                    problems[int(place)] = (
                        f"{name}: {given[given != got].flat[0]!s}; the model was trained on {form.dtype}, {_allowed(form.dtype)}"
                    )
                good &= ~odd
                with np.errstate(over="ignore"):
                    array = part[form.key] = form.scaling(array) if form.scaling else array
                if array.dtype.kind != "f":
                    continue
                finite = np.isfinite(array).reshape(count, -1).all(axis=1)
                for place in np.flatnonzero(~finite & good):
                    problems[int(place)] = f"{name}: a number that is not finite"
                good &= finite
            where = np.flatnonzero(good)
            x = joined({key: array[where] for key, array in part.items()}) if len(where) else None
            yield Encoded(tuple(range(told + start, told + start + count)), x, where, problems)

    def _takes_pictures(self, raw: Any) -> bool:
        """Whether input is to be read as image files; a model of texts takes names of files for texts."""
        return is_pictures(raw) and not self.inputs[0].is_text

    def _pictures(self) -> ImagePreprocessing:
        """How image files become samples of this form. Raises `DataError` where samples are no images of bytes."""
        from lepton_kit.data.images.preprocessing import ImagePreprocessing

        form = self.inputs[0]
        flat = len(form.shape) == 2
        if len(self.inputs) > 1 or not (flat or (len(form.shape) == 3 and form.shape[2] in (1, 3))):
            shapes = " and ".join(str(one.shape) for one in self.inputs)
            raise DataError(
                f"input: files; the model was trained on arrays of shape {shapes}, so give arrays: of files, what you read from them"
            )
        if form.dtype != "uint8":
            raise DataError(
                f"input: image files; the model was trained on arrays of {form.dtype}, whose range no file tells: read "
                "the files, and give arrays as in training (only those of uint8 have the range that files have)"
            )
        color: Any = "grayscale" if flat or form.shape[2] == 1 else "rgb"
        height, width = form.shape[:2]
        return ImagePreprocessing(
            image_size=(height, width), color_mode=color, trained_on=(color,), native_size=True
        )

    def _of_pictures(self, raw: Any, rows: int) -> Iterator[Encoded]:
        form = self.inputs[0]
        for piece in self._pictures().pieces(raw, rows):
            x = piece.x
            if isinstance(x, np.ndarray):
                x = joined({form.key: x.reshape(len(x), *form.shape)})
            yield replace(piece, x=x)

    def _arrays(self, raw: Any) -> Any:
        """The input as arrays of the training data's form and type. Raises `DataError`."""
        given = dict(items(tuple(raw) if isinstance(raw, list) and self.inputs[0].key == 0 else raw))
        if isinstance(raw, list | np.ndarray) and self.inputs[0].key is None:
            given = {None: raw}
        wanted = {form.key: form for form in self.inputs}
        if given.keys() != wanted.keys():
            names = ", ".join(label("x", key) for key in wanted)
            got = ", ".join(label("x", key) for key in given)
            raise DataError(f"input: got {got or type(raw).__name__}; the model was trained on {names}")
        found = {key: form.read(given[key]) for key, form in wanted.items()}
        lengths = {len(array) for array in found.values()}
        if len(lengths) > 1:
            raise DataError(f"input: arrays of {sorted(lengths)} samples; expected as many in each")
        return joined(found)


def _allowed(dtype: str) -> str:
    """The values of a type of whole numbers or truths, in words."""
    if dtype == "bool":
        return "which is 0 or 1"
    limits = np.iinfo(dtype)
    return f"whole numbers from {limits.min} to {limits.max}"


def is_pictures(raw: Any) -> bool:
    """Whether input is image files or Pillow images and no arrays: a path, a Pillow image, or a list of these.

    >>> is_pictures("slice.png"), is_pictures([[1, 2]])
    (True, False)
    """
    if isinstance(raw, list | tuple):
        return len(raw) > 0 and all(is_pictures(one) for one in raw)
    return isinstance(raw, str | Path) or (hasattr(raw, "getbands") and hasattr(raw, "convert"))


def preprocessing_of(prepared: PreparedData) -> Preprocessing:
    """The preprocessing that prepared data carry, or the check of form that arrays need."""
    if prepared.preprocessing is not None:
        return prepared.preprocessing
    inputs = tuple(
        ArrayForm(
            key=key, shape=array.shape[1:], dtype="str" if array.dtype.kind in "USO" else array.dtype.name
        )
        for key, array in items(prepared.train.x)
    )
    task: Any = prepared.task
    return ArraysPreprocessing(inputs=inputs, target=Target(task=task, class_names=prepared.class_names))
