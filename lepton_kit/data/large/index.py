"""The index of large data: a prepared folder that holds where samples lie and what the targets are, but no samples."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.checks import check_classes, check_finite, task_of
from lepton_kit.data.large.parts import Run, Share
from lepton_kit.data.large.reading import BlockReader, Blocks, Column, PartSource, RecordReader, Records
from lepton_kit.data.places import File, Files
from lepton_kit.data.prepared import Split
from lepton_kit.data.preprocessing import Preprocessing
from lepton_kit.data.split_names import by_names
from lepton_kit.data.structure import Key, joined
from lepton_kit.data.writing import META, FolderWriter
from lepton_kit.rundir.reading import read_mapping, regular
from lepton_kit.specs import BlockOrder

READERS = {
    "parquet": ("row_groups", "TableReader"),
    "tfrecord": ("records", "ExampleReader"),
    "webdataset": ("shards", "ShardReader"),
    "zarr": ("zarrays", "ZarrReader"),
    "images": ("pictures", "PictureReader"),
    "image_tables": ("image_tables", "ImageTableReader"),
}
"""Kind of an index -> the module beside this one that reads it, and there the class."""
ARRAYS = "index.{}.npy"
WINDOW_BYTES = 64 << 20
"""A window of the order of blocks, decoded; a worker holds about two of them."""
MAX_WINDOW = 64
RUN_BYTES = 1 << 20
"""Single records are read in runs of about this size."""
MIXED_RECORDS = 16384
RUN_ROWS = 1000
AHEAD_BYTES = 128 << 20
"""Decoded records that a worker may hold before they are wanted."""


@dataclass(frozen=True)
class Form:
    """One array of a sample: where it belongs, its shape without the rows, and its type."""

    role: str
    key: Key
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Size in memory of one sample."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass
class Found:
    """What a kind of large data knows about its files once it has read them through."""

    kind: str
    files: Sequence[File]
    state: Mapping[str, Any]
    """What its reader needs, as plain types."""
    arrays: Mapping[str, np.ndarray]
    """What its reader needs, as arrays; ``edges`` of the blocks or ``offsets`` of the records, and ``digests``."""
    forms: Sequence[Form]
    edges: np.ndarray
    """First row of each block of neighbouring rows, and the number of rows."""
    by_block: bool
    record_bytes: int = 0
    class_names: Sequence[str] | None = None
    value_range: Any = None
    feature_names: Sequence[str] | None = None
    preprocessing: Preprocessing | None = None
    notes: list[str] = field(default_factory=list)
    task: str | None = None
    """Where the targets don't say it; with ``num_classes``."""
    num_classes: int | None = None


def split_of(files: Sequence[File]) -> tuple[list[File], int, list[str]]:
    """Files with the ones to train on first, how many those are, and sentences on what was left out.

    A file belongs to a split by its folder or its name, as `split_names.by_names` reads them. Without such words all
    files are trained on. Raises `DataError` for a file that says neither among files that do.
    """
    by_name = {file.name: file for file in files}
    train, held, notes = by_names(list(by_name))
    return [by_name[name] for name in (*train, *held)], len(train), notes


def parts_of(edges: np.ndarray, train_rows: int, share: float, seed: int) -> dict[str, Any]:
    """How rows are split, as plain types: rows from ``train_rows`` on are held out, else a share of each block."""
    total = int(edges[-1])
    if train_rows < total:
        return {"rule": "rows", "train": train_rows, "total": total}
    return {"rule": "share", "share": share, "seed": seed}


def record_edges(train_rows: int, total: int) -> np.ndarray:
    """Runs of records of which a share is held out, with an edge where the held-out files begin."""
    edges = [*range(0, train_rows, RUN_ROWS), *range(train_rows, total, RUN_ROWS), total]
    return np.array(edges, np.int64)


def opened_parts(parts: Mapping[str, Any], edges: np.ndarray) -> tuple[Any, Any, np.ndarray]:
    """(the part to train on, the held-out one or None, first sample of each block of the former)."""
    if parts["rule"] == "rows":
        inside = edges[edges <= parts["train"]]
        return Run(0, parts["train"]), Run(parts["train"], parts["total"]), inside
    if not parts["share"]:
        return Run(0, int(edges[-1])), None, edges
    train, held = (Share(edges, parts["share"], parts["seed"], held=held) for held in (False, True))
    return train, held if len(held) else None, train.edges


