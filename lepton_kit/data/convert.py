"""Turns what people hold (arrays, lists, frames, tensors, sequences, text) into the arrays that Keras would feed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lepton_kit.data.structure import Arrays, label
from lepton_kit.errors import ConfigError, DataError

TEXT = "SU"  # kinds of NumPy type that hold text; converted arrays hold it as UTF-8 bytes, as TensorFlow does


def as_arrays(
    value: Any, name: str, rows: int | None = None, notes: dict[str, str] | None = None, *, wide: bool = False
) -> Arrays:
    """An array, a dictionary name -> array, or a tuple of arrays; a list becomes a tuple.

    A list or tuple of arrays of equal length is several inputs, which is Keras' rule. Where that length is not
    ``rows`` but the list's own length is, and for arrays of different lengths, it is one row a part.
    ``notes`` collects, by name, a sentence for what was padded or changed in form. ``wide`` leaves floats in the
    precision that they have.
    """
    one = as_given if wide else as_array
    if isinstance(value, Mapping):
        if not value:
            raise DataError(f"{name}: an empty dictionary; expected name -> array")
        _check_distinct(value, name)
        for key, part in value.items():
            _check_part(part, label(name, str(key)))
        return {str(key): one(part, label(name, str(key)), notes) for key, part in value.items()}
    if isinstance(value, tuple | list):
        if not len(value):
            raise DataError(f"{name}: no samples")
        if any(isinstance(part, Mapping) for part in value):
            raise DataError(
                f"{name}: dictionaries inside a {type(value).__name__}; expected arrays, or one dictionary name -> array"
            )
        if _is_structure(value, rows):
            return tuple(one(part, label(name, place), notes) for place, part in enumerate(value))
    return one(value, name, notes)


def as_array(value: Any, name: str, notes: dict[str, str] | None = None) -> np.ndarray:
    """One array, rows first, in the type that Keras feeds: every float type becomes float32, others keep theirs.

    Text becomes UTF-8 bytes. Sequences of different lengths are padded at the end with 0 (text with an empty one).
    Raises `DataError` that names the array, and the row or column, for what cannot be trained on.
    """
    return narrowed(as_given(value, name, notes))


def narrowed(array: np.ndarray) -> np.ndarray:
    """The array with floats as float32, and as it is otherwise."""
    if array.dtype.kind != "f" or array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):  # becomes infinite, which the check of values refuses by row
        return array.astype(np.float32)


def as_given(value: Any, name: str, notes: dict[str, str] | None = None) -> np.ndarray:
    """As `as_array`, with floats in the precision that they have."""
    if np.ma.is_masked(value):
        row = int(np.argwhere(np.ma.getmaskarray(value))[0][0])
        raise DataError(
            f"{name}: row {row} is masked; expected numbers: fill them, array.filled(0), or leave such rows out"
        )
    array = _dense(value, name, notes)
    if array.dtype == object:
        array = _of_objects(array, name, notes)
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8")
    if array.dtype.kind == "V" and array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biufS":
        raise DataError(f"{name}: type {array.dtype} cannot be trained on; expected numbers or text")
    if array.ndim == 0:
        raise DataError(f"{name}: a single value; expected an array with one row a sample")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_floatx() -> None:
    """Raise `ConfigError` where Keras, if it is loaded, was told to feed another float type than float32."""
    keras: Any = sys.modules.get("keras")
    floatx = keras.config.floatx() if hasattr(keras, "config") else "float32"
    if floatx != "float32":
        raise ConfigError(
            "keras.config.floatx",
            given=floatx,
            rule="float32, in which data are stored; for other arithmetic give layers a dtype policy",
        )


def texts(array: np.ndarray) -> np.ndarray:
    """A text array (bytes in UTF-8) as Python reads it."""
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def pad(parts: Sequence[np.ndarray] | np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Rows of at most ``shape`` in one array, zeros (empty texts) after the end of each.

    >>> pad([np.array([1, 2]), np.array([3])], (3,), np.int32).tolist()
    [[1, 2, 0], [3, 0, 0]]
    """
    padded = np.zeros((len(parts), *shape), dtype)
    if isinstance(parts, np.ndarray):
        padded[tuple(slice(0, size) for size in parts.shape)] = parts
        return padded
    for row, part in zip(padded, parts, strict=True):
        row[tuple(slice(0, size) for size in part.shape)] = part
    return padded


