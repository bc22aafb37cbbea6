"""The rows of an image set before any is decoded: image, split, and its label or mask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from lepton_kit.data.images import masks
from lepton_kit.data.images.decode import OTHER_IMAGES, READ
from lepton_kit.data.images.labels import LABEL_FILES, labels_of, read_rows
from lepton_kit.data.images.layout import IGNORE, by_folder, hidden
from lepton_kit.data.images.preprocessing import image_names
from lepton_kit.data.images.source import outside
from lepton_kit.data.split_names import TEST, TRAIN, VALIDATION, split_of
from lepton_kit.data.zips import Files, open_files
from lepton_kit.errors import DataError


@dataclass(frozen=True, eq=False)
class Plan:
    """One entry a row: ``images``, ``splits`` (None: not given), ``y`` or ``masks``; names count from ``files``."""

    images: Sequence[str]
    task: str
    y: np.ndarray | None = None
    splits: Sequence[str] | None = None
    masks: Sequence[str] | None = None
    mask_files: Files | None = None
    volume_slice: int | str | None = None
    class_names: tuple[str, ...] | None = None
    target: str | None = None
    notes: tuple[str, ...] = ()

    def without(self, rows: Sequence[int], note: str) -> Plan:
        """The plan without some rows."""
        bad = set(rows)
        left = [row for row in range(len(self.images)) if row not in bad]
        return replace(
            self,
            images=[self.images[row] for row in left],
            y=self.y[left] if self.y is not None else None,
            splits=[self.splits[row] for row in left] if self.splits is not None else None,
            masks=[self.masks[row] for row in left] if self.masks is not None else None,
            notes=(*self.notes, note),
        )

    def mask_where(self, row: int) -> str:
        """How an error calls the mask of a row."""
        assert self.masks is not None
        assert self.mask_files is not None
        return self.mask_files.where(self.masks[row])

    def mask(self, row: int) -> np.ndarray:
        """The mask of a row as it is stored, int32 (h, w)."""
        assert self.masks is not None
        assert self.mask_files is not None
        with self.mask_files.open(self.masks[row]) as stream:
            return masks.read(stream, self.mask_where(row), self.volume_slice)


def plan_of(files: Files, options: dict[str, Any]) -> Plan:
    """What the files are, by their names and the labels. Raises `DataError` that names a file, a row or a folder."""
    names, others = image_names(files)
    notes = _others(files, others, options)
    if not names:
        raise DataError(f"{files.path}: no image in it; read are {READ}")
    if options["labels"] is not None:
        content, where = _labels_file(files, options["labels"])
        plan = _labelled(read_rows(content, where), names, options, where)
    elif options["label_pattern"] is not None:
        plan = _labelled(*_in_names(files, names, options), options, "label_pattern")
    elif options["masks"] is not None:
        plan = _masked(files, names, options)
    else:
        plan = _classes(files, names, others, options)
        notes += _empty(files, names, others, options)
    return replace(plan, notes=(*notes, *plan.notes))


def _others(files: Files, others: Sequence[str], options: dict[str, Any]) -> list[str]:
    """A note on files that are not read. Raises `DataError` for images of a kind that isn't."""
    unread = [name for name in others if name.lower().endswith(OTHER_IMAGES)]
    if unread and options["on_error"] == "raise":
        kind = PurePosixPath(unread[0]).suffix.lower()
        raise DataError(
            f"{files.where(unread[0])}: {kind} images are not read ({len(unread)} such files); read are {READ}: convert "
            "them, or leave them out with on_error='skip'"
        )
    kinds = Counter(
        PurePosixPath(name).suffix.lower() or "without extension"
        for name in others
        if name != options["labels"]
    )
    if not kinds:
        return []
    return [
        "files that are no images were left out: "
        + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(8))
    ]


def _classes(files: Files, names: Sequence[str], others: Sequence[str], options: dict[str, Any]) -> Plan:
    skip = options["on_error"] == "skip"
    layout = by_folder(names, options["splits"], files.path.name, skip, _tables(others))
    train = layout.splits.get(TRAIN, ())
    class_names = sorted({str(label) for _, label in train})
    if len(class_names) < 2:
        one = f"({class_names[0]!r})" if class_names else "or none"
        tables = _tables(others)
        there = f", or labels={tables[0]!r}, a table of file names and labels" if tables else ""
        raise DataError(f"{files.path}: one class only {one}; expected at least two class folders{there}")
    held = {str(label) for _, label in layout.splits.get(VALIDATION, ())}
    extra = sorted(held - set(class_names))
    if extra:
        raise DataError(f"{files.path}: class {extra[0]!r} is held out for validation but not in train")
    notes = list(layout.notes)
    if held and (never := sorted(set(class_names) - held)):
        notes.append(f"no validation image of the class {', '.join(never[:5])}")
    index = {name: label for label, name in enumerate(class_names)}
    rows = [(name, split, index[str(label)]) for split, part in layout.splits.items() for name, label in part]
    return Plan(
        images=[name for name, _, _ in rows],
        task="classification",
        y=np.array([label for _, _, label in rows], np.int32),
        splits=[split for _, split, _ in rows] if VALIDATION in layout.splits else None,
        class_names=tuple(class_names),
        notes=tuple(notes),
    )


