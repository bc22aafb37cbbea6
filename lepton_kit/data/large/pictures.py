"""Encoded images that are decoded whenever they are wanted: those of a folder or archive, and those inside other files."""

from __future__ import annotations

import io
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.images import decode
from lepton_kit.data.images.preprocessing import ImagePreprocessing
from lepton_kit.data.large.index import Form, Found, parts_of, record_edges, write
from lepton_kit.data.large.reading import Samples
from lepton_kit.data.places import Files
from lepton_kit.data.writing import FolderWriter
from lepton_kit.data.zips import open_files
from lepton_kit.errors import DataError

MODES: dict[int, Any] = {1: "grayscale", 3: "rgb", 4: "rgba"}
"""Channels of an image -> its colours."""


def is_image(content: bytes) -> bool:
    """Whether bytes begin as an image does.

    >>> is_image(b"\\x89PNG\\r\\n\\x1a\\n"), is_image(b"text")
    (True, False)
    """
    return decode.format_of(content[:512]) is not None


def look(content: bytes, where: str) -> tuple[int, int, bool]:
    """(height, width, whether it is grey) of an encoded image, from its head. Raises `DataError` that names it."""
    form = decode.form_of(io.BytesIO(content), where)
    return form.height, form.width, form.grey


def picture(content: bytes, where: str, plain: ImagePreprocessing) -> np.ndarray:
    """An encoded image as a sample. Raises `DataError` that names it."""
    return plain.sample(decode.decode(io.BytesIO(content), where, plain.volume_slice))


def write_index(images: Any, path: Path, writer: FolderWriter) -> None:
    """The index of an `images.reading.ImageSet`: the names of its files with a checksum each, and the targets."""
    train, held = images.rows["train"], images.rows["validation"]
    rows = np.concatenate([train, held])
    names = [images.plan.images[row] for row in rows]
    sizes = []
    digests = np.zeros(len(names), np.uint64)
    for place, name in enumerate(names):
        content = images.files.read(name)
        digests[place] = zlib.crc32(content)
        sizes.append(len(content))
        if writer.progress is not None:
            writer.progress(place + 1, len(names))
    edges = record_edges(len(train), len(names))
    plain, meta = images.preprocessing, images.meta()
    found = Found(
        "images",
        [],
        {"path": str(path), "preprocessing": plain.model_dump(mode="json")},
        {"names": np.array(names), "digests": digests, "edges": edges},
        [Form("x", None, plain.sample_shape, np.dtype(plain.dtype).name)],
        edges,
        by_block=False,
        record_bytes=int(np.mean(sizes)),
        class_names=meta["class_names"],
        value_range=meta["value_range"],
        preprocessing=plain,
        notes=list(meta["details"].get("notes", ())),
        task=meta["task"],
        num_classes=meta["num_classes"],
    )
    write(writer, found, parts_of(edges, len(train), 0, 0), images.values.y[rows])


class PictureReader:
    """Images of a folder or archive as samples. See `reading.RecordReader`."""

    def __init__(self, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self._path, self._names, self.digests = Path(state["path"]), arrays["names"], arrays["digests"]
        self._plain = ImagePreprocessing.model_validate(state["preprocessing"])
        self._files: Any = None

    def records(self, rows: np.ndarray) -> Samples:
        """See `RecordReader.records`."""
        if self._files is None:
            self._files = open_files(self._path)
        x = np.empty((len(rows), *self._plain.sample_shape), self._plain.dtype)
        for place, row in enumerate(rows.tolist()):
            name = str(self._names[row])
            content, where = self._files.read(name), self._files.where(name)
            if zlib.crc32(content) != int(self.digests[row]):
                raise DataError(f"{where}: has changed since the run's index was made; start a new run")
            x[place] = picture(content, where, self._plain)
        return {("x", None): x}


def common_form(
    shapes: Counter[tuple[Any, ...]],
    first_with: Mapping[tuple[Any, ...], str],
    greys: set[bool],
    size: Sequence[int] | None,
) -> tuple[int, int, int]:
    """(height, width, channels) of samples from images of these sizes. Raises `DataError` where a size must be given."""
    (common, _), *others = shapes.most_common()
    if others and size is None:
        other = others[0][0]
        raise DataError(
            f"{first_with[other]} is {other[0]} x {other[1]} pixels, most are {common[0]} x {common[1]}; "
            f"give image_size=({common[0]}, {common[1]}) to bring all to one size"
        )
    height, width = size or common
    return height, width, 1 if all(greys) else 3


def plain_of(shape: Sequence[int]) -> ImagePreprocessing:
    """What brings images to a shape (height, width, channels)."""
    return ImagePreprocessing(image_size=(shape[0], shape[1]), color_mode=MODES[shape[2]])
