"""One image file, decoded by its content alone: which kinds are read, which way is up, how many bits a channel."""

from __future__ import annotations

import io
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from lepton_kit.data.images import medical
from lepton_kit.errors import DataError

READ = "PNG, JPEG, BMP, GIF, WebP, TIFF, DICOM, NIfTI"
EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *medical.EXTENSIONS,
)
OTHER_IMAGES = (
    *(
        ".heic",
        ".heif",
        ".avif",
        ".svg",
        ".psd",
        ".eps",
        ".ps",
        ".jp2",
        ".j2k",
        ".raw",
        ".cr2",
        ".cr3",
        ".nef",
    ),
    *(".arw", ".dng", ".tga", ".ppm", ".pgm", ".exr", ".hdr", ".ico", ".xcf", ".mha", ".nrrd"),
)
"""Names of images of a kind that is not read."""
MAX_PIXELS = 178_956_970
"""Two times what Pillow warns of: at most 512 MiB for an image of three bytes a pixel."""
CHECKED_FROM, MAX_RATIO = 2**26, 400
"""An image of over 64 MiB may not unpack to more than 400 times its file: blank pages reach some 200."""

FAILURES = (
    *(OSError, ValueError, SyntaxError, EOFError, struct.error),
    *(IndexError, KeyError, TypeError, OverflowError),
)
"""What Pillow raises on damaged files."""
GREY = ("1", "L", "LA", "La", "F")


@dataclass(frozen=True)
class Form:
    """What the head of a file says: size in pixels as shown, colours, transparency, bits a channel, frames."""

    height: int
    width: int
    grey: bool
    deep: bool
    alpha: bool = False
    frames: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image: ``image`` of 8 bits a channel, or ``values`` ``(h, w, 1 or 3)`` with ``alpha`` (h, w), 0..1."""

    form: Form
    image: Any = None
    values: np.ndarray | None = None
    alpha: np.ndarray | None = None


def format_of(head: bytes) -> str | None:
    """The kind of image that a file is by its first bytes (at least 348 of them for NIfTI), None for any other.

    >>> format_of(b"GIF89a"), format_of(b"%!PS-Adobe-3.0 EPSF-3.0")
    ('GIF', None)
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head.startswith(b"BM") and len(head) > 26:
        return "BMP"
    return medical.format_of(head)


def form_of(stream: IO[bytes], where: str, volume_slice: Any = None) -> Form:
    """What the head of an image file says, its pixels unread. Raises `DataError` that names the file."""
    kind = _kind(stream, where)
    if kind in medical.FORMATS:
        found = medical.read(kind, stream.read(), where, volume_slice)
        return _form_of_array(found)
    image = _opened(stream, kind, where)
    try:
        height, width = image.height, image.width
        # TIFF says the size as shown; a PNG would be decoded to look for EXIF behind its pixels.
        if kind in ("JPEG", "WEBP") or (kind == "PNG" and "exif" in image.info):
            height, width = (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)
        return _form(image, kind, height, width)
    except FAILURES as failure:
        raise _broken(where, failure) from None


def decode(stream: IO[bytes], where: str, volume_slice: Any = None) -> Picture:
    """The first image of a file, turned as its EXIF says. Raises `DataError` that names the file."""
    kind = _kind(stream, where)
    content = stream.read()
    if kind in medical.FORMATS:
        found = medical.read(kind, content, where, volume_slice)
        return picture_of(found)
    image = _opened(io.BytesIO(content), kind, where)
    try:
        form = _form(image, kind, image.height, image.width)
        if form.deep:
            return _deep(image, content, kind, where)
        image.load()
        return _shallow(image, kind)
    except FAILURES as failure:
        raise _broken(where, failure) from None


def picture_of_image(image: Any, where: str) -> Picture:
    """An open Pillow image as a picture, turned as its EXIF says. Raises `DataError` that names ``where``."""
    try:
        image.load()
        if _is_deep(image, ""):
            values = np.asarray(_upright(image))[..., None]
            return Picture(_form_of_array(values), values=values)
        return _shallow(image, "")
    except FAILURES as failure:
        raise _broken(where, failure) from None


def _shallow(image: Any, kind: str) -> Picture:
    """A loaded image of 8 bits a channel or less: grey, of a palette, or in colour, with or without alpha."""
    image = _upright(image)
    form = _form(image, kind, image.height, image.width)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB"))
    return Picture(form, image)


def picture_of(array: np.ndarray) -> Picture:
    """An array (h, w, 1, 3 or 4) as a picture: bytes as they are, all other types as values of their own range."""
    from PIL import Image

    form = _form_of_array(array)
    if form.deep and form.alpha and array.dtype != np.uint16:
        raise DataError(
            f"an image of {array.dtype} with four channels; expected uint8 or uint16, or no alpha"
        )
    if form.deep:
        return Picture(
            form, values=array[..., :3], alpha=array[..., 3] / np.float32(65535) if form.alpha else None
        )
    return Picture(
        form, Image.fromarray(np.ascontiguousarray(array.squeeze(2) if array.shape[2] == 1 else array))
    )


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of the libraries on odd EXIF, or on sizes that are checked here. Not for use in a thread: it is global."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL|pydicom|nibabel")
        yield


