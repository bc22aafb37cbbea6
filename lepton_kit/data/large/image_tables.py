"""Images inside Parquet and Arrow files, as Hugging Face stores them: read by row group, decoded as other images are."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.large import columns
from lepton_kit.data.large.arrow import ARROW, PARQUET, Tables
from lepton_kit.data.large.index import Form, Found, opened_parts
from lepton_kit.data.large.pictures import common_form, look, picture, plain_of
from lepton_kit.data.large.reading import Samples
from lepton_kit.data.large.targets import Targets
from lepton_kit.data.places import File, Files, files_at
from lepton_kit.data.schemas import class_names, image_columns
from lepton_kit.data.writing import allocated
from lepton_kit.errors import DataError


def image_column(schema: Any, features: Sequence[str] | None, file: str) -> str | None:
    """The column of images that is to be read; None for a table of other columns. Raises `DataError` for several."""
    found = [name for name in image_columns(schema) if features is None or name in features]
    if len(found) > 1:
        raise DataError(
            f"{file}: columns {', '.join(map(repr, found))} hold images; features=[{found[0]!r}] reads one of them"
        )
    if found and features is not None and len(features) > 1:
        raise DataError(
            f"{file}: column {found[0]!r} holds images, which are read without other columns: features=[{found[0]!r}]"
        )
    return found[0] if found else None


def looked_at(path: Path) -> tuple[list[str], dict[str, tuple[str, ...]]] | None:
    """(columns beside the images, column of class numbers -> names) of Parquet or Arrow files of images; else None."""
    try:
        files = files_at(path, (*PARQUET, *ARROW))
        schema = Tables(Files(files[:1]), np.zeros((0, 2), np.int64)).table(0).schema
    except DataError:
        return None
    found = image_columns(schema)
    return ([name for name in schema.names if name not in found], class_names(schema)) if found else None


def scan(
    tables: Tables,
    edges: np.ndarray,
    parts: Mapping[str, Any],
    files: Sequence[File],
    image: str,
    options: Mapping[str, Any],
    scratch: Path,
) -> tuple[Found, np.ndarray]:
    """What the files hold: every image is looked at, none decoded. Raises `DataError` that names file and row."""
    schema, target = tables.table(0).schema, options["target"]
    kind = schema.field(target).type
    raw = allocated(scratch / "raw.npy", (int(edges[-1]),), np.float64)
    targets = Targets(target, raw, class_names(schema).get(target))
    shapes: Counter[tuple[Any, ...]] = Counter()
    greys: set[bool] = set()
    first_with: dict[tuple[Any, ...], str] = {}
    digests = np.zeros(len(edges) - 1, np.uint64)
    for number in range(len(edges) - 1):
        place = tables.place(number)
        group = tables.read(number, [image, target])
        targets.put(int(edges[number]), group[target], columns.kind_of(kind) == "text", place)
        contents = _contents(group[image], image, place)
        digests[number] = _digest(contents)
        for row, content in enumerate(contents):
            where = f"{place}, row {row}, column {image!r}"
            height, width, grey = look(content, where)
            greys.add(grey)
            shapes[height, width] += 1
            first_with.setdefault((height, width), where)
    train, _, _ = opened_parts(parts, edges)
    y, what = targets.finish(options["task"], train.rows(np.arange(len(train))))
    del raw
    (scratch / "raw.npy").unlink()
    shape = common_form(shapes, first_with, greys, options["image_size"])
    left = [name for name in schema.names if name not in (image, target)]
    found = Found(
        "image_tables",
        files,
        {"image": image, "shape": list(shape)},
        {"edges": edges, "digests": digests, "blocks": tables.blocks},
        [Form("x", None, shape, "uint8")],
        edges,
        by_block=True,
        class_names=what.class_names,
        value_range=(0.0, 255.0),
        preprocessing=plain_of(shape).model_copy(update={"target": what}),
        notes=[f"beside the images not read: {', '.join(map(repr, left[:12]))}"] if left else [],
    )
    return found, y


def _contents(column: Any, name: str, place: str) -> list[bytes]:
    """The encoded images of a column. Raises `DataError` for a row without one."""
    found = []
    for row, cell in enumerate(column.to_pylist()):
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not content:
            path = cell.get("path") if isinstance(cell, dict) else None
            why = (
                f"only the path {path!r}; store the images inside, or read them with lk.data.image_folder"
                if path
                else "no image"
            )
            raise DataError(f"{place}, row {row}, column {name!r}: {why}")
        found.append(content)
    return found


def _digest(contents: Sequence[bytes]) -> int:
    return columns.digest([zlib.crc32(content) for content in contents])


class ImageTableReader:
    """Row groups of images as samples, checked against the index when they are read. See `reading.BlockReader`."""

    def __init__(self, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self.edges, self.digests = arrays["edges"], arrays["digests"]
        self._image, self._plain = state["image"], plain_of(state["shape"])
        self._tables = Tables(files, arrays["blocks"])

    def block(self, number: int) -> Samples:
        """See `BlockReader.block`."""
        place = self._tables.place(number)
        contents = _contents(self._tables.read(number, [self._image])[self._image], self._image, place)
        if _digest(contents) != int(self.digests[number]):
            raise DataError(
                f"{place}: its contents have changed since the run's index was made; start a new run"
            )
        x = np.empty((len(contents), *self._plain.sample_shape), np.uint8)
        for row, content in enumerate(contents):
            x[row] = picture(content, f"{place}, row {row}, column {self._image!r}", self._plain)
        return {("x", None): x}
