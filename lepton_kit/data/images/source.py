"""Images in class folders, from a directory or a zip file, decoded once into byte arrays."""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lepton_kit.data.cache import walk
from lepton_kit.data.dataset import Dataset, dataset_of, is_whole
from lepton_kit.data.prepared import FolderWriter
from lepton_kit.data.splitting import check_split, split_rows
from lepton_kit.errors import ConfigError, DataError

EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp"}
UNSUPPORTED = {".gif", ".webp", ".tif", ".tiff", ".heic", ".svg"}
TRAIN = {"train", "training"}
HELD_OUT = ("val", "valid", "validation", "test")
MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}


class _Source:
    """The files below a directory or in a zip file, by their relative name."""

    def __init__(self, path: Path):
        self.path = path
        self.archive: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self.archive = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError) as failure:
                raise DataError(f"{path}: not a folder and not a readable zip file ({failure})") from None
        elif not path.is_dir():
            raise DataError(f"{path}: no such folder or zip file")

    def names(self) -> list[str]:
        if self.archive:
            names = [n for n in self.archive.namelist() if not n.endswith("/")]
        else:
            names = [file.relative_to(self.path).as_posix() for file in walk(self.path)]
        return sorted(n for n in names if not _hidden(n))

    def empty_folders(self) -> list[str]:
        if self.archive:
            return []
        empty = [Path(base) for base, below, files in os.walk(self.path) if not files and not below]
        return [n for n in (folder.relative_to(self.path).as_posix() for folder in empty) if not _hidden(n)]

    def read(self, name: str) -> bytes:
        try:
            return self.archive.read(name) if self.archive else (self.path / name).read_bytes()
        except (OSError, zipfile.BadZipFile, RuntimeError, ValueError) as failure:
            raise DataError(f"{self.where(name)}: cannot be read ({failure})") from None

    def where(self, name: str) -> str:
        return f"{self.path.name}/{name}"

    def close(self) -> None:
        if self.archive:
            self.archive.close()