def _form_of_array(array: np.ndarray) -> Form:
    height, width, channels = array.shape
    return Form(height, width, channels < 3, array.dtype != np.uint8, alpha=channels == 4)


def _kind(stream: IO[bytes], where: str) -> str:
    head = stream.read(512)
    stream.seek(0)
    kind = format_of(head)
    if kind is None:
        what = "an empty file" if not head else f"not a readable image; read are {READ}"
        raise DataError(f"{where}: {what}")
    return kind


def _opened(stream: IO[bytes], kind: str, where: str) -> Any:
    from PIL import Image

    try:
        image = Image.open(stream, formats=[kind])
    except (*FAILURES, Image.DecompressionBombError) as failure:
        raise _broken(where, failure) from None
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{where}: {image.height} x {image.width} pixels; at most {MAX_PIXELS:,} are read")
    unpacked = image.width * image.height * len(image.getbands())
    if unpacked > CHECKED_FROM and image.mode != "1" and unpacked > MAX_RATIO * _size(stream):
        raise DataError(
            f"{where}: {image.height} x {image.width} pixels, over {MAX_RATIO} times the file's size; refused as a bomb"
        )
    return image


def _size(stream: IO[bytes]) -> int:
    place = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(place)
    return size


def _broken(where: str, failure: Exception) -> DataError:
    if isinstance(failure, DataError):
        return failure
    from PIL import UnidentifiedImageError

    why = "its head is damaged" if isinstance(failure, UnidentifiedImageError) else str(failure)
    return DataError(f"{where}: not a readable image, damaged or of an unknown variant ({why})")


def _orientation(image: Any) -> int:
    from PIL import ExifTags

    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF of a sound image: it says nothing
        return 1


TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270"}
TURNS |= {7: "TRANSVERSE", 8: "ROTATE_90"}
"""EXIF orientation -> what brings it upright (CIPA DC-008, table 6)."""


def _upright(image: Any) -> Any:
    from PIL import Image

    turn = TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(Image.Transpose[turn])
    turned.info = dict(image.info)  # transparency
    return turned


def _form(image: Any, kind: str, height: int, width: int) -> Form:
    grey = image.mode in GREY or image.mode.startswith("I") or _raw_mode(image) == "LA;16B"
    alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    frames = kind in ("GIF", "PNG", "WEBP", "TIFF") and bool(getattr(image, "is_animated", False))
    return Form(height, width, grey, _is_deep(image, kind), alpha, frames)


def _raw_mode(image: Any) -> str:
    tile = image.tile[0].args if getattr(image, "tile", None) else ""
    return str(tile[0] if isinstance(tile, tuple) else tile)


def _is_deep(image: Any, kind: str) -> bool:
    if image.mode == "F" or image.mode.startswith("I"):
        return True
    if kind == "TIFF":
        bits = image.tag_v2.get(258, (8,))
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) > 8 and image.mode != "1")
    return kind == "PNG" and "16" in _raw_mode(image)


def _deep(image: Any, content: bytes, kind: str, where: str) -> Picture:
    """Over 8 bits a channel. Pillow keeps one byte of each colour channel, so these are decoded twice: once a byte."""
    transparent = image.info.get("transparency")
    if image.mode == "F" or image.mode.startswith("I"):
        image.load()
        values = np.asarray(_upright(image))[..., None]
        alpha = None
    else:
        if _raw_mode(image) == "LA;16B":  # Pillow has no such mode, but its bytes are those of four channels
            image.tile = [tile._replace(args="RGBA") for tile in image.tile]
            image.load()
            pairs = np.asarray(_upright(image)).astype(np.uint16)
            both = pairs[..., 0::2] * np.uint16(256) + pairs[..., 1::2]
            values, alpha = both[..., :1], both[..., 1] / np.float32(65535)
        else:
            other = _opened(io.BytesIO(content), kind, where)
            other.tile = [tile._replace(args=_other_byte(tile.args)) for tile in other.tile]
            image.load()
            other.load()
            high, low = (np.asarray(_upright(one)).astype(np.uint16) for one in (image, other))
            both = high * np.uint16(256) + low
            values = both[..., :3]
            alpha = both[..., 3] / np.float32(65535) if both.shape[2] == 4 else None
    if transparent is not None and alpha is None and kind == "PNG":
        alpha = (values != np.array(transparent)).any(axis=-1).astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{where}: holds values that are no finite numbers")
    height, width, channels = values.shape
    form = Form(
        height, width, channels == 1, True, alpha is not None, bool(getattr(image, "is_animated", False))
    )
    return Picture(form, values=values, alpha=alpha)


def _other_byte(arguments: Any) -> Any:
    """The raw mode that reads the low byte where the given one reads the high byte."""
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    order = raw[-1] if raw[-1] in "BL" else "L" if sys.byteorder == "little" else "B"
    if not raw[:-1].endswith("16"):
        raise ValueError(f"16 bits stored as {raw}")
    swapped = raw[:-1] + ("L" if order == "B" else "B")
    return (swapped, *arguments[1:]) if isinstance(arguments, tuple) else swapped
