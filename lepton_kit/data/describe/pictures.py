"""What can be picked for a folder or archive of images: sizes, a file of labels, a folder of masks."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lepton_kit.data.describe.sniff import IMAGES
from lepton_kit.data.images.labels import LABEL_FILES

LOOKED_AT = 300
HEADER_BYTES = 256 * 1024
USUAL = ((32, 32), (64, 64), (96, 96), (128, 128), (224, 224))
"""Sizes that networks are commonly given, (height, width) in pixels."""
MASKS = re.compile(r"mask|segment|annotation|ground.?truth|^gt$|^labels?$", re.IGNORECASE)
PAIRED = 0.9
"""Share of the images that must have a mask of the same name before a folder is taken for their masks."""


def names_of_files(path: Path) -> list[str]:
    """The names of the files in a folder, zip or tar, with ``/`` between folders; hidden ones left out."""
    if path.is_dir():
        found = [
            (Path(base) / name).relative_to(path).as_posix()
            for base, _, files in os.walk(path, followlinks=True)
            for name in files
        ]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = [name.replace("\\", "/") for name in archive.namelist() if not name.endswith("/")]
    else:
        with tarfile.open(path) as packed:
            found = [one.name for one in packed if one.isfile()]
    return sorted(
        name for name in found if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    )


def layout_of(names: list[str]) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """(options that the names alone make plain, values to pick from) for `image_folder`.

    ``masks`` is plain where a folder of masks has one for nearly every other image; ``labels`` where the images lie
    in no class folders and there is one table.

    >>> layout_of(["images/a.png", "masks/a.png"])[0], layout_of(["a.png", "labels.csv"])[0]
    ({'masks': 'masks'}, {'labels': 'labels.csv'})
    """
    images = [PurePosixPath(name) for name in names if PurePosixPath(name).suffix.lower() in IMAGES]
    tables = [name for name in names if PurePosixPath(name).suffix.lower() in LABEL_FILES]
    folders = sorted({part for image in images for part in image.parts[:-1] if MASKS.search(part)})
    plain: dict[str, Any] = {}
    for folder in folders:
        stems = {image.stem for image in images if folder in image.parts[:-1]}
        others = [image.stem for image in images if folder not in image.parts[:-1]]
        if others and sum(_mask_of(stem, stems) for stem in others) >= PAIRED * len(others):
            plain["masks"] = folder
            break
    if not plain and len(tables) == 1 and len({image.parent for image in images}) == 1:
        plain["labels"] = tables[0]
    choices: dict[str, tuple[Any, ...]] = {}
    if tables:
        choices["labels"] = (None, *tables)
    if folders:
        choices["masks"] = (None, *folders)
    return plain, choices


def _mask_of(stem: str, masks: set[str]) -> bool:
    return stem in masks or any(
        f"{stem}{end}" in masks for end in ("_mask", "-mask", "_seg", "_gt", "_label")
    )


def common_sizes(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """(height, width) to pick from: None (as they are) where all looked at are alike, then the commonest, then usual ones.

    Empty where no image can be looked at.
    """
    found = sizes(path)
    if not found:
        return ()
    own = [size for size, _ in found.most_common(3)]
    return (*((None,) if len(found) == 1 else ()), *own, *(size for size in USUAL if size not in own))


def sizes(path: Path) -> Counter[tuple[int, int]]:
    """How many of up to 300 images have which (height, width); evenly picked of all."""
    from PIL import Image

    found: Counter[tuple[int, int]] = Counter()
    for start in _starts(path):
        try:
            with Image.open(
                io.BytesIO(start), formats=("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
            ) as image:
                width, height = image.size
                if image.getexif().get(0x0112, 1) >= 5:  # turned by a quarter
                    width, height = height, width
                found[height, width] += 1
        except Exception:  # Pillow raises many kinds; a broken image has no size, and reading it will say so
            continue
    return found


def _starts(path: Path) -> Iterator[bytes]:
    """The first bytes of some images of a folder or zip."""
    if not path.is_dir() and not zipfile.is_zipfile(path):
        return
    if path.is_dir():
        names = [name for name in names_of_files(path) if PurePosixPath(name).suffix.lower() in IMAGES]
        for name in _spread(names):
            try:
                with open(path / name, "rb") as stream:
                    yield stream.read(HEADER_BYTES)
            except OSError:
                continue
        return
    with zipfile.ZipFile(path) as archive:
        inside = [
            one
            for one in archive.infolist()
            if PurePosixPath(one.filename.replace("\\", "/")).suffix.lower() in IMAGES
        ]
        for entry in _spread(inside):
            try:
                with archive.open(entry) as stream:
                    yield stream.read(HEADER_BYTES)
            except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
                continue


def _spread(found: list[Any]) -> list[Any]:
    return found[:: max(1, -(-len(found) // LOOKED_AT))]
