"""Reads `tf.train.Example` messages without TensorFlow: the few fields of protobuf's wire format that they use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
Values = list[bytes] | np.ndarray
"""What a feature holds: texts or bytes, float32 numbers, or int64 numbers."""


def features_of(content: bytes) -> dict[str, Values]:
    """The features of an Example, by name. Raises `ValueError` for bytes that are none.

    See tensorflow/core/example/{example,feature}.proto and protobuf.dev/programming-guides/encoding (2026-10).

    >>> features_of(b"\\n\\x0b\\n\\t\\n\\x01a\\x12\\x04\\x1a\\x02\\x08\\x05")["a"].tolist()
    [5]
    """
    found: dict[str, Values] = {}
    try:
        for number, _, features in _fields(memoryview(content)):
            if number != 1:
                continue
            for _, _, entry in _fields(features):
                parts = {place: value for place, _, value in _fields(entry)}
                found[bytes(parts.get(1, b"")).decode()] = _values(parts.get(2, memoryview(b"")))
    except (IndexError, TypeError, UnicodeDecodeError) as failure:
        raise ValueError(f"not a tf.train.Example ({failure})") from None
    return found


def _values(feature: Any) -> Values:
    for kind, _, content in _fields(feature):
        if kind == 1:
            return [bytes(value) for _, _, value in _fields(content)]
        if kind == 2:
            floats = [np.frombuffer(value, np.float32) for _, _, value in _fields(content)]
            return np.concatenate([*floats, np.zeros(0, np.float32)])
        if kind == 3:
            parts = [
                _varints(value) if wire == BYTES else np.array([value], np.uint64).view(np.int64)
                for _, wire, value in _fields(content)
            ]
            return np.concatenate([*parts, np.zeros(0, np.int64)])
    return np.zeros(0, np.float32)


def _fields(content: Any) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field of a message."""
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place)
        wire = tag & 7
        if wire == VARINT:
            value, place = _varint(content, place)
            yield tag >> 3, wire, value
            continue
        size = {EIGHT: 8, FOUR: 4}.get(wire)
        if size is None:
            if wire != BYTES:
                raise IndexError(f"wire type {wire}")
            size, place = _varint(content, place)
        if place + size > end:
            raise IndexError("a field ends after the message")
        yield tag >> 3, wire, content[place : place + size]
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


def _varints(content: Any) -> np.ndarray:
    """Packed whole numbers, int64."""
    data = np.frombuffer(content, np.uint8)
    if not len(data):
        return np.zeros(0, np.int64)
    last = data < 0x80
    if not last[-1]:
        raise IndexError("a number without an end")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.arange(len(data)) - np.repeat(starts, np.diff([*starts, len(data)]))
    parts = (data & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(parts, starts).view(np.int64)
