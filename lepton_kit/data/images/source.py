"""Images in folders or archives, with classes, labels or masks, decoded once into arrays of samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lepton_kit.data.dataset import Dataset, dataset_of, is_whole
from lepton_kit.data.images.layout import hidden
from lepton_kit.data.images.medical import check_slice
from lepton_kit.data.images.preprocessing import MODES, NO_IMAGES
from lepton_kit.data.splitting import check_split
from lepton_kit.data.zips import walk
from lepton_kit.errors import ConfigError

TASKS = ("auto", "classification", "multilabel", "regression")
SPLITS = ("train", "validation", "test", "ignore")


def image_folder(
    path: str | Path,
    *,
    image_size: Sequence[int] | None = None,
    color_mode: str = "auto",
    background: int | Sequence[int] = 255,
    intensity_range: Sequence[float] | None = None,
    volume_slice: int | str | None = None,
    splits: Mapping[str, str] | str | None = None,
    labels: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    split_column: str | None = None,
    label_separator: str | None = None,
    label_pattern: str | None = None,
    task: str = "auto",
    masks: str | Path | None = None,
    mask_classes: Sequence[str] | Mapping[str, Any] | None = None,
    on_error: str = "raise",
    validation_split: float = 0.2,
    seed: int = 0,
    cache: bool = True,
) -> Dataset:
    """Images of a folder, a zip or a tar archive: in class folders, with labels in a table, or with masks.

    Samples are uint8 ``(height, width, channels)``, 0..255: PNG, JPEG, BMP, GIF and TIFF (the first frame), WebP, and
    with ``pip install lepton-kit[medical]`` DICOM and NIfTI, told by their content, turned as EXIF says. Images of over
    8 bits a channel become float32, 0..255: ``intensity_range`` (low, high), by default the lowest and highest value of
    the training images, becomes 0 and 255. ``background`` (grey or red, green, blue) is what transparent pixels
    lie on, but for ``color_mode`` "rgba"; the others are auto, grayscale and rgb. ``image_size`` is (height, width);
    without it all images must have one size. ``volume_slice``: "middle" or a number, of files that hold a volume.

    Folders are ``CLASS/image``, or with ``train`` and ``validation`` (in the usual spellings) around or inside the
    classes; else ``validation_split`` of every class is held out. ``splits`` says what a folder is: name -> train,
    validation, test or ignore; "none": they are all classes. ``labels`` is a CSV or JSON lines file that has a column of image names
    and one of labels (several of 0 and 1; several labels joined by ``label_separator``; numbers are a
    regression); ``label_pattern`` is a regular expression whose group finds the label in a file's name, such as
    ``r"^(cat|dog)\\."``. ``masks`` is the folder of masks, or the end of their names: ``y`` is then int32 ``(height, width)``.
    ``mask_classes`` names their classes: names, or name -> value or [red, green, blue]. ``on_error="skip"``
    leaves damaged images out, and says so. ``cache=False`` makes no decoded copy: images are decoded whenever they are
    wanted, ahead of training.

    >>> image_folder("photos", image_size=(64, 64)).options["image_size"]
    [64, 64]
    """
    check_split(validation_split, seed)
    check_slice(volume_slice)
    _one_of("color_mode", color_mode, ("auto", *MODES))
    _one_of("on_error", on_error, ("raise", "skip"))
    _one_of("task", task, TASKS)
    if image_size is not None and not (
        isinstance(image_size, Sequence) and len(image_size) == 2 and all(is_whole(n, 1) for n in image_size)
    ):
        raise ConfigError(
            "data.image_size", given=image_size, rule="(height, width), whole numbers of at least 1"
        )
    if masks is not None and (labels is not None or label_pattern is not None):
        raise ConfigError("data.masks", given=str(masks), rule="labels or masks, not both")
    for name, value in (("image_column", image_column), ("split_column", split_column)):
        if value is not None and (labels is None or not isinstance(value, str)):
            raise ConfigError(f"data.{name}", given=value, rule="a column's name, together with labels")
    if label_separator is not None and (not isinstance(label_separator, str) or not label_separator):
        raise ConfigError("data.label_separator", given=label_separator, rule="text between two labels")
    if (
        splits is not None
        and splits != "none"
        and not (isinstance(splits, Mapping) and splits and set(splits.values()) <= set(SPLITS))
    ):
        raise ConfigError(
            "data.splits", given=splits, rule="folder -> train, validation, test or ignore; or 'none'"
        )
    return dataset_of(
        "image_folder",
        path,
        image_size=list(image_size) if image_size is not None else None,
        color_mode=color_mode,
        background=_background(background),
        intensity_range=_range(intensity_range),
        volume_slice=volume_slice,
        splits=dict(splits) if isinstance(splits, Mapping) else splits,
        labels=_beside(path, labels),
        image_column=image_column,
        label_column=list(label_column) if isinstance(label_column, list | tuple) else label_column,
        split_column=split_column,
        label_separator=label_separator,
        label_pattern=_pattern(label_pattern, labels),
        task=task,
        masks=_beside(path, masks),
        mask_classes=_mask_classes(mask_classes),
        on_error=on_error,
        validation_split=validation_split,
        seed=seed,
        cache=_cached(cache, masks),
    )


def _cached(cache: bool, masks: Any) -> bool:
    if not cache and masks is not None:
        raise ConfigError("data.cache", given=cache, rule="true: masks are read from a decoded copy alone")
    return bool(cache)


def inputs(path: Path, options: Mapping[str, Any]) -> list[Path]:
    """The files that the data are made from: images below ``path``, and labels and masks wherever they lie.

    Not what systems and people leave beside them (``.DS_Store``, notes, logs), which changes nothing.
    """
    labels = options["labels"]

    def counts(name: str) -> bool:
        named = labels is not None and name.rsplit("/", 1)[-1] == labels.rsplit("/", 1)[-1]
        return named or not (hidden(name) or name.lower().endswith(NO_IMAGES))

    found = [path]
    if path.is_dir():
        found = [file for file in walk(path) if counts(file.relative_to(path).as_posix())]
    for name in (labels, options["masks"]):
        place = outside(path, name) if name else None
        if place is not None:
            found += walk(place) if place.is_dir() else [place]
    return found


def outside(path: Path, name: str) -> Path | None:
    """The file or folder ``name`` of labels or masks where it doesn't lie inside the images' folder or archive."""
    if path.is_dir() and (path / name).exists() and not Path(name).is_absolute():
        return None
    place = path.parent / name  # an absolute name stays what it is
    return place if place.exists() and (Path(name).is_absolute() or path not in place.parents) else None


def _beside(path: str | Path, name: str | Path | None) -> str | None:
    """Labels or masks as a name that counts from the images; one that counts from the current folder made absolute."""
    if name is None:
        return None
    if not isinstance(name, str | Path) or not str(name):
        raise ConfigError("data.labels or data.masks", given=name, rule="the name of a file or folder")
    plain = Path(name).expanduser()
    folder = Path(path).expanduser().absolute() if isinstance(path, str | Path) else Path()
    if (folder / plain).exists() and not plain.is_absolute():
        return str(name)
    if plain.is_absolute() or (plain.exists() and not (folder.parent / plain).exists()):
        full = plain.absolute()
        return str(full.relative_to(folder)) if folder in full.parents else str(full)
    return str(name)


def _pattern(value: Any, labels: Any) -> str | None:
    if value is None:
        return None
    rule = "a regular expression with one group, the label; not together with labels"
    try:
        good = labels is None and isinstance(value, str) and re.compile(value).groups == 1
    except re.error as failure:
        rule, good = f"{rule} ({failure})", False
    if not good:
        raise ConfigError("data.label_pattern", given=value, rule=rule)
    return str(value)


def _one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"data.{name}", given=value, rule=f"{', '.join(allowed[:-1])} or {allowed[-1]}")


def _background(value: Any) -> list[int] | int:
    parts = list(value) if isinstance(value, list | tuple) else [value]
    if len(parts) not in (1, 3) or not all(is_whole(part, 0) and part <= 255 for part in parts):
        raise ConfigError("data.background", given=value, rule="0 to 255, or (red, green, blue) of these")
    return parts if len(parts) == 3 else parts[0]


def _range(value: Any) -> list[float] | None:
    if value is None:
        return None
    numbers = isinstance(value, list | tuple) and all(
        isinstance(part, int | float) and not isinstance(part, bool) for part in value
    )
    if not numbers or len(value) != 2 or not value[0] < value[1]:
        raise ConfigError(
            "data.intensity_range", given=value, rule="(low, high), two numbers, low below high"
        )
    return [float(part) for part in value]


def _mask_classes(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        for one in value.values():
            parts = list(one) if isinstance(one, list | tuple) else [one]
            if len(parts) not in (1, 3) or not all(is_whole(part, 0) for part in parts):
                raise ConfigError(
                    "data.mask_classes", given=value, rule="name -> a whole number or [red, green, blue]"
                )
        return {str(key): list(one) if isinstance(one, tuple) else one for key, one in value.items()}
    if isinstance(value, str) or not all(isinstance(one, str) for one in value):
        raise ConfigError("data.mask_classes", given=value, rule="a list of names, or name -> value")
    return list(value)
