"""Encoded images inside larger files, and folders of images that are decoded whenever they are wanted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_kit.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
MARKS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF", b"GIF8", b"II*\x00", b"MM\x00*")
"""How the contents of these formats begin."""


def is_image(content: bytes) -> bool:
    """Whether bytes begin as an image does.

    >>> is_image(b"\\x89PNG\\r"), is_image(b"text")
    (True, False)
    """
    return content.startswith(MARKS)


def look(content: bytes, where: str) -> tuple[int, int, str]:
    """(height, width, mode) of an encoded image, from its header. Raises `DataError` that names it."""
    with _open(content, where) as image:
        grey = image.mode in ("L", "1", "LA") or image.mode.startswith("I")
        return image.height, image.width, "L" if grey else "RGB"


def picture(content: bytes, where: str, size: Sequence[int], mode: str) -> np.ndarray:
    """An encoded image as uint8 ``(height, width, channels)``. Raises `DataError` that names it."""
    from PIL import Image, ImageOps

    with _open(content, where) as image:
        try:
            found = ImageOps.exif_transpose(image)
            if found.mode.startswith("I"):
                found = Image.fromarray((np.asarray(found) >> 8).clip(0, 255).astype(np.uint8))
            found = found.convert(mode)
            if (found.height, found.width) != tuple(size):
                found = found.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as failure:
            raise DataError(f"{where}: the image is broken ({failure})") from None
        return np.asarray(found).reshape(*size, CHANNELS[mode])


def _open(content: bytes, where: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DataError(f"{where}: not a readable image of {', '.join(FORMATS)}") from None
