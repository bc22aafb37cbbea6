"""From the files of an image set to prepared arrays: plan the rows, look at every head, decode on all cores."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.images import decode, masks
from lepton_kit.data.images.plan import Plan, plan_of
from lepton_kit.data.images.preprocessing import ImagePreprocessing
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.splitting import split_rows
from lepton_kit.data.writing import FolderWriter
from lepton_kit.data.zips import Files, open_files
from lepton_kit.errors import DataError
from lepton_kit.machine.devices import usable_cores

SHOWN = 3
LARGE = 2**24
"""Pixels of an image that is decoded alone."""


class MixedSizes(DataError):
    """The images have several sizes and none was asked for; ``image_size`` (height, width) is a proposal."""

    def __init__(self, message: str, image_size: tuple[int, int]):
        super().__init__(message)
        self.image_size = image_size

    def __reduce__(self) -> tuple[object, ...]:
        return MixedSizes, (str(self), self.image_size)


@dataclass
class _Work:
    """Runs a function over rows on all cores, in their order, and counts them for the caller's progress."""

    progress: Callable[[int, int], None] | None
    total: int
    done: int = 0

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        found = []
        # Pillow and zlib work without the interpreter's lock, so threads do what processes would.
        with ThreadPoolExecutor(usable_cores()) as pool:
            for result in pool.map(function, items):
                found.append(result)
                self.done += 1
                if self.progress is not None:
                    self.progress(min(self.done, self.total), self.total)
        return found


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Decode every image of ``path`` into ``(n, height, width, channels)`` arrays; see `image_folder`."""
    with ImageSet(path, options, getattr(writer, "progress", None)) as found, decode.quiet():
        if not options["cache"]:
            from lepton_kit.data.large.pictures import write_index  # it decodes as this module does

            write_index(found, path, writer)
            return
        flat: list[str] = []
        for split, rows in found.rows.items():
            if len(rows):
                flat += _write(found, split, rows, writer)
        writer.finish(**found.meta(flat))


class ImageSet:
    """An image set of which every file was looked at; any thread may `read` its rows.

    ``rows``: split -> rows, int64. Raises `DataError` as `image_folder` does when it is prepared.
    """

    def __init__(
        self, path: Path, options: dict[str, Any], progress: Callable[[int, int], None] | None = None
    ):
        self.options = options
        self.files = open_files(path)
        try:
            with decode.quiet():
                plan = plan_of(self.files, options)
                # Every file is looked at and then decoded; where its range or soundness must be known first, twice.
                self.work = _Work(progress, 2 * len(plan.images))
                self.plan, self.forms = _looked_at(self.files, plan, options, self.work)
                self.rows = _rows(self.plan, options)
                plain = _preprocessing(self.files, self.plan, self.rows, self.forms, options, self.work)
                self.values = _Values(self.plan, self.rows, options, self.work)
        except BaseException:
            self.files.close()
            raise
        self.preprocessing = plain.model_copy(update={"target": self.values.target})
        self.work.total = self.work.done + sum(map(len, self.rows.values()))
        self._large = threading.Lock()

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A sample, and with masks the class of each pixel, int32 (h, w). Raises `DataError` that names the file."""
        form, name, plain = self.forms[row], self.plan.images[row], self.preprocessing
        # One large image at a time, or as many as there are cores would fill the memory.
        with self._large if form.height * form.width > LARGE else nullcontext():
            try:
                with self.files.open(name) as stream:
                    picture = decode.decode(stream, self.files.where(name), plain.volume_slice)
                sample = plain.sample(picture)
            except DataError as failure:
                raise _advised(failure) from None
        if self.plan.masks is None:
            return sample, None
        mask = self.plan.mask(row)
        _check_mask(self.plan, row, mask, picture.form)
        return sample, masks.resized(self.values.labelled(mask, row), plain.image_size)

    def meta(self, flat: Sequence[str] = ()) -> dict[str, Any]:
        """What is stored beside the arrays; ``flat`` names the images that are of one colour."""
        notes = [*self.plan.notes, *_form_notes(self.plan, self.forms, self.preprocessing, self.options)]
        notes += self.values.notes
        if flat:
            notes.append(f"{len(flat)} images are of one colour only, such as {flat[0]}")
        return {
            "task": self.plan.task,
            "class_names": self.values.class_names,
            "num_classes": self.values.num_classes,
            "value_range": (0.0, 255.0),
            "details": {"notes": notes} if notes else {},
            "preprocessing": self.preprocessing.model_dump(mode="json"),
        }

    def __enter__(self) -> ImageSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()
        if self.plan.mask_files is not None:
            self.plan.mask_files.close()


def _advised(failure: DataError) -> DataError:
    return DataError(f"{failure}; on_error='skip' leaves such files out and names them")


def _check_mask(plan: Plan, row: int, mask: np.ndarray, form: decode.Form) -> None:
    if mask.shape != (form.height, form.width):
        raise DataError(
            f"{plan.mask_where(row)}: a mask of {mask.shape} pixels for an image of {(form.height, form.width)}"
        )


