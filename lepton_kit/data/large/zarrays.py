"""Zarr groups that are larger than memory, read by runs of whole chunks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
from lepton_kit.data.dataset import Dataset, dataset_of, name_of
from lepton_kit.data.large.build import decoded
from lepton_kit.data.large.columns import checksum, digest
from lepton_kit.data.large.index import Form, Found, parts_of, write
from lepton_kit.data.large.reading import Samples
from lepton_kit.data.large.targets import Targets
from lepton_kit.data.places import Files
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.splitting import check_split
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import DataError

BLOCK_BYTES = 4 << 20
"""Small chunks are read together, up to about this size."""


def zarr(
    path: str | Path,
    *,
    x: str = "x",
    y: str = "y",
    validation_split: float = 0.2,
    seed: int = 0,
    cache: bool = False,
) -> Dataset:
    """A Zarr group (a folder, or an address such as ``s3://…``) with an array of samples and one of targets, rows first.

    ``x`` and ``y`` name them. Types stay, but for float64, which becomes float32. One target a sample is kept in the
    index; text, or at most 20 different whole numbers, makes a classification. Larger targets, such as label maps, are
    read with the samples. Chunks are read whole, ahead of training; nothing is copied. A chunk that is lost later would
    be read as zeros by Zarr itself: its checksum finds that. Needs ``pip install lepton-kit[zarr]``. Raises
    `ConfigError`, and `prepare` `DataError`.

    >>> zarr("measured.zarr", x="spectra", y="quality")
    Dataset(zarr, 'measured.zarr')
    """
    check_split(validation_split, seed)
    return dataset_of(
        "zarr",
        path,
        x=name_of("x", x),
        y=name_of("y", y),
        validation_split=validation_split,
        seed=seed,
        cache=cache,
    )


def build(path: Path | str, options: dict[str, Any], writer: FolderWriter) -> None:
    """Read the arrays through, for targets and checksums; with ``cache`` also decode them."""
    state = {"path": str(path), "x": options["x"], "y": options["y"]}
    x, y = _array(state, "x"), _array(state, "y")
    if x.shape[0] != y.shape[0]:
        raise DataError(
            f"{path}: {options['x']!r} has {x.shape[0]} rows but {options['y']!r} has {y.shape[0]}; expected as many"
        )
    if x.shape[0] < 2:
        raise DataError(f"{path}: {x.shape[0]} rows; expected at least 2")
    row_bytes = max(1, int(np.prod(x.shape[1:])) * x.dtype.itemsize)
    rows = max(1, BLOCK_BYTES // row_bytes // x.chunks[0]) * x.chunks[0]
    edges = np.array([*range(0, x.shape[0], rows), x.shape[0]], np.int64)
    arrays = {"edges": edges, "digests": np.zeros(len(edges) - 1, np.uint64)}
    scalar = int(np.prod(y.shape[1:])) == 1
    reader = ZarrReader(Files(()), {**state, "scalar": scalar}, arrays)
    targets = Targets(options["y"], np.zeros(x.shape[0] if scalar else 0))
    low, high = np.inf, -np.inf
    for number, start in enumerate(edges[:-1].tolist()):
        block = reader.read(number)
        arrays["digests"][number] = digest([checksum(one) for one in block.values()])
        for (role, _), values in block.items():
            bad: Any = np.zeros(len(values), bool)
            if values.dtype.kind == "f":
                bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            if bad.any():
                row = start + int(np.flatnonzero(bad)[0])
                raise DataError(f"{path}: {options[role]!r}, row {row}: a number that is not finite")
        found = block["x", None]
        low, high = min(low, float(found.min())), max(high, float(found.max()))
        if scalar:
            _put(targets, start, y[start : start + len(found)].reshape(-1), str(path))
    forms = [Form("x", None, tuple(x.shape[1:]), _kept(x.dtype).name)]
    found_targets, what = None, Target()
    if scalar:
        found_targets, what = targets.finish(None, np.arange(0), standardise=False)
    else:
        forms.append(Form("y", None, tuple(y.shape[1:]), _kept(y.dtype).name))
    whole = Found(
        "zarr",
        [],
        {**state, "scalar": scalar},
        arrays,
        forms,
        edges,
        by_block=True,
        class_names=what.class_names,
        preprocessing=ArraysPreprocessing(
            target=what, inputs=(ArrayForm(shape=forms[0].shape, dtype=forms[0].dtype),)
        ),
        value_range=(0.0, 255.0) if x.dtype == np.uint8 else (low, high),
    )
    parts = parts_of(edges, x.shape[0], options["validation_split"], options["seed"])
    (decoded if options["cache"] else write)(writer, whole, parts, found_targets)


def _array(state: Mapping[str, Any], role: str) -> Any:
    """An array of the group. Raises `DataError` that names it."""
    path, name = state["path"], state[role]
    try:
        import zarr as library
    except ImportError:
        raise DataError(f"{path}: Zarr needs pip install lepton-kit[zarr]") from None
    try:
        group = library.open_group(path, mode="r")
        names = sorted(group.array_keys())
    except Exception as failure:
        raise DataError(f"{path}: not a readable Zarr group ({type(failure).__name__}: {failure})") from None
    if name not in names:
        raise DataError(f"{path}: no array {name!r}; it has {', '.join(names) or 'none'}")
    found: Any = group[name]
    if not found.ndim:
        raise DataError(f"{path}: {name!r} is a single number; expected rows")
    if role == "x" and found.dtype.kind not in "biuf":
        raise DataError(f"{path}: {name!r} is of type {found.dtype}; expected numbers")
    return found


def _kept(dtype: Any) -> np.dtype:
    return np.dtype(np.float32) if np.dtype(dtype).kind == "f" else np.dtype(dtype)


def _put(targets: Targets, start: int, values: np.ndarray, where: str) -> None:
    import pyarrow as pa

    text = values.dtype.kind not in "biuf"
    column = pa.array([str(value) for value in values]) if text else pa.array(values.astype(np.float64))
    targets.put(start, column, text, where)


class ZarrReader:
    """Runs of chunks as samples. See `reading.BlockReader`."""

    def __init__(self, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self._state = state
        self.edges, self.digests = arrays["edges"], arrays["digests"]
        self._arrays: dict[str, Any] = {}

    def block(self, number: int) -> Samples:
        """See `BlockReader.block`."""
        found = self.read(number)
        if digest([checksum(one) for one in found.values()]) != int(self.digests[number]):
            raise DataError(
                f"{self._state['path']}: rows {self.edges[number]} to {self.edges[number + 1] - 1} have changed, or are "
                "lost, since the run's index was made"
            )
        return found

    def read(self, number: int) -> Samples:
        """A block as it is now."""
        rows = slice(int(self.edges[number]), int(self.edges[number + 1]))
        found: Samples = {}
        for role in ("x",) if self._state["scalar"] else ("x", "y"):
            if role not in self._arrays:
                self._arrays[role] = _array(self._state, role)
            try:
                values = np.asarray(self._arrays[role][rows])
            except Exception as failure:
                raise DataError(
                    f"{self._state['path']}: rows {rows.start} to {rows.stop - 1} cannot be read ({failure})"
                ) from None
            found[role, None] = values.astype(_kept(values.dtype), copy=False)
        return found
