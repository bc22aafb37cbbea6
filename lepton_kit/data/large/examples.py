"""Reads `tf.train.Example` messages without TensorFlow: the few fields of protobuf's wire format that they use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
Values = list[bytes] | np.ndarray
"""What a feature holds: texts or bytes, float32 numbers, or int64 numbers."""


Span = tuple[int, int, int]
"""Wire type, first byte and end of a value in a message, or of a packed list of values."""
Spans = dict[str, tuple[int, list[Span]]]
"""Of each feature its kind (1 texts, 2 floats, 3 whole numbers) and where its values lie."""


def features_of(content: bytes) -> dict[str, Values]:
    """The features of an Example, by name. Raises `ValueError` for bytes that are none.

    See tensorflow/core/example/{example,feature}.proto and protobuf.dev/programming-guides/encoding (2026-10).

    >>> features_of(b"\\n\\x0b\\n\\t\\n\\x01a\\x12\\x04\\x1a\\x02\\x08\\x05")["a"].tolist()
    [5]
    """
    try:
        return {name: _values(content, kind, spans) for name, (kind, spans) in _spans(content).items()}
    except (IndexError, TypeError, UnicodeDecodeError) as failure:
        raise ValueError(f"not a tf.train.Example ({failure})") from None


def columns_of(contents: Sequence[bytes]) -> dict[str, Any]:
    """The features of many Examples, by name: an array, shape ``(examples, numbers)``, or a list of what `features_of`
    gives, None for an Example that lacks the feature. Raises `ValueError` for bytes that are no Example.

    Examples that differ in their values alone, as those of one writer do, are read all at once.

    >>> columns_of([b"\\n\\x0c\\n\\n\\n\\x01a\\x12\\x05\\x1a\\x03\\n\\x01\\x05"] * 2)["a"].tolist()
    [[5], [5]]
    """
    places: dict[int, list[int]] = {}
    for place, content in enumerate(contents):
        places.setdefault(len(content), []).append(place)
    groups = [(where, _columns([contents[place] for place in where])) for where in places.values()]
    if len(groups) == 1:
        return groups[0][1]
    names = dict.fromkeys(name for _, found in groups for name in found)
    return {
        name: _together(len(contents), [(where, found.get(name)) for where, found in groups])
        for name in names
    }


def _columns(contents: Sequence[bytes]) -> dict[str, Any]:
    """`columns_of` for Examples of one length."""
    try:
        spans = _spans(contents[0])
        found = _at_once(contents, spans)
    except (IndexError, TypeError, ValueError):
        found = None
    if found is not None:
        return found
    every = [features_of(content) for content in contents]
    return {
        name: [one.get(name) for one in every]
        for name in dict.fromkeys(name for one in every for name in one)
    }


def _at_once(contents: Sequence[bytes], spans: Spans) -> dict[str, Any] | None:
    """The values of Examples that are equal to the first one but for their values; None if they are not."""
    rows = np.frombuffer(b"".join(contents), np.uint8).reshape(len(contents), -1)
    fixed = np.ones(rows.shape[1], bool)
    for kind, values in spans.values():
        if kind != 1 and (len(values) != 1 or values[0][0] != BYTES):
            return None
        for _, start, end in values:
            fixed[start:end] = False
    same = np.flatnonzero(fixed)
    if not (rows[:, same] == rows[0, same]).all():
        return None
    found: dict[str, Any] = {}
    for name, (kind, values) in spans.items():
        if kind == 1:
            found[name] = [[content[start:end] for _, start, end in values] for content in contents]
            continue
        part = np.ascontiguousarray(rows[:, values[0][1] : values[0][2]])
        if kind == 2:
            found[name] = part.view(np.float32)
        elif (part[:, -1:] < 0x80).all():
            ends = np.cumsum((part < 0x80).sum(axis=1))
            alike = (np.diff(ends) == ends[0]).all()
            numbers = _varints(part.reshape(-1))
            found[name] = numbers.reshape(len(part), -1) if alike else np.split(numbers, ends[:-1])
        else:
            return None
    return found


def _together(count: int, groups: Sequence[tuple[list[int], Any]]) -> Any:
    """One feature of several groups of Examples: an array where all have arrays as wide, else a list."""
    kinds = {(one.shape[1:], one.dtype) if isinstance(one, np.ndarray) else None for _, one in groups}
    kind = kinds.pop()
    found: Any = [None] * count if kinds or kind is None else np.empty((count, *kind[0]), kind[1])
    for where, values in groups:
        if isinstance(found, np.ndarray):
            found[where] = values
            continue
        for place, value in zip(where, [None] * len(where) if values is None else values, strict=True):
            found[place] = value
    return found


def _spans(content: bytes) -> Spans:
    found: Spans = {}
    for number, _, start, end in _fields(content, 0, len(content)):
        if number != 1:
            continue
        for _, _, first, last in _fields(content, start, end):
            parts = {place: (low, high) for place, _, low, high in _fields(content, first, last)}
            name = content[slice(*parts.get(1, (0, 0)))].decode()
            found[name] = (2, [])
            for kind, _, low, high in _fields(content, *parts.get(2, (0, 0))):
                if kind in (1, 2, 3):
                    spans = [(wire, one, two) for _, wire, one, two in _fields(content, low, high)]
                    found[name] = (kind, spans)
                    break
    return found


def _values(content: bytes, kind: int, spans: Sequence[Span]) -> Values:
    if kind == 1:
        return [content[start:end] for _, start, end in spans]
    if kind == 2:
        floats = [np.frombuffer(content[start:end], np.float32) for _, start, end in spans]
        return np.concatenate([*floats, np.zeros(0, np.float32)])
    numbers = [_varints(np.frombuffer(content[start:end], np.uint8)) for _, start, end in spans]
    return np.concatenate([*numbers, np.zeros(0, np.int64)])


def _fields(content: bytes, place: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, first byte, end) of the value of each field of a message."""
    while place < end:
        tag, place = _varint(content, place)
        wire = tag & 7
        if wire == VARINT:
            size = _varint(content, place)[1] - place
        elif wire == BYTES:
            size, place = _varint(content, place)
        else:
            size = {EIGHT: 8, FOUR: 4}.get(wire, -1)
        if size < 0:
            raise IndexError(f"wire type {wire}")
        if place + size > end:
            raise IndexError("a field ends after the message")
        yield tag >> 3, wire, place, place + size
        place += size


def _varint(content: Any, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place
        shift += 7
        if shift > 63:
            raise IndexError("a number of more than 64 bits")


def _varints(data: np.ndarray) -> np.ndarray:
    """Packed whole numbers, int64, from their bytes."""
    if not len(data):
        return np.zeros(0, np.int64)
    last = data < 0x80
    if not last[-1]:
        raise IndexError("a number without an end")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.arange(len(data)) - np.repeat(starts, np.diff([*starts, len(data)]))
    parts = (data & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(parts, starts).view(np.int64)
