"""WebDataset shards that are larger than memory: an index of the members of tar files, read one by one."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
from lepton_kit.data.dataset import Dataset, dataset_of, is_whole, name_of
from lepton_kit.data.large.build import decoded
from lepton_kit.data.large.index import Form, Found, parts_of, record_edges, split_of, write
from lepton_kit.data.large.pictures import common_form, look, picture, plain_of
from lepton_kit.data.large.reading import Samples
from lepton_kit.data.large.targets import Targets
from lepton_kit.data.places import Files, files_at
from lepton_kit.data.preprocessing import Preprocessing, Target
from lepton_kit.data.splitting import check_split
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp")
INPUTS = (*IMAGES, "npy")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstandard"}
SMALL = 1 << 20
"""Bytes that a label may have."""


def webdataset(
    path: str | Path,
    *,
    input: str | None = None,
    target: str = "cls",
    image_size: Sequence[int] | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
    cache: bool = False,
) -> Dataset:
    """WebDataset shards (tar files) in a folder, one of them, or such an address (``s3://…``), read by an index.

    The members of a sample have one name and follow each other: ``0001.jpg``, ``0001.cls``. ``input`` is the ending of
    the member to predict from, an image (uint8, resized to ``image_size`` (height, width) where that is given) or an
    ``npy`` array; null: the first such ending. ``target`` is the ending of a member with one number or text, or
    ``json.NAME`` for a value in a JSON member. Compressed shards can't be read by index. Training reads single members
    ahead; nothing is copied. Needs ``pip install lepton-kit[large]``. Raises `ConfigError`, and `prepare` `DataError`.

    >>> webdataset("shards/", target="json.label")
    Dataset(webdataset, 'shards')
    """
    check_split(validation_split, seed)
    if input is not None and input not in INPUTS:
        raise ConfigError("data.input", given=input, rule=f"null or one of {', '.join(INPUTS)}")
    if image_size is not None and not (len(image_size) == 2 and all(is_whole(n, 1) for n in image_size)):
        raise ConfigError(
            "data.image_size", given=image_size, rule="(height, width), whole numbers of at least 1"
        )
    return dataset_of(
        "webdataset",
        path,
        input=input,
        target=name_of("target", target),
        image_size=list(image_size) if image_size is not None else None,
        validation_split=validation_split,
        seed=seed,
        cache=cache,
    )


def build(path: Path | str, options: dict[str, Any], writer: FolderWriter) -> None:
    """Index the shards and read them through, for targets, sizes and checksums; with ``cache`` also decode them."""
    files, train_files, notes = split_of(files_at(path, (".tar",)))
    handle = Files(files)
    ending, places, labels, first_of = _indexed(handle, options)
    count = len(places)
    if count < 2:
        raise DataError(f"{path}: {count} samples; expected at least 2")
    arrays: dict[str, np.ndarray] = {
        "offsets": np.array([offset for offset, _, _ in places], np.int64),
        "lengths": np.array([length for _, length, _ in places], np.int64),
        "names": np.array([name for _, _, name in places]),
        "first_of": np.array(first_of, np.int64),
        "digests": np.zeros(count, np.uint64),
    }
    reader = ShardReader(handle, {"ending": ending, "shape": [], "dtype": "uint8"}, arrays)
    shapes: Counter[tuple[Any, ...]] = Counter()
    greys: set[bool] = set()
    first_with: dict[tuple[Any, ...], str] = {}
    for row in range(count):
        content, where = reader.content(row, check=False), reader.place(row)
        arrays["digests"][row] = zlib.crc32(content)
        if ending == "npy":
            found = _array(content, where)
            shape: tuple[Any, ...] = (*found.shape, found.dtype.name)
            if found.dtype.kind == "f" and not np.isfinite(found).all():
                raise DataError(f"{where}: a number that is not finite")
        else:
            height, width, grey = look(content, where)
            greys.add(grey)
            shape = (height, width)
        shapes[shape] += 1
        first_with.setdefault(shape, where)
    state = {"ending": ending, **_form(ending, shapes, first_with, greys, options["image_size"])}
    train_rows = first_of[train_files]
    arrays["edges"] = record_edges(train_rows, count)
    parts = parts_of(arrays["edges"], train_rows, options["validation_split"], options["seed"])
    targets = Targets(options["target"], np.zeros(count))
    _put_targets(targets, labels, reader)
    y, what = targets.finish(None, np.arange(0), standardise=False)
    found_all = Found(
        "webdataset",
        files,
        state,
        arrays,
        [Form("x", None, tuple(state["shape"]), state["dtype"])],
        arrays["edges"],
        by_block=False,
        record_bytes=int(arrays["lengths"].mean()),
        class_names=what.class_names,
        value_range=(0.0, 255.0) if state["dtype"] == "uint8" else (-1.0, 1.0),
        preprocessing=_preprocessing(state, what),
        notes=notes,
    )
    (decoded if options["cache"] else write)(writer, found_all, parts, y)


def _indexed(
    files: Files, options: Mapping[str, Any]
) -> tuple[str, list[tuple[int, int, str]], list[Any], list[int]]:
    """(ending of the input, its place in each sample, the target of each sample, first sample of each shard)."""
    wanted, key = options["target"].partition(".")[::2]
    ending = options["input"]
    places: list[tuple[int, int, str]] = []
    labels: list[Any] = []
    first_of = [0]
    for number, file in enumerate(files.files):
        for name, members in _samples(files, number):
            where = f"{file.name}/{name}"
            if ending is None:
                ending = next((one for one in members if one in INPUTS), None)
            if ending not in members:
                raise DataError(
                    f"{where}: no member that ends in {ending or ', '.join(INPUTS)}; it has {', '.join(members)}"
                )
            if wanted not in members:
                raise DataError(f"{where}: no member that ends in {wanted}; it has {', '.join(members)}")
            labels.append(_label(files, number, members[wanted], key, f"{where}.{wanted}"))
            places.append((*members[ending], name))
        first_of.append(len(places))
    return str(ending), places, labels, first_of


def _samples(files: Files, number: int) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """(name, ending -> (offset, size)) of each sample of a shard, whose members follow each other."""
    file = files.files[number]
    kind = COMPRESSED.get(files.read(number, 0, min(2, file.size)))
    if kind is not None:
        raise DataError(
            f"{file.name}: compressed by {kind}, so that it can't be read by index; unpack it to a plain tar"
        )
    name, members = "", dict[str, tuple[int, int]]()
    try:
        with tarfile.open(fileobj=io.BufferedReader(files.stream(number), 1 << 20), mode="r:") as shard:
            for member in shard:
                shard.members = []  # type: ignore[attr-defined]  # else it keeps every header in memory
                if not member.isreg():
                    continue
                if member.offset_data + member.size > file.size:
                    raise DataError(f"{file.name}/{member.name}: the file ends inside it")
                folder, slash, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if stem.startswith(".") or not stem:
                    continue
                if folder + slash + stem != name and members:
                    yield name, members
                    members = {}
                name = folder + slash + stem
                members[ending.lower()] = (member.offset_data, member.size)
    except tarfile.TarError as failure:
        raise DataError(f"{file.name}: not a readable tar file ({failure})") from None
    if members:
        yield name, members


def _label(files: Files, number: int, place: tuple[int, int], key: str, where: str) -> Any:
    offset, size = place
    if size > SMALL:
        raise DataError(f"{where}: {size} bytes are no label; expected a number or a text")
    text = files.read(number, offset, size).decode("utf-8", errors="replace").strip()
    if key or where.endswith(".json"):
        try:
            found = json.loads(text)
            found = found[key] if key else found
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{where}: no JSON with a value {key!r}") from None
        if not isinstance(found, str | int | float):
            raise DataError(f"{where}: {key!r} is {type(found).__name__}; expected a number or a text")
        return found
    try:
        return float(text)
    except ValueError:
        return text


def _put_targets(targets: Targets, labels: list[Any], reader: ShardReader) -> None:
    import pyarrow as pa

    kinds = [isinstance(label, str) for label in labels]
    if any(kinds) and not all(kinds):
        row = kinds.index(not kinds[0])
        raise DataError(f"{reader.place(row)}: the target is text in some samples and a number in others")
    values = pa.array(labels) if kinds[0] else pa.array([float(label) for label in labels])
    targets.put(0, values, kinds[0], "samples")


def _preprocessing(state: Mapping[str, Any], target: Target) -> Preprocessing:
    """What encodes new inputs as these."""
    if state["ending"] != "npy":
        return plain_of(state["shape"]).model_copy(update={"target": target})
    form = ArrayForm(shape=tuple(state["shape"]), dtype=state["dtype"])
    return ArraysPreprocessing(target=target, inputs=(form,))


def _form(
    ending: str,
    shapes: Counter[tuple[Any, ...]],
    first_with: Mapping[tuple[Any, ...], str],
    greys: set[bool],
    size: Sequence[int] | None,
) -> dict[str, Any]:
    if ending == "npy":
        (common, _), *others = shapes.most_common()
        if others:
            other = others[0][0]
            raise DataError(
                f"{first_with[other]}: {other[-1]} of shape {other[:-1]}; others {common[-1]} {common[:-1]}"
            )
        dtype = "float32" if np.dtype(common[-1]).kind == "f" else common[-1]
        return {"shape": list(common[:-1]), "dtype": dtype}
    return {"shape": list(common_form(shapes, first_with, greys, size)), "dtype": "uint8"}


def _array(content: bytes, where: str) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OSError) as failure:
        raise DataError(f"{where}: not a readable .npy array ({failure})") from None


class ShardReader:
    """Members of tar files as samples. See `reading.RecordReader`."""

    def __init__(self, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self._files, self._state = files, state
        self._offsets, self._lengths = arrays["offsets"], arrays["lengths"]
        self._names, self._first_of = arrays["names"], arrays["first_of"]
        self.digests = arrays["digests"]

    def place(self, row: int) -> str:
        """Where a sample lies, for errors."""
        return f"{self._files.files[self._file(row)].name}/{self._names[row]}.{self._state['ending']}"

    def content(self, row: int, *, check: bool = True) -> bytes:
        """A member as it is. Raises `DataError` where it has changed."""
        found = self._files.read(self._file(row), int(self._offsets[row]), int(self._lengths[row]))
        if check and zlib.crc32(found) != int(self.digests[row]):
            raise DataError(f"{self.place(row)}: its contents have changed since the run's index was made")
        return found

    def records(self, rows: np.ndarray) -> Samples:
        """See `RecordReader.records`."""
        x = np.empty((len(rows), *self._state["shape"]), self._state["dtype"])
        for place, row in enumerate(rows.tolist()):
            content, where = self.content(row), self.place(row)
            if self._state["ending"] == "npy":
                x[place] = _array(content, where)
            else:
                x[place] = picture(content, where, plain_of(self._state["shape"]))
        return {("x", None): x}

    def _file(self, row: int) -> int:
        return int(np.searchsorted(self._first_of, row, side="right")) - 1
