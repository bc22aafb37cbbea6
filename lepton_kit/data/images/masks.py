"""Masks of images: which mask belongs to which image, and which class each of their values stands for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np

from lepton_kit.data.images import decode
from lepton_kit.errors import DataError

MARKS = (
    "mask",
    "masks",
    "seg",
    "segmentation",
    "label",
    "labels",
    "gt",
    "annotation",
    "groundtruth",
    "matte",
)
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "pictures", "photos", "x", "original", "originals")
MAX_VALUES = 256
COLOUR = 2**24
"""Added to red * 65536 + green * 256 + blue, so that no colour has the number of a grey value."""


def pairs(
    names: Sequence[str], masks: str, where: str, on_error: str = "raise"
) -> tuple[list[tuple[str, str]], list[str]]:
    """[(image, mask)] and notes. ``masks`` is a folder's name, or what a mask's name has behind the image's.

    Raises `DataError` that names the image without a mask.

    >>> pairs(["images/1.jpg", "masks/1.png"], "masks", "set")[0]
    [('images/1.jpg', 'masks/1.png')]
    >>> pairs(["1.jpg", "1_mask.png"], "_mask", "set")[0]
    [('1.jpg', '1_mask.png')]
    """
    folder = masks.strip("/")
    inside = [name for name in names if _within(name, folder)]
    found: dict[str, str] = {}
    if inside:
        images = [name for name in names if not _within(name, folder)]
        for name in inside:
            _add(found, _key(name, folder), name, where)
    else:
        images = [name for name in names if not _stem(name).endswith(masks)]
        for name in names:
            if _stem(name).endswith(masks):
                _add(found, _stem(name)[: -len(masks)], name, where)
    if not found:
        raise DataError(
            f"{where}: no masks: no folder {masks!r} with images and no image whose name ends with {masks!r}"
        )
    together, without = [], []
    keys = [_key(name, None) if inside else _stem(name) for name in images]
    # Folders of other names, such as JPEGImages and SegmentationClass: file names alone, where each is there once.
    of_images = _once(keys)
    alone = {base: key for base, key in _once(list(found)).items() if base in of_images}
    for name, key in zip(images, keys, strict=True):
        mask = found.pop(key, None) or found.pop(alone.get(_base(key), ""), None)
        if mask is None:
            without.append(name)
        else:
            together.append((name, mask))
    notes = []
    if without or not together:
        said = f"{where}: {len(without)} of {len(images)} images have no mask in {masks!r}"
        said += f", such as {without[0]!r}" if without else ""
        if on_error == "raise" or not together:
            raise DataError(f"{said}; expected a mask of the same name; on_error='skip' leaves them out")
        notes.append(said + "; left out")
    if found:
        notes.append(f"{len(found)} masks have no image, such as {next(iter(found.values()))!r}; left out")
    return together, notes


def _within(name: str, folder: str) -> bool:
    return f"/{folder.lower()}/" in f"/{name.rsplit('/', 1)[0].lower()}/" and "/" in name


def _stem(name: str) -> str:
    base = re.sub(r"\.(nii\.gz|[A-Za-z0-9]+)$", "", name.rsplit("/", 1)[-1])
    folder = name.rpartition("/")[0]
    return f"{folder}/{base}" if folder else base


def _key(name: str, folder: str | None) -> str:
    """What an image and its mask have in common: folders but for the images' and the masks', name without marks."""
    parts = _stem(name).split("/")
    skipped = folder.lower().split("/") if folder else []
    kept = [part for part in parts[:-1] if part.lower() not in (*skipped, *IMAGE_FOLDERS)]
    words = "|".join(MARKS)
    base = re.sub(rf"([_\-. ]({words}))+$|^(({words})[_\-. ])+", "", parts[-1], flags=re.IGNORECASE)
    return "/".join([*kept, base])


def _base(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _once(keys: Sequence[str]) -> dict[str, str]:
    """{file name: key} of the names that only one key has."""
    counts = Counter(map(_base, keys))
    return {_base(key): key for key in keys if counts[_base(key)] == 1}


def _add(found: dict[str, str], key: str, name: str, where: str) -> None:
    if key in found:
        raise DataError(f"{where}: {found[key]!r} and {name!r} are masks of one image; join them to one file")
    found[key] = name


def read(stream: IO[bytes], where: str, volume_slice: Any = None) -> np.ndarray:
    """A mask as it is stored: palette places or grey values ``(h, w)`` int32, or colours as `_value` has them.

    Raises `DataError` that names the file.
    """
    picture = decode.decode(stream, where, volume_slice)
    if picture.image is None:
        values = np.asarray(picture.values)
        if values.shape[2] != 1 or not np.array_equal(values, np.round(values)):
            raise DataError(f"{where}: a mask of colours or fractions; expected a whole number a pixel")
        return values[..., 0].astype(np.int32)
    image = picture.image
    if image.mode in ("1", "L", "P"):
        return np.asarray(image).astype(np.int32)
    colours = np.asarray(image.convert("RGB")).astype(np.int32)
    grey = (colours == colours[..., :1]).all(axis=-1)
    return np.where(grey, colours[..., 0], COLOUR + colours @ np.array([65536, 256, 1], np.int32))


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label map (h, w) at another size, each pixel the nearest one's label.

    >>> resized(np.array([[1, 2], [3, 4]], np.int32), (4, 4))[0].tolist()
    [1, 1, 2, 2]
    """
    if mask.shape == size:
        return mask
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(size, mask.shape, strict=True)
    )
    result: np.ndarray = mask[rows][:, columns]
    return result


