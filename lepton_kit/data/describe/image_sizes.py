"""The sizes of the images of a folder or zip file, from their headers: what to propose as `image_size`."""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lepton_kit.data.describe.sniff import IMAGES

LOOKED_AT = 300
HEADER_BYTES = 256 * 1024
USUAL = ((32, 32), (64, 64), (96, 96), (128, 128), (224, 224))
"""Sizes that networks are commonly given, (height, width) in pixels."""


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
    """The first bytes of some images."""
    if path.is_dir():
        names = sorted(
            Path(base) / name
            for base, _, files in os.walk(path)
            for name in files
            if Path(name).suffix.lower() in IMAGES
        )
        for name in _spread(names):
            try:
                with open(name, "rb") as stream:
                    yield stream.read(HEADER_BYTES)
            except OSError:
                continue
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = sorted(
                n
                for n in archive.namelist()
                if PurePosixPath(n.replace("\\", "/")).suffix.lower() in IMAGES and "__MACOSX" not in n
            )
            for entry in _spread(inside):
                try:
                    with archive.open(entry) as stream:
                        yield stream.read(HEADER_BYTES)
                except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
                    continue


def _spread(names: list[Any]) -> list[Any]:
    return names[:: max(1, -(-len(names) // LOOKED_AT))]