def _empty(files: Files, names: Sequence[str], others: Sequence[str], options: dict[str, Any]) -> list[str]:
    """Folders beside the class folders that have no image. Raises `DataError` for one that has nothing at all."""
    empty = [name for name in files.empty_folders() if not hidden(name)]
    if empty and options["on_error"] == "raise":
        raise DataError(
            f"{files.where(empty[0])}: an empty class folder; add images, remove it, or leave it out with on_error='skip'"
        )
    full = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    beside = {str(PurePosixPath(name).parent.parent) for name in names}
    without = sorted(
        {
            str(PurePosixPath(name).parent)
            for name in others
            if str(PurePosixPath(name).parent) not in full
            and str(PurePosixPath(name).parent.parent) in beside
        }
    )
    return [f"no image in {', '.join([*empty, *without][:8])}: left out"] if empty or without else []


def _in_names(files: Files, names: Sequence[str], options: dict[str, Any]) -> tuple[Any, list[str]]:
    """A table of the labels that stand in the file names themselves, and the images that have one."""
    import pandas as pd

    found = {name: re.search(options["label_pattern"], name.rsplit("/", 1)[-1]) for name in names}
    without = [name for name, match in found.items() if match is None or not match.group(1)]
    if without and (options["on_error"] == "raise" or len(without) == len(names)):
        raise DataError(
            f"{files.where(without[0])}: label_pattern {options['label_pattern']!r} finds no label in the name "
            f"({len(without)} of {len(names)} such images); on_error='skip' leaves them out"
        )
    labels = {name: match.group(1) for name, match in found.items() if match is not None and match.group(1)}
    return pd.DataFrame({"image": list(labels), "label": list(labels.values())}), list(labels)


def _labelled(frame: Any, names: Sequence[str], options: dict[str, Any], where: str) -> Plan:
    """The plan of a table of image names and labels; splits by a column of it, else by folders that spell them."""
    found = labels_of(frame, names, options, where)
    notes = list(found.notes)
    splits: list[str] | None = [str(split) for split in found.splits]
    rows = [row for row, split in enumerate(found.splits) if split != IGNORE]
    if None in found.splits:
        splits, rows, said = _folder_splits(found.images, options)
        notes += said
    elif splits is not None:
        splits = [splits[row] for row in rows] if VALIDATION in splits else None
    if found.task == "classification" and len(set(found.y[rows].tolist())) < 2:
        raise DataError(
            f"{where}: one class only ({(found.class_names or ['?'])[0]!r}); expected at least two"
        )
    return Plan(
        images=[found.images[row] for row in rows],
        task=found.task,
        y=found.y[rows],
        splits=splits,
        class_names=tuple(found.class_names) if found.class_names is not None else None,
        target=found.name,
        notes=tuple(notes),
    )


def _tables(names: Sequence[str]) -> list[str]:
    """The files that may hold labels, the likely ones first: not those of a test or a submission."""
    found = [name for name in names if name.lower().endswith(LABEL_FILES) and not hidden(name)]
    return sorted(found, key=lambda name: (re.search("submission|test|val", name.lower()) is not None, name))


def _labels_file(files: Files, name: str) -> tuple[bytes, str]:
    """The content of the labels: in the folder or archive, by its path or name there, or beside it."""
    place = outside(files.path, name)
    if place is not None:
        try:
            return place.read_bytes(), place.name
        except OSError as failure:
            raise DataError(f"{place}: cannot be read ({failure.strerror})") from None
    inside = files.names()
    if name not in inside:
        named = [one for one in inside if one.rsplit("/", 1)[-1] == name]
        if len(named) != 1:
            tables = _tables(inside) or [one for one in inside if one.lower().endswith(".txt")]
            raise DataError(
                f"{files.path}: labels={name!r}: {'several files' if named else 'no file'} of that name in it or beside "
                f"it; there is {', '.join(tables[:5]) or 'no CSV file'}"
            )
        name = named[0]
    return files.read(name), name


def _masked(files: Files, names: Sequence[str], options: dict[str, Any]) -> Plan:
    place = outside(files.path, options["masks"])
    folder, mask_files = options["masks"], files
    if place is not None:
        mask_files, folder = open_files(place), place.name
        names = [*names, *(f"{folder}/{name}" for name in image_names(mask_files)[0])]
    together, notes = masks.pairs(names, folder, str(files.path), options["on_error"])
    splits, kept, more = _folder_splits([image for image, _ in together], options)
    together = [together[row] for row in kept]
    return Plan(
        images=[image for image, _ in together],
        task="other",
        splits=splits,
        masks=[mask.removeprefix(f"{folder}/") if place is not None else mask for _, mask in together],
        mask_files=mask_files,
        volume_slice=options["volume_slice"],
        notes=(*notes, *more),
    )


def _folder_splits(
    images: Sequence[str], options: dict[str, Any]
) -> tuple[list[str] | None, list[int], list[str]]:
    """Splits by any folder of an image's path that spells one; the rows that are used; notes."""
    named = options["splits"] if isinstance(options["splits"], dict) else {}

    def told(image: str) -> str | None:
        folders = image.split("/")[:-1]
        return next(
            (named.get(part, split_of(part)) for part in folders if part in named or split_of(part)), None
        )

    found = [told(image) for image in images]
    if options["splits"] == "none" or TRAIN not in found or None in found or len(set(found)) < 2:
        return None, list(range(len(images))), []
    notes = []
    if VALIDATION in found and TEST in found:
        notes.append(f"{found.count(TEST)} test images are left alone")
        found = [IGNORE if split == TEST else split for split in found]
    kept = [row for row, split in enumerate(found) if split != IGNORE]
    return [VALIDATION if found[row] == TEST else str(found[row]) for row in kept], kept, notes