def _is_structure(parts: Sequence[Any], rows: int | None) -> bool:
    if not all(hasattr(part, "__array__") or _kind(part) for part in parts):
        return False
    lengths = {_length(part) for part in parts}
    if None in lengths:
        return False
    if rows is None or rows == len(parts):
        return len(lengths) == 1 and (rows is None or rows in lengths)
    return True  # arrays of different lengths are refused by their names then


def _length(part: Any) -> int | None:
    shape = tuple(getattr(part, "shape", ()))
    return int(shape[0]) if shape else None


def length_of(value: Any) -> int | None:
    """Number of rows of one array-like value, or None where it is not known without converting it."""
    return _length(value) if hasattr(value, "shape") else None


def is_foreign(value: Any) -> bool:
    """Whether this is an array of another library that is no NumPy array by itself (frames, sparse, ragged)."""
    return _kind(value) is not None


def _check_part(value: Any, name: str) -> None:
    if isinstance(value, Mapping):
        raise DataError(f"{name}: a dictionary inside a dictionary; expected name -> array")
    if isinstance(value, tuple | list) and value and any(isinstance(part, Mapping) for part in value):
        raise DataError(f"{name}: dictionaries inside a list; expected name -> array")


def _check_distinct(names: Iterable[Any], name: str) -> None:
    """Raise `DataError` where two parts have one name, as text: the second would take the first one's place."""
    seen = set[str]()
    for one in map(str, names):
        if one in seen:
            raise DataError(f"{name}: two parts are named {one!r}; expected a name of its own for each")
        seen.add(one)


def _kind(value: Any) -> str | None:
    """Names the libraries whose values are no plain arrays; none of them is imported for that."""
    package, kind = type(value).__module__.split(".")[0], type(value).__name__
    if package == "pandas" and kind in ("DataFrame", "Series"):
        return kind
    if package == "tensorflow" and kind in ("RaggedTensor", "SparseTensor"):
        return kind
    if package == "scipy" and hasattr(value, "toarray"):
        return "scipy"
    if all(hasattr(value, name) for name in ("detach", "cpu", "numpy")):
        return "torch"
    if callable(getattr(value, "numpy", None)) and not hasattr(value, "__array__"):
        return "numpy"
    return None


def _dense(value: Any, name: str, notes: dict[str, str] | None) -> np.ndarray:
    kind = _kind(value)
    if kind == "DataFrame":
        return _of_frame(value, name)
    if kind == "Series":  # Keras gives a column one more axis
        return _of_column(value).reshape(-1, 1)
    if kind == "RaggedTensor":
        lengths = np.asarray(value.row_lengths())
        array = np.asarray(value.to_tensor())
        _note_padding(array, lengths, name, notes)
        return array
    if kind == "SparseTensor":
        import tensorflow as tf

        _note(notes, name, f"{name}: a sparse tensor is stored and fed dense")
        return np.asarray(tf.sparse.to_dense(tf.sparse.reorder(value)))
    if kind == "scipy":
        _note(notes, name, f"{name}: a sparse matrix is stored and fed dense")
        return np.asarray(value.toarray())
    if kind == "torch":
        value = value.detach().cpu()
        return np.asarray((value.float() if "bfloat16" in str(value.dtype) else value).numpy())
    if kind == "numpy":
        return np.asarray(value.numpy())
    if isinstance(value, list | tuple):
        return _of_rows(value, name, notes)
    return np.asarray(value)


def _of_rows(rows: Sequence[Any], name: str, notes: dict[str, str] | None) -> np.ndarray:
    """A list: of numbers, of rows of one shape, or of rows whose lengths differ."""
    if any(_kind(row) for row in rows):
        rows = [as_array(row, f"{name}: row {place}") for place, row in enumerate(rows)]
    try:
        return np.asarray(rows)
    except ValueError:  # NumPy's word for rows of different lengths
        parts = [_row(row, f"{name}: row {place}") for place, row in enumerate(rows)]
    ranks = {part.ndim for part in parts}
    if len(ranks) > 1 or 0 in ranks:
        raise DataError(f"{name}: rows of different numbers of axes; expected numbers of one shape")
    kinds = {part.dtype for part in parts if part.size} or {parts[0].dtype}
    if len({kind.kind == "S" for kind in kinds}) > 1:
        raise DataError(f"{name}: rows of text beside rows of numbers; expected one of them")
    shape = tuple(max(part.shape[axis] for part in parts) for axis in range(next(iter(ranks))))
    array = pad(parts, shape, np.result_type(*kinds))
    lengths = np.array([len(part) for part in parts])
    _note_padding(
        array, lengths, name, notes, any(bool((part == 0).any()) for part in parts if part.dtype.kind != "S")
    )
    return array