def chosen_order(found: Found, train_edges: np.ndarray) -> tuple[BlockOrder, int]:
    """The order of an epoch that reads these data in long runs, and the bytes of decoded blocks to keep."""
    from lepton_kit.data.order import sizes_of

    row_bytes = sum(form.bytes for form in found.forms)
    samples = int(train_edges[-1])
    if not found.by_block:
        rows = int(np.clip(RUN_BYTES // max(1, found.record_bytes), 16, 4096))
        return BlockOrder(blocks=rows, window=max(4, MIXED_RECORDS // rows)), 0
    blocks = int((np.diff(train_edges) > 0).sum())
    block_bytes = max(1, samples * row_bytes // blocks)
    window = int(np.clip(WINDOW_BYTES // block_bytes, 1, min(MAX_WINDOW, blocks)))
    whole = int(np.diff(found.edges).max()) * row_bytes
    return BlockOrder(blocks=sizes_of(train_edges), window=window), max(WINDOW_BYTES, 5 * window * whole // 2)


def write(writer: FolderWriter, found: Found, parts: Mapping[str, Any], targets: np.ndarray | None) -> None:
    """Write the index. ``targets`` has the target of each row of the files, or None where samples bring them."""
    train, held, train_edges = opened_parts(parts, found.edges)
    order, budget = chosen_order(found, train_edges)
    for name, array in found.arrays.items():
        np.save(
            writer.folder / ARRAYS.format(name), array
        )  # the same bytes for the same contents, unlike .npz
    task, classes = found.task or "other", found.num_classes
    if targets is not None:
        y = [
            _put_targets(writer, name, part, targets)
            for name, part in (("train", train), ("validation", held))
        ]
        check_finite(y[0], "target")
        if found.task is None:
            task, classes = task_of(y[0], y[1], found.class_names)
        if task == "classification":
            check_classes(y[0], found.class_names)
    x_ranges = found.value_range
    source = {
        "kind": found.kind,
        "files": [asdict(file) for file in found.files],
        "state": dict(found.state),
        "forms": [asdict(form) for form in found.forms],
        "parts": dict(parts),
        "order": order.model_dump(mode="json"),
        "by_block": found.by_block,
        "budget": budget,
    }
    reader = _reader(found.kind, Files(found.files), found.state, found.arrays)
    store = _store(reader, source, order, found.forms)
    y_of = dict(zip(("train", "validation"), y if targets is not None else (None, None), strict=True))
    hashes: dict[str, np.ndarray] = {}
    for split, part in (("train", train), ("validation", held)):
        if part is not None:
            hashes[split] = PartSource(store, part, y_of[split], None).hashes(np.arange(len(part)))
    details = {"notes": found.notes} if found.notes else {}
    names = found.class_names if task in ("classification", "multilabel") else None
    writer.finish(
        task=task,
        class_names=names,
        num_classes=classes,
        value_range=x_ranges,
        feature_names=found.feature_names,
        details=details,
        preprocessing=found.preprocessing.model_dump(mode="json") if found.preprocessing else None,
        source=source,
        hashes=hashes,
    )


def _reader(kind: str, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    module, name = READERS[kind]
    return getattr(importlib.import_module(f"lepton_kit.data.large.{module}"), name)(files, state, arrays)


def _put_targets(writer: FolderWriter, name: str, part: Any, targets: np.ndarray) -> Any:
    if part is None:
        return None
    target = writer.array(name, "y", None, (len(part), *targets.shape[1:]), targets.dtype)
    for start in range(0, len(part), 1 << 16):
        places = np.arange(start, min(start + (1 << 16), len(part)))
        target[places] = targets[part.rows(places)]
    return target


def splits(
    folder: Path, source: Mapping[str, Any], held_targets: Mapping[str, Any]
) -> tuple[Split, Split | None]:
    """The splits of an index. ``held_targets`` has the arrays of targets by split. Raises `DataError`."""
    arrays = {
        file.name.split(".")[1]: np.load(regular(file), allow_pickle=False)
        for file in folder.glob(ARRAYS.format("*"))
    }
    files = Files([File(**file) for file in source["files"]])
    reader = _reader(source["kind"], files, source["state"], arrays)
    order = BlockOrder.model_validate(source["order"])
    forms = [Form(one["role"], one["key"], tuple(one["shape"]), one["dtype"]) for one in source["forms"]]
    train, held, _ = opened_parts(source["parts"], arrays["edges"])
    store: Any = _store(reader, source, order, forms)
    return (
        _split(PartSource(store, train, held_targets.get("train"), order), forms, held_targets.get("train")),
        None
        if held is None
        else _split(
            PartSource(store, held, held_targets.get("validation"), None),
            forms,
            held_targets.get("validation"),
        ),
    )


def files_of(folder: Path | None) -> list[File]:
    """The files outside a prepared folder that its samples are read from; none of data that lie in it.

    >>> files_of(None)
    []
    """
    try:
        meta = read_mapping(folder / META) if folder is not None else {}
    except (OSError, ValueError):
        return []
    return [File(**file) for file in (meta.get("source") or {}).get("files", ())]


def _store(
    reader: BlockReader | RecordReader, source: Mapping[str, Any], order: BlockOrder, forms: Sequence[Form]
) -> Blocks | Records:
    if not source["by_block"]:
        size = sum(form.bytes for form in forms)
        limit = int(np.clip(AHEAD_BYTES // max(1, size), 64, 8192))
        return Records(reader, limit)  # type: ignore[arg-type]  # the index says which of the two it is
    sizes = order.blocks if isinstance(order.blocks, int) else max(rows for rows, _ in order.blocks)
    return Blocks(reader, source["budget"], horizon=sizes * order.window)  # type: ignore[arg-type]  # the index says which of the two it is


def _split(source: PartSource, forms: Sequence[Form], targets: Any) -> Split:
    columns: dict[str, dict[Key, Any]] = {"x": {}, "y": {}, "w": {}}
    for form in forms:
        columns[form.role][form.key] = Column(source, form.role, form.key, form.shape, form.dtype)
    y = targets if targets is not None else joined(columns["y"])
    return Split(joined(columns["x"]), y, joined(columns["w"]), source)
