"""Masks drawn over pictures: what a segmentation marks, and the outline of what is true, as a picture with a text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.images import decode
from lepton_kit.drawing import PNG, still
from lepton_kit.errors import DataError

COLOURS = ((245, 133, 24), (76, 120, 200), (60, 157, 91), (214, 76, 129), (148, 103, 189), (23, 170, 190))
"""Of class 1, 2, …; class 0 is not drawn. They repeat."""
OUTLINE = (255, 235, 59)
OPACITY = 0.45
GAP = 6
MOST = 64


class Overlay:
    """A picture with masks over it: shows itself in a notebook, `image` is it for Pillow, `text` says what it shows."""

    def __init__(self, image: Any, text: str):
        self.image, self.text = image, text

    def __repr__(self) -> str:
        return f"<Overlay: {self.text}>"

    def png(self) -> bytes:
        """The picture as a PNG file's bytes."""
        stream = io.BytesIO()
        self.image.save(stream, "PNG")
        return stream.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the picture in the format that the file's name says, such as ``.png``."""
        self.image.save(path)
        return Path(path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        picture = still(PNG, base64.b64encode(self.png()).decode(), self.text)
        return picture | {"text/plain": repr(self)}, {PNG: {"alt": self.text}}


def overlay(
    images: Any, masks: Any, *, truth: Any = None, scale: int = 1, text: str | None = None
) -> Overlay:
    """Masks over their pictures, several side by side; with ``truth`` the outline of the true mask in yellow.

    ``images`` is one picture or a list of them: files, Pillow images, or arrays (height, width), also with 1 or 3
    channels; an array (n, height, width) is a list. Bytes are shown as they are, other numbers from their lowest to
    their highest. ``masks`` and ``truth`` have one array of class numbers for each, as the column ``class`` of a
    prediction holds; class 0 is not drawn. A mask of another size is brought to that of its picture. ``scale`` makes
    every pixel so many wide; ``text`` is the alternative text. Raises `DataError`.

    >>> overlay(np.zeros((4, 6), np.uint8), np.eye(4, 6, dtype=int), scale=2).image.size
    (12, 8)
    """
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise DataError(f"scale: got {scale!r}; expected a whole number of at least 1")
    pictures = _several(images)
    marked = _same_number("masks", masks, len(pictures))
    true = [None] * len(pictures) if truth is None else _same_number("truth", truth, len(pictures))
    drawn = [
        _drawn(*each, scale=scale, place=place)
        for place, each in enumerate(zip(pictures, marked, true, strict=True))
    ]
    if text is None:
        count = "a picture" if len(drawn) == 1 else f"{len(drawn)} pictures"
        text = f"{count} with the mask in colour" + (
            "" if truth is None else ", the true mask outlined in yellow"
        )
    return Overlay(_side_by_side(drawn), text)


def _several(images: Any) -> list[Any]:
    from PIL import Image

    found: list[Any]
    if isinstance(images, str | Path | Image.Image):
        found = [images]
    elif isinstance(images, np.ndarray):
        one = images.ndim == 2 or (images.ndim == 3 and images.shape[-1] in (1, 3))
        found = [images] if one else list(images)
    elif isinstance(images, Sequence):
        found = list(images)
    else:
        raise DataError(f"images: got {type(images).__name__}; expected files, Pillow images or arrays")
    if not 1 <= len(found) <= MOST:
        raise DataError(f"images: got {len(found)}; expected 1 to {MOST}")
    return found


def _same_number(name: str, masks: Any, count: int) -> list[np.ndarray]:
    if isinstance(masks, np.ndarray) and masks.dtype != object:
        one = masks.ndim == 2 or (masks.ndim == 3 and masks.shape[-1] == 1)
        found = [masks] if count == 1 and one else list(masks)
    else:
        found = [np.asarray(one) for one in masks]
    if len(found) != count:
        raise DataError(f"{name}: got {len(found)}; expected one for each of {count} pictures")
    for place, one in enumerate(found):
        plain = one[..., 0] if one.ndim == 3 and one.shape[-1] == 1 else one
        if plain.ndim != 2 or plain.dtype.kind not in "biu":
            raise DataError(
                f"{name}: number {place} is {plain.dtype} of shape {plain.shape}; expected class numbers (height, width)"
            )
        found[place] = plain
    return found


def _drawn(image: Any, mask: np.ndarray, true: np.ndarray | None, scale: int, place: int) -> np.ndarray:
    grey = _pixels(image, place)
    grey = np.repeat(np.repeat(grey, scale, axis=0), scale, axis=1).astype(np.float64)
    fitted = _fitted(mask, grey.shape[:2])
    colours = np.array(COLOURS, np.float64)[(fitted - 1) % len(COLOURS)]
    shown = np.where((fitted > 0)[..., None], (1 - OPACITY) * grey + OPACITY * colours, grey)
    if true is not None:
        shown[_outline(_fitted(true, grey.shape[:2]))] = OUTLINE
    return shown.round().astype(np.uint8)


def _pixels(image: Any, place: int) -> np.ndarray:
    """(height, width, 3) uint8 of a file, a Pillow image or an array."""
    if isinstance(image, str | Path):
        path = Path(image)
        try:
            with path.open("rb") as stream:
                picture = decode.decode(stream, str(path), "middle")
        except OSError as failure:
            raise DataError(f"{path}: can't be read ({failure.strerror})") from None
        image = picture.image if picture.image is not None else picture.values
    values = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[-1] not in (1, 3) or values.dtype.kind not in "biuf":
        raise DataError(
            f"images: number {place} is {values.dtype} of shape {values.shape}; expected (height, width), or 1 or 3 "
            "channels after that"
        )
    if values.dtype != np.uint8:
        plain = values.astype(np.float64)
        low, high = float(plain.min()), float(plain.max())
        values = ((plain - low) / ((high - low) or 1.0) * 255).round().astype(np.uint8)
    return np.repeat(values, 3, axis=2) if values.shape[-1] == 1 else values


def _fitted(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A mask brought to a size: each pixel takes the class of the nearest place."""
    rows, columns = (
        np.minimum((np.arange(size) + 0.5) * own / size, own - 1).astype(np.int64)
        for size, own in zip(shape, mask.shape, strict=True)
    )
    result: np.ndarray = mask.astype(np.int64)[rows][:, columns]
    return result


def _outline(mask: np.ndarray) -> np.ndarray:
    """The places of a class that touch another class, above, below, left or right."""
    edge = np.zeros(mask.shape, bool)
    for axis in (0, 1):
        near = [slice(None), slice(None)]
        far = [slice(None), slice(None)]
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        differ = mask[tuple(near)] != mask[tuple(far)]
        edge[tuple(near)] |= differ
        edge[tuple(far)] |= differ
    return edge & (mask > 0)


def _side_by_side(drawn: list[np.ndarray]) -> Any:
    from PIL import Image

    height = max(one.shape[0] for one in drawn)
    width = sum(one.shape[1] for one in drawn) + GAP * (len(drawn) - 1)
    whole = Image.new("RGB", (width, height), (255, 255, 255))
    left = 0
    for one in drawn:
        whole.paste(Image.fromarray(one), (left, 0))
        left += one.shape[1] + GAP
    return whole