def _row(row: Any, name: str) -> np.ndarray:
    if isinstance(row, list | tuple) and not len(row):
        return np.zeros(0, np.float32)
    return as_array(row, name)


def _note_padding(
    array: np.ndarray, lengths: np.ndarray, name: str, notes: dict[str, str] | None, holds_zero: bool = False
) -> None:
    filler = "empty texts" if array.dtype.kind in "SUO" else "0"
    text = (
        f"{name}: {len(lengths)} sequences of {lengths.min()} to {lengths.max()} steps are padded with {filler} at the "
        f"end to {array.shape[1]}"
    )
    if holds_zero:
        text += (
            "; 0 is among their own values too, so a mask of zeros (mask_zero, Masking) hides those as well"
        )
    _note(notes, name, text)


def _note(notes: dict[str, str] | None, name: str, text: str) -> None:
    if notes is not None:
        notes[name] = text


def _of_objects(array: np.ndarray, name: str, notes: dict[str, str] | None) -> np.ndarray:
    """An array of Python objects: texts, bytes, numbers, or (in one axis) sequences."""
    flat = array.ravel().tolist()
    if array.ndim == 1 and flat and all(isinstance(v, list | tuple | np.ndarray) for v in flat):
        return _of_rows(flat, name, notes)
    if flat and all(isinstance(v, bytes) for v in flat):
        for place, value in enumerate(flat):
            if value.endswith(b"\0"):
                raise DataError(f"{name}: row {place} ends in a zero byte, which cannot be stored as text")
        return np.array(flat, np.bytes_).reshape(array.shape)
    if any(isinstance(v, str) for v in flat):
        for place, value in enumerate(flat):
            if not isinstance(value, str):
                where = int(np.unravel_index(place, array.shape)[0])
                raise DataError(f"{name}: row {where} is {value!r} beside text; expected text in every row")
        return np.array(flat, np.str_).reshape(array.shape)
    if all(isinstance(v, int | float | np.number | np.bool_) for v in flat):
        return np.array(flat).reshape(array.shape)
    wrong = next((p, v) for p, v in enumerate(flat) if not isinstance(v, int | float | np.number | np.bool_))
    where = int(np.unravel_index(wrong[0], array.shape)[0]) if array.ndim else 0
    raise DataError(
        f"{name}: row {where} is a {type(wrong[1]).__name__}; expected numbers, text, or sequences of numbers"
    )


def _of_column(column: Any) -> np.ndarray:
    values = column.to_numpy()
    if values.dtype == object and column.dtype.kind in "iufb":  # pandas' own types with missing values
        return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
    return np.asarray(values)


def _of_frame(frame: Any, name: str) -> np.ndarray:
    """One array of all columns. Raises `DataError` that names the columns which do not go with the others."""
    columns = [(str(key), _of_column(frame.iloc[:, place])) for place, key in enumerate(frame.columns)]
    if not columns:
        raise DataError(f"{name}: a frame without columns")
    are_text = [
        values.dtype.kind in "OSU" and not all(isinstance(v, int | float | np.bool_) for v in values.tolist())
        for _, values in columns
    ]
    if any(are_text) and not all(are_text):
        found = ", ".join(repr(key) for (key, _), is_text in zip(columns, are_text, strict=True) if is_text)
        raise DataError(
            f"{name}: the columns {found} hold text beside numbers; give a dictionary, dict(frame), or encode them"
        )
    for key, values in columns:
        if values.dtype.kind not in "biufOSU":
            raise DataError(f"{name}: column {key!r} has type {values.dtype}; expected numbers or text")
    if any(are_text):
        return np.stack([values.astype(object) for _, values in columns], axis=1)
    return np.stack([_of_objects(v, name, None) if v.dtype == object else v for _, v in columns], axis=1)
