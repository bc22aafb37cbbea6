"""TFRecord files that are larger than memory: an index of the records, each checked by its checksum when it is read."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
from lepton_kit.data.dataset import Dataset, dataset_of, is_whole, name_of
from lepton_kit.data.large.build import decoded
from lepton_kit.data.large.examples import Values, columns_of, features_of
from lepton_kit.data.large.index import Form, Found, parts_of, record_edges, split_of, write
from lepton_kit.data.large.pictures import MODES, is_image, look, picture, plain_of
from lepton_kit.data.large.reading import Samples
from lepton_kit.data.large.targets import Targets
from lepton_kit.data.places import Files, files_at
from lepton_kit.data.splitting import check_split
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError

ENDINGS = (".tfrecord", ".tfrecords", ".tfrec", ".record")
HEADER, FOOTER = 12, 4
"""Bytes before a record (its length and that length's checksum) and after it (its own checksum)."""
PIECE = 8 << 20
MANY = 1024


def tfrecord(
    path: str | Path,
    *,
    target: str,
    features: Mapping[str, Sequence[int]] | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
    cache: bool = False,
) -> Dataset:
    """TFRecord files of ``tf.train.Example`` messages in a folder, one of them, or such an address (``s3://…``).

    ``features`` is name -> shape of a sample, such as ``{"pixels": [28, 28, 1]}``; without it every feature but the
    target, as long as in the first record. Floats stay float32, whole numbers int64; bytes are encoded images (decoded
    to uint8 of the shape, or resized to it) or raw uint8 or float32 numbers, by their length. One feature makes a plain
    array, several a dictionary. ``target`` is one number or text a record: text, or at most 20 different whole
    numbers, makes a classification. Training reads single records ahead; nothing is copied. Compressed files can't be
    read by index. Needs ``pip install lepton-kit[large]``. Raises `ConfigError`, and `prepare` `DataError`.

    >>> tfrecord("shards/", target="label", features={"image": [32, 32, 3]})
    Dataset(tfrecord, 'shards')
    """
    check_split(validation_split, seed)
    shapes = None
    if features is not None:
        if not isinstance(features, Mapping) or not features:
            raise ConfigError("data.features", given=features, rule="name -> shape of a sample")
        for name, shape in features.items():
            if isinstance(shape, str) or not all(is_whole(size, 1) for size in shape):
                raise ConfigError(
                    f"data.features.{name}", given=shape, rule="the shape of a sample, such as [28, 28, 1]"
                )
        shapes = {name: list(shape) for name, shape in features.items()}
    return dataset_of(
        "tfrecord",
        path,
        target=name_of("target", target),
        features=shapes,
        validation_split=validation_split,
        seed=seed,
        cache=cache,
    )


def build(path: Path | str, options: dict[str, Any], writer: FolderWriter) -> None:
    """Index the files and read them through, for targets and errors; with ``cache`` also decode them."""
    files, train_files, notes = split_of(files_at(path, ENDINGS))
    handle = Files(files)
    offsets, lengths, sums, first_of = indexed(handle)
    if len(offsets) < 2:
        raise DataError(f"{path}: {len(offsets)} records; expected at least 2")
    arrays = {"offsets": offsets, "lengths": lengths, "digests": sums, "first_of": first_of}
    train_rows = int(first_of[train_files])
    arrays["edges"] = record_edges(train_rows, len(offsets))
    parts = parts_of(arrays["edges"], train_rows, options["validation_split"], options["seed"])
    target = options["target"]
    plain = ExampleReader(handle, {"features": [], "target": target}, arrays)
    state = {"features": _plans(plain, options), "target": target}
    reader = ExampleReader(handle, state, arrays)
    raw = np.zeros(len(offsets))
    targets = Targets(target, raw)
    low, high = np.inf, -np.inf
    for start in range(0, len(offsets), MANY):
        rows = np.arange(start, min(start + MANY, len(offsets)))
        columns = reader.columns(rows)
        _put(targets, start, reader.targets(columns, rows), reader.place(start))
        for x in reader.encode(columns, rows).values():
            if x.dtype.kind == "f":
                bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
                if bad.any():
                    row = int(rows[np.flatnonzero(bad)[0]])
                    raise DataError(f"{reader.place(row)}: a number that is not finite")
            low, high = min(low, float(x.min())), max(high, float(x.max()))
    y, what = targets.finish(None, np.arange(0), standardise=False)
    forms = [
        Form("x", None if len(state["features"]) == 1 else plan["name"], tuple(plan["shape"]), plan["dtype"])
        for plan in state["features"]
    ]
    one_range = (0.0, 255.0) if forms[0].dtype == "uint8" else (low, high)
    found = Found(
        "tfrecord",
        files,
        state,
        arrays,
        forms,
        arrays["edges"],
        by_block=False,
        record_bytes=int(lengths.mean()),
        class_names=what.class_names,
        value_range=one_range if len(forms) == 1 else {str(form.key): (low, high) for form in forms},
        preprocessing=ArraysPreprocessing(
            target=what,
            inputs=tuple(ArrayForm(key=one.key, shape=one.shape, dtype=one.dtype) for one in forms),
        ),
        notes=notes,
    )
    (decoded if options["cache"] else write)(writer, found, parts, y)


def indexed(files: Files) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(offset, length, checksum of each record, first record of each file); every length's own checksum is checked."""
    offsets, lengths, sums, first_of = array("q"), array("q"), array("Q"), [0]
    for number, file in enumerate(files.files):
        head = files.read(number, 0, min(2, file.size))
        if head == b"\x1f\x8b":
            raise DataError(
                f"{file.name}: compressed records can't be read by index; write it without compression"
            )
        place, start, piece = 0, 0, b""
        while place < file.size:
            if place + HEADER > start + len(piece) or place < start:
                start, piece = place, files.read(number, place, min(PIECE, file.size - place))
            header = piece[place - start : place - start + HEADER]
            where = f"{file.name}, record {len(offsets) - first_of[-1]}"
            if len(header) < HEADER:
                raise DataError(f"{where}: the file ends inside it")
            length, check = struct.unpack("<QI", header)
            if masked(header[:8]) != check:
                raise DataError(
                    f"{where}: not a TFRecord file, or damaged (the checksum of its length is wrong)"
                )
            end = place + HEADER + length + FOOTER
            if end > file.size:
                raise DataError(f"{where}: the file ends inside it")
            if end <= start + len(piece):
                tail = piece[end - start - FOOTER : end - start]
            else:
                tail = files.read(number, end - FOOTER, FOOTER)
            offsets.append(place + HEADER)
            lengths.append(length)
            sums.append(struct.unpack("<I", tail)[0])
            place = end
        first_of.append(len(offsets))
    return np.array(offsets), np.array(lengths), np.array(sums, np.uint64), np.array(first_of, np.int64)


def masked(content: bytes) -> int:
    """TFRecord's checksum: CRC-32C, rotated and shifted (tensorflow/core/lib/hash/crc32c.h, 2026-10).

    >>> masked(b"abc")
    569464686
    """
    try:
        import google_crc32c
    except ImportError:
        raise DataError("TFRecord files need google-crc32c: pip install lepton-kit[large]") from None
    crc = google_crc32c.value(content)
    return int((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _plans(reader: ExampleReader, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How each feature is read, as the first record says."""
    first, where = reader.message(0), reader.place(0)
    target = options["target"]
    for name in [target, *(options["features"] or {})]:
        if name not in first:
            raise DataError(f"{where}: no feature {name!r}; it has {', '.join(sorted(first)[:30])}")
    wanted = options["features"] or {name: None for name in sorted(first) if name != target}
    if target in wanted:
        raise DataError(f"{where}: the target {target!r} is among the features")
    if not wanted:
        raise DataError(f"{where}: no feature beside the target")
    return [
        {"name": name, **_plan(first[name], shape, f"{where}, {name!r}")} for name, shape in wanted.items()
    ]


def _plan(values: Values, shape: list[int] | None, where: str) -> dict[str, Any]:
    if isinstance(values, np.ndarray):
        shape = shape if shape is not None else [len(values)] if len(values) != 1 else []
        return {"kind": "numbers", "shape": shape, "dtype": values.dtype.name}
    if len(values) != 1:
        raise DataError(f"{where}: {len(values)} texts; expected one image, or the bytes of one array")
    if is_image(values[0]):
        height, width, grey = look(values[0], where)
        if shape is not None and (len(shape) != 3 or shape[2] not in MODES):
            raise DataError(f"{where}: an image; its shape is [height, width, 1, 3 or 4], not {shape}")
        return {"kind": "image", "shape": shape or [height, width, 1 if grey else 3], "dtype": "uint8"}
    if shape is None:
        raise DataError(
            f"{where}: {len(values[0])} bytes that are no image; give its shape with features={{…}}"
        )
    size = int(np.prod(shape))
    dtype = {size: "uint8", 4 * size: "float32"}.get(len(values[0]))
    if dtype is None:
        raise DataError(
            f"{where}: {len(values[0])} bytes; the shape {shape} takes {size} (uint8) or {4 * size} (float32)"
        )
    return {"kind": "bytes", "shape": shape, "dtype": dtype}


def _put(targets: Targets, start: int, values: list[Any], where: str) -> None:
    import pyarrow as pa

    kinds = {isinstance(value, str) for value in values}
    if len(kinds) > 1:
        raise DataError(
            f"{where}: the target {targets.name!r} is text in some records and a number in others"
        )
    targets.put(start, pa.array(values), kinds.pop(), where)


class ExampleReader:
    """Examples as samples. See `reading.RecordReader`."""

    def __init__(self, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self._files, self._plans, self._target = files, state["features"], state["target"]
        self._offsets, self._lengths = arrays["offsets"], arrays["lengths"]
        self._first_of = arrays["first_of"].tolist()
        self.digests = arrays["digests"]

    def _file(self, row: int) -> int:
        return bisect_right(self._first_of, row) - 1

    def place(self, row: int) -> str:
        """Where a record lies, for errors."""
        file = self._file(row)
        return f"{self._files.files[file].name}, record {row - self._first_of[file]}"

    def content(self, row: int) -> bytes:
        """The bytes of a record. Raises `DataError` where it is damaged or has changed."""
        file = self._file(row)
        start, length = int(self._offsets[row]), int(self._lengths[row])
        content = self._files.read(file, start, length)
        found = masked(content)
        if found == self.digests[row]:
            return content
        if found == struct.unpack("<I", self._files.read(file, start + length, FOOTER))[0]:
            raise DataError(f"{self.place(row)}: its contents have changed since the run's index was made")
        raise DataError(f"{self.place(row)}: damaged (its checksum is wrong)")

    def message(self, row: int) -> dict[str, Values]:
        """The features of a record. Raises `DataError` as `content` does, and for bytes that are no Example."""
        try:
            return features_of(self.content(row))
        except ValueError as failure:
            raise DataError(f"{self.place(row)}: {failure}") from None

    def columns(self, rows: np.ndarray) -> dict[str, Any]:
        """The features of records, as `columns_of` gives them. Raises `DataError` as `message` does."""
        try:
            return columns_of([self.content(row) for row in rows.tolist()])
        except ValueError:
            for row in rows.tolist():
                self.message(row)  # says which one it is
            raise

    def targets(self, columns: Mapping[str, Any], rows: np.ndarray) -> list[Any]:
        """The target of each record: a number or a text."""
        found = columns.get(self._target, [()] * len(rows))
        for values, row in zip(found, rows, strict=True):
            count = 0 if values is None else len(values)
            if count != 1:
                raise DataError(
                    f"{self.place(int(row))}: the target {self._target!r} has {count} values; expected one"
                )
        return [
            one[0].decode(errors="replace") if isinstance(one[0], bytes) else one[0].item() for one in found
        ]

    def records(self, rows: np.ndarray) -> Samples:
        """See `RecordReader.records`."""
        return self.encode(self.columns(rows), rows)

    def encode(self, columns: Mapping[str, Any], rows: np.ndarray) -> Samples:
        """Features as samples."""
        found: Samples = {}
        for plan in self._plans:
            name, shape, dtype = plan["name"], tuple(plan["shape"]), np.dtype(plan["dtype"])
            values = columns.get(name, [None] * len(rows))
            wanted = (len(rows), int(np.prod(shape)))
            if isinstance(values, np.ndarray) and (values.shape, values.dtype) == (wanted, dtype):
                x = values.reshape(len(rows), *shape)
            else:
                x = np.empty((len(rows), *shape), dtype)
                for place, (value, row) in enumerate(zip(values, rows.tolist(), strict=True)):
                    x[place] = self._value(value, plan, row).reshape(shape)
            found["x", None if len(self._plans) == 1 else name] = x
        return found

    def _value(self, values: Values | None, plan: Mapping[str, Any], row: int) -> np.ndarray:
        size = int(np.prod(plan["shape"]))
        if isinstance(values, np.ndarray) and (len(values), values.dtype) == (size, plan["dtype"]):
            return values
        where = f"{self.place(row)}, {plan['name']!r}"
        if values is None:
            raise DataError(f"{where}: missing; the first record has it")
        if plan["kind"] == "numbers":
            given = f"{len(values)} {'numbers' if isinstance(values, np.ndarray) else 'texts'}"
            raise DataError(f"{where}: {given}; expected {size} of type {plan['dtype']}")
        if isinstance(values, np.ndarray) or len(values) != 1:
            raise DataError(f"{where}: {len(values)} values; expected the bytes of one")
        if plan["kind"] == "image":
            return picture(values[0], where, plain_of(plan["shape"]))
        wanted = size * np.dtype(plan["dtype"]).itemsize
        if len(values[0]) != wanted:
            raise DataError(f"{where}: {len(values[0])} bytes; expected {wanted}")
        return np.frombuffer(values[0], plan["dtype"])