def _looked_at(
    files: Files, plan: Plan, options: dict[str, Any], work: _Work
) -> tuple[Plan, list[decode.Form]]:
    """The form of every image; with on_error="skip" those that can't be decoded are left out of the plan."""
    skip, volume = options["on_error"] == "skip", options["volume_slice"]

    def look(row: int) -> decode.Form | str:
        where = files.where(plan.images[row])
        try:
            with files.open(plan.images[row]) as stream:
                form = (
                    decode.decode(stream, where, volume).form
                    if skip
                    else decode.form_of(stream, where, volume)
                )
            if skip and plan.masks is not None:
                _check_mask(plan, row, plan.mask(row), form)
            return form
        except DataError as failure:
            if not skip:
                raise _advised(failure) from None
            return str(failure)

    found = work.map(look, range(len(plan.images)))
    bad = [row for row, form in enumerate(found) if isinstance(form, str)]
    if bad:
        said = "; ".join(found[row] for row in bad[:SHOWN])
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        plan = plan.without(
            bad, f"{len(bad)} of {len(found)} images can't be read and are left out: {said}{more}"
        )
        if plan.task == "classification" and plan.y is not None and plan.class_names is not None:
            left = set(plan.y.tolist())
            gone = [name for label, name in enumerate(plan.class_names) if label not in left]
            if gone and plan.images:
                raise DataError(f"{files.path}: no image of class {gone[0]!r} can be read: {said}")
        if not plan.images:
            raise DataError(f"{files.path}: no image of {len(found)} can be read: {said}")
    return plan, [form for form in found if not isinstance(form, str)]