def classes_of(
    values: Sequence[int], given: Any, where: str, lossy: bool = False
) -> tuple[dict[int, int], tuple[str, ...] | None, list[str]]:
    """(stored value -> class, class names, notes) from all values that the masks hold, and ``mask_classes``.

    0 and 255 (or 0 and another value) are two classes; values 0, 1, 2… are classes as they are; others by their order.
    ``given`` is a list of names, or name -> value, or name -> [red, green, blue]; ``lossy``: the masks are JPEGs.

    >>> classes_of([0, 255], None, "masks")[0]
    {0: 0, 255: 1}
    """
    values = sorted(values)
    if isinstance(given, Mapping):
        places = {_value(value): place for place, value in enumerate(given.values())}
        unknown = [value for value in values if value not in places]
        if unknown and not lossy:
            raise DataError(f"{where}: the masks hold {_shown(unknown)}, which mask_classes doesn't name")
        return places, tuple(given), []
    if lossy and len(values) > 2:
        raise DataError(
            f"{where}: the masks are JPEG files with {len(values)} different values, as JPEG changes values; store them as "
            "PNG, or name the values: mask_classes={'ground': 0, 'object': 255} takes each pixel to the nearest"
        )
    if len(values) > MAX_VALUES:
        raise DataError(
            f"{where}: the masks hold {len(values)} different values; at most {MAX_VALUES} can be classes. Name them: "
            "mask_classes={'road': [128, 64, 128], …}"
        )
    names = tuple(given) if given is not None else None
    if names is not None and values[0] >= 0 and values[-1] < len(names):
        return {value: value for value in range(len(names))}, names, []
    if names is not None and len(names) != len(values):
        raise DataError(
            f"{where}: mask_classes has {len(names)} names; the masks hold {len(values)} values: {_shown(values)}"
        )
    notes: list[str] = []
    places = {value: place for place, value in enumerate(values)}
    if values not in (list(range(len(values))), [0, 255]):
        notes.append(f"mask values {_shown(values)} became the classes 0 to {len(values) - 1}, in this order")
    return places, names, notes


def labelled(mask: np.ndarray, places: Mapping[int, int], lossy: bool, where: str) -> np.ndarray:
    """A stored mask as classes, int32; ``lossy``: each pixel's is that of the nearest value, by red, green and blue.

    Raises `DataError` for a value that stands for no class.
    """
    values, inverse = np.unique(mask, return_inverse=True)
    if lossy:
        known = np.array(sorted(places))
        colours = _colours(values)
        values = known[
            np.stack([np.square(colours - one).sum(axis=1) for one in _colours(known)]).argmin(axis=0)
        ]
    unknown = [int(value) for value in values if int(value) not in places]
    if unknown:
        raise DataError(f"{where}: the mask holds {_shown(unknown)}, which is no class of the training masks")
    return np.array([places[int(value)] for value in values], np.int32)[inverse].reshape(mask.shape)


def _colours(values: np.ndarray) -> np.ndarray:
    """Red, green and blue of stored values, shape ``(values, 3)``: a grey one is its value three times."""
    values = values.astype(np.int64)[:, None]
    return np.where(values < COLOUR, values, values >> np.array([16, 8, 0]) & 255)


def _value(value: Any) -> int:
    if isinstance(value, int):
        return value
    red, green, blue = value
    return int(red) if red == green == blue else COLOUR + int(red) * 65536 + int(green) * 256 + int(blue)


def _shown(values: Sequence[int]) -> str:
    shown = [str(v) if v < COLOUR else f"({v >> 16 & 255}, {v >> 8 & 255}, {v & 255})" for v in values[:8]]
    return ", ".join(shown) + (", …" if len(values) > 8 else "")