def image_folder(
    path: str | Path,
    *,
    image_size: Sequence[int] | None = None,
    color_mode: str = "auto",
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Images in class folders, or in ``train/`` and ``val/`` with class folders inside; a folder or a zip file.

    Samples are uint8 ``(height, width, channels)``, 0..255; PNG, JPEG and BMP. ``image_size`` is (height, width);
    without it all images must have one size. ``color_mode`` is auto, grayscale, rgb or rgba. With a given
    ``val``, ``validation`` or ``test`` folder the split is that one, else ``validation_split`` of every class.
    """
    check_split(validation_split, seed)
    if color_mode not in ("auto", *MODES):
        raise ConfigError("data.color_mode", given=color_mode, rule="auto, grayscale, rgb or rgba")
    if image_size is not None and not (
        isinstance(image_size, Sequence) and len(image_size) == 2 and all(is_whole(n, 1) for n in image_size)
    ):
        raise ConfigError(
            "data.image_size", given=image_size, rule="(height, width), whole numbers of at least 1"
        )
    size = list(image_size) if image_size is not None else None
    return dataset_of(
        "image_folder",
        path,
        image_size=size,
        color_mode=color_mode,
        validation_split=validation_split,
        seed=seed,
    )


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Decode every image below ``path`` into ``(n, height, width, channels)`` uint8 arrays, values 0..255."""
    source = _Source(path)
    try:
        parts, class_names = _layout(source)
        height, width, mode = _common_format(source, [n for rows in parts.values() for n, _ in rows], options)
        if "validation" not in parts:
            rows = parts["train"]
            labels = np.array([label for _, label in rows])
            train, held = split_rows(len(rows), options["validation_split"], options["seed"], labels=labels)
            parts = {"train": [rows[i] for i in train], "validation": [rows[i] for i in held]}
        channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
        for split, rows in parts.items():
            if not rows:
                continue
            x = writer.array(split, "x", None, (len(rows), height, width, channels), np.uint8)
            for row, (name, _) in enumerate(rows):
                x[row] = _decode(source, name, (height, width), mode).reshape(height, width, channels)
            writer.put(split, "y", None, np.array([label for _, label in rows], np.int32))
    finally:
        source.close()
    writer.finish(
        task="classification", class_names=class_names, num_classes=len(class_names), value_range=(0.0, 255.0)
    )


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _layout(source: _Source) -> tuple[dict[str, list[tuple[str, int]]], list[str]]:
    """Which image belongs to which split and class: {split: [(name, label)]} and the class names, sorted."""
    images = []
    for name in source.names():
        extension = PurePosixPath(name).suffix.lower()
        if extension in UNSUPPORTED:
            raise DataError(f"{source.where(name)}: {extension} images are not read; allowed: PNG, JPEG, BMP")
        if extension in EXTENSIONS:
            images.append((name, name.split("/")))
    if not images:
        raise DataError(f"{source.path}: no PNG, JPEG or BMP image in it")
    depth = 0
    while len({parts[depth] for _, parts in images}) == 1 and all(len(p) - depth > 2 for _, p in images):
        if images[0][1][depth].lower() in TRAIN:
            break
        depth += 1
    loose = [name for name, parts in images if len(parts) - depth < 2]
    if loose:
        raise DataError(
            f"{source.where(loose[0])}: lies in no class folder; expected CLASS/image or train/CLASS/image"
        )
    tops = {parts[depth] for _, parts in images}
    if not {t.lower() for t in tops} <= TRAIN | set(HELD_OUT):
        found = {"train": [(name, parts[depth]) for name, parts in images]}
    else:
        found = _given_split(source, images, depth, {t.lower(): t for t in tops})
    for folder in source.empty_folders():
        raise DataError(f"{source.where(folder)}: an empty class folder; add images or remove it")
    class_names = sorted({label for _, label in found["train"]})
    if len(class_names) < 2:
        raise DataError(
            f"{source.path}: one class only ({class_names[0]!r}); expected at least two class folders"
        )
    extra = sorted({label for _, label in found.get("validation", [])} - set(class_names))
    if extra:
        raise DataError(f"{source.path}: class {extra[0]!r} is held out for validation but not in train")
    index = {name: label for label, name in enumerate(class_names)}
    return {split: [(n, index[c]) for n, c in rows] for split, rows in found.items()}, class_names


def _given_split(
    source: _Source, images: list[tuple[str, list[str]]], depth: int, tops: dict[str, str]
) -> dict[str, list[tuple[str, str]]]:
    train = next((tops[t] for t in sorted(tops) if t in TRAIN), None)
    if train is None:
        raise DataError(f"{source.path}: found the folders {sorted(tops.values())} but no train folder")
    held = next((tops[t] for t in HELD_OUT if t in tops), None)
    found: dict[str, list[tuple[str, str]]] = {}
    for name, parts in images:
        split = {train: "train", held: "validation"}.get(parts[depth])
        if split is None:
            continue
        if len(parts) - depth < 3:
            raise DataError(
                f"{source.where(name)}: lies in no class folder; expected {parts[depth]}/CLASS/image"
            )
        found.setdefault(split, []).append((name, parts[depth + 1]))
    return found


def _common_format(source: _Source, names: list[str], options: dict[str, Any]) -> tuple[int, int, str]:
    sizes: dict[tuple[int, int], str] = {}
    modes: Counter[str] = Counter()
    for name in names:
        with _open(source, name) as image:
            sizes.setdefault((image.height, image.width), name)
            modes[image.mode] += 1
    if options["image_size"] is not None:
        size = tuple(options["image_size"])
    elif len(sizes) > 1:
        (one, first), (two, second) = list(sizes.items())[:2]
        raise DataError(
            f"{source.where(second)} is {two[0]} x {two[1]} pixels, {source.where(first)} is {one[0]} x {one[1]}; "
            "give image_size=(height, width) to bring all to one size"
        )
    else:
        size = next(iter(sizes))
    if options["color_mode"] != "auto":
        return *size, MODES[options["color_mode"]]
    grey = all(mode in ("L", "1", "LA") or mode.startswith("I") for mode in modes)
    return *size, "L" if grey else "RGB"


def _open(source: _Source, name: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(source.read(name)))
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as failure:
        if isinstance(failure, DataError):
            raise
        raise DataError(f"{source.where(name)}: not a readable PNG, JPEG or BMP image") from failure


def _decode(source: _Source, name: str, size: tuple[int, int], mode: str) -> np.ndarray:
    from PIL import Image

    with _open(source, name) as image:
        try:
            image.load()
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            image = image.convert(mode)
            if (image.height, image.width) != size:
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as failure:
            raise DataError(f"{source.where(name)}: the image is broken ({failure})") from None
        return np.asarray(image)