def _rows(plan: Plan, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """The rows of each split."""
    if plan.splits is not None:
        named = np.array(plan.splits)
        return {split: np.flatnonzero(named == split) for split in ("train", "validation")}
    labels = plan.y if plan.task == "classification" else None
    train, held = split_rows(len(plan.images), options["validation_split"], options["seed"], labels=labels)
    return {"train": train, "validation": held}


def _preprocessing(
    files: Files,
    plan: Plan,
    rows: dict[str, np.ndarray],
    forms: Sequence[decode.Form],
    options: dict[str, Any],
    work: _Work,
) -> ImagePreprocessing:
    used = np.concatenate(list(rows.values()))
    train = [forms[row] for row in rows["train"]]
    sizes = Counter((forms[row].height, forms[row].width) for row in used)
    if options["image_size"] is None and len(sizes) > 1:
        raise _mixed(files, plan, forms, used, sizes)
    image_size = tuple(options["image_size"] or next(iter(sizes)))
    color_mode = options["color_mode"]
    if color_mode == "auto":
        color_mode = "grayscale" if all(forms[row].grey for row in used) else "rgb"
    ground = options["background"]
    deep = [row for row in rows["train"] if forms[row].deep]
    span = None
    if deep:
        span = options["intensity_range"] or _span(files, plan, deep, options, work)
    return ImagePreprocessing(
        image_size=image_size,
        color_mode=color_mode,
        background=tuple(ground) if isinstance(ground, list) else (ground,) * 3,
        intensity_range=span,
        volume_slice=options["volume_slice"],
        trained_on=tuple(sorted({"grayscale" if form.grey else "rgb" for form in train})),
        native_size=set(sizes) == {image_size},
    )


def proposed_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """The size that most images have, else the median height and width.

    >>> proposed_size(Counter({(4, 4): 1, (6, 8): 1, (5, 5): 1}))
    (5, 5)
    """
    (common, count), total = sizes.most_common(1)[0], sum(sizes.values())
    if 2 * count > total:
        return common
    heights, widths = (np.repeat([size[axis] for size in sizes], list(sizes.values())) for axis in (0, 1))
    return int(np.median(heights)), int(np.median(widths))


def _mixed(
    files: Files, plan: Plan, forms: Sequence[decode.Form], used: np.ndarray, sizes: Counter[tuple[int, int]]
) -> MixedSizes:
    common = sizes.most_common(1)[0][0]
    other = next(row for row in used if (forms[row].height, forms[row].width) != common)
    first = next(row for row in used if (forms[row].height, forms[row].width) == common)
    size = proposed_size(sizes)
    return MixedSizes(
        f"{files.where(plan.images[other])} is {forms[other].height} x {forms[other].width} pixels, "
        f"{files.where(plan.images[first])} is {common[0]} x {common[1]}; {len(sizes)} sizes in all: give "
        f"image_size=(height, width) to bring all to one, such as {size}",
        size,
    )


def _span(
    files: Files, plan: Plan, deep: Sequence[int], options: dict[str, Any], work: _Work
) -> tuple[float, float]:
    """The lowest and highest value of the training images with over 8 bits a channel."""

    def ends(row: int) -> tuple[float, float]:
        with files.open(plan.images[row]) as stream:
            values = decode.decode(stream, files.where(plan.images[row]), options["volume_slice"]).values
        assert values is not None
        return float(values.min()), float(values.max())

    work.total += len(deep)
    found = np.array(work.map(ends, deep))
    low, high = float(found[:, 0].min()), float(found[:, 1].max())
    return low, high if high > low else low + 1.0


def _write(found: ImageSet, split: str, rows: np.ndarray, writer: FolderWriter) -> list[str]:
    """Decode the rows of a split; returns the images that are of one colour."""
    plain = found.preprocessing
    x = writer.array(split, "x", None, (len(rows), *plain.sample_shape), plain.dtype)
    if found.plan.masks is None:
        writer.put(split, "y", None, found.values.y[rows])
        y = None
    else:
        y = writer.array(split, "y", None, (len(rows), *plain.image_size), np.int32)

    def fill(place: int) -> bool:
        sample, classes = found.read(rows[place])
        x[place] = sample
        if y is not None:
            y[place] = classes
        return bool((sample[..., :3] == sample[0, 0, :3]).all())

    flat = found.work.map(fill, range(len(rows)))
    return [found.files.where(found.plan.images[rows[place]]) for place, one in enumerate(flat) if one]


class _Values:
    """The targets: class numbers, several labels, standardised numbers, or the classes of mask values."""

    def __init__(self, plan: Plan, rows: dict[str, np.ndarray], options: dict[str, Any], work: _Work):
        self.plan, self.notes = plan, []  # type: ignore[var-annotated]  # sentences
        self.class_names, self.target = plan.class_names, Target(task="other")
        self.num_classes = len(plan.class_names) if plan.class_names is not None else None
        task: Any = plan.task
        if plan.masks is not None:
            self._masks(rows, options, work)
        elif plan.task == "regression":
            assert plan.y is not None
            known = plan.y[rows["train"]]
            mean, scale = float(known.mean()), float(known.std()) or 1.0
            self.y = ((plan.y - mean) / scale).astype(np.float32)
            self.target = Target(task=task, name=plan.target, mean=(mean,), scale=(scale,))
        else:
            assert plan.y is not None
            self.y = plan.y
            self.target = Target(task=task, name=plan.target, class_names=self.class_names)

    def _masks(self, rows: dict[str, np.ndarray], options: dict[str, Any], work: _Work) -> None:
        plan = self.plan
        used = np.concatenate(list(rows.values()))
        work.total += len(used)
        found: set[int] = set()
        for values in work.map(lambda row: np.unique(plan.mask(row)).tolist(), used):
            found.update(values)
        assert plan.masks is not None
        self.lossy = any(name.lower().endswith((".jpg", ".jpeg", ".jfif")) for name in plan.masks)
        where = plan.mask_where(0).rpartition("/")[0]
        places, names, self.notes = masks.classes_of(
            sorted(found), options["mask_classes"], where, self.lossy
        )
        self.places, self.class_names = places, names
        self.num_classes = max(places.values()) + 1
        self.target = Target(task="other", class_names=names)

    def labelled(self, mask: np.ndarray, row: int) -> np.ndarray:
        """The classes of a mask's pixels."""
        return masks.labelled(mask, self.places, self.lossy, self.plan.mask_where(row))


def _form_notes(
    plan: Plan, forms: Sequence[decode.Form], preprocessing: ImagePreprocessing, options: dict[str, Any]
) -> list[str]:
    """What was done to images that people may not expect."""
    notes, count = [], len(forms)
    deep = sum(form.deep for form in forms)
    span = preprocessing.intensity_range
    if span is not None:
        given = "intensity_range" if options["intensity_range"] else "the training images' range"
        notes.append(
            f"{deep} images have over 8 bits a channel: {span[0]:g} to {span[1]:g} ({given}) became 0 to 255"
        )
        if deep < count:
            notes.append(f"{count - deep} images have 8 bits a channel beside these, and stay as they are")
    elif deep:
        notes.append(
            f"{deep} validation images have 16 bits a channel, unlike the training images: divided by 257"
        )
    if span is None and options["intensity_range"]:
        notes.append("intensity_range is not used: all training images have 8 bits a channel")
    alpha = sum(form.alpha for form in forms)
    if alpha and preprocessing.color_mode != "rgba":
        notes.append(f"{alpha} images with transparency were laid on {_colour(preprocessing.background)}")
    frames = [name for name, form in zip(plan.images, forms, strict=True) if form.frames]
    if frames:
        notes.append(f"{len(frames)} files hold several frames, the first is used, such as {frames[0]}")
    colours = Counter("grey" if form.grey else "colour" for form in forms)
    if len(colours) > 1:
        notes.append(
            f"{colours['grey']} grey and {colours['colour']} colour images were made {preprocessing.color_mode}"
        )
    return notes


def _colour(background: tuple[int, int, int]) -> str:
    names = {(255, 255, 255): "white", (0, 0, 0): "black"}
    return names.get(background, f"the colour {background}") + " (background=)"
