"""Windows over recordings of a machine or a body: each recording cut into short sequences of its class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lepton_kit.data.dataset import Dataset, dataset_of, is_whole, name_of
from lepton_kit.data.prepared import PreparedData, Split, meta_of
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.series import gaps as gap_rules
from lepton_kit.data.series.holding import cut, held_groups
from lepton_kit.data.series.preprocessing import WindowsPreprocessing
from lepton_kit.data.series.recordings import Found, Recording, check, named, of_memory, read
from lepton_kit.data.splitting import check_split
from lepton_kit.data.tables.chunks import is_frame
from lepton_kit.data.tables.heading import header_of
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError

SHORT = ("refuse", "skip", "pad")

Allocate = Callable[[str, str, Any, tuple[int, ...], Any], np.ndarray]


def windows(
    path: Any,
    *,
    length: int = 20,
    stride: int = 5,
    validation_stride: int | None = None,
    validation_start: int = 0,
    normal: str | None = None,
    validation_split: float = 0.2,
    held_out: Sequence[str] | None = None,
    numbered: bool | None = None,
    label: str | None = None,
    recording: str | None = None,
    time: str | None = None,
    header: bool | int = True,
    gaps: Literal["refuse", "split", "interpolate"] = "refuse",
    short: Literal["refuse", "skip", "pad"] = "refuse",
    seed: int = 0,
) -> Dataset:
    """Recordings of ``(rows, channels)`` cut into windows; samples are float32 ``(length, channels)``, standardised
    with the training recordings' statistics.

    ``path`` is a dictionary of arrays or a frame, which are stored with the run; or an ``.npz`` file (or a folder of ``.npy``, HDF5, MATLAB) with an array a recording, called CLASS,
    CLASS_NUMBER, train_CLASS or test_CLASS_NUMBER; class folders of CSV files, below train and test where they are split;
    or one long table with a column of labels, of recordings (``recording``) and of times (``time``). ``numbered``
    says whether a number at the end of a name counts the recordings of a class; None: unless one class would be left.

    Held out are test recordings, else those that ``held_out`` names, else ``validation_split``: whole recordings where
    every class has two, else the last rows of each. Of held-out recordings the rows from ``validation_start`` on
    count (where a fault begins there), of the class ``normal`` all. ``gaps`` in time or values are refused, cut around
    (``split``) or filled along straight lines. ``short`` recordings are refused, left out, or padded with 0, and then
    every window has one more channel: 1 for a row, 0 for padding.
    """
    check_split(validation_split, seed)
    for name, value in (("length", length), ("stride", stride), ("validation_stride", validation_stride)):
        if not is_whole(value, 1) and not (name == "validation_stride" and value is None):
            raise ConfigError(f"data.{name}", given=value, rule="a whole number of at least 1")
    if not is_whole(validation_start, 0):
        raise ConfigError(
            "data.validation_start", given=validation_start, rule="a whole number of at least 0"
        )
    for name, word, allowed in (("gaps", gaps, gap_rules.RULES), ("short", short, SHORT)):
        if word not in allowed:
            raise ConfigError(f"data.{name}", given=word, rule=f"one of {', '.join(allowed)}")
    if held_out is not None and (isinstance(held_out, str) or not all(isinstance(v, str) for v in held_out)):
        raise ConfigError("data.held_out", given=held_out, rule="a list of names of recordings")
    for name, text in (("normal", normal), ("label", label), ("recording", recording), ("time", time)):
        if text is not None:
            name_of(name, text)
    options = {
        "length": length,
        "stride": stride,
        "validation_stride": validation_stride,
        "validation_start": validation_start,
        "normal": normal,
        "validation_split": validation_split,
        "held_out": list(held_out) if held_out is not None else None,
        "numbered": numbered,
        "label": label,
        "recording": recording,
        "time": time,
        "header": header_of(header),
        "gaps": gaps,
        "short": short,
        "seed": seed,
    }
    if is_frame(path):
        return Dataset(
            "arrays", held=_prepared(of_memory(path, options), "the recordings", options, _in_memory)
        )
    return dataset_of("windows", path, **options)


def _in_memory(split: str, role: str, name: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.empty(shape, dtype)


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Samples are float32 ``(length, channels)``; classes are the labels of recordings, sorted."""
    prepared = _prepared(read(path, options), path.name, options, writer.array)
    writer.finish(**meta_of(prepared))


def _prepared(found: Found, file: str, options: dict[str, Any], array: Allocate) -> PreparedData:
    """The windows of recordings, in arrays that ``array(split, role, name, shape, dtype)`` gives."""
    check(found, file)
    held_out = _hold_out(found, options, file)
    step = _without_gaps(found, options, file)
    found.recordings = _from_start(found.recordings, options, held_out)
    shortest = min(len(one.values) for one in found.recordings)
    found.recordings = _long_enough(found.recordings, options, found, file)
    classes = _classes(found, file)
    training = [one.values for one in found.recordings if one.split == "train"]
    rows = np.concatenate(training)
    mean, spread = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    del rows
    still = np.flatnonzero(spread == 0)
    if len(still):
        names = [found.channels[place] if found.channels else str(place) for place in still]
        found.notes.append(f"channels that never change: {named(names)}")
    learned = WindowsPreprocessing(
        target=Target(task="classification", class_names=classes),
        length=options["length"],
        stride=options["validation_stride"] or options["stride"],
        mean=tuple(mean.tolist()),
        deviation=tuple(np.where(spread > 0, spread, 1.0).tolist()),
        channels=found.channels,
        mask=options["short"] == "pad",
        gaps=options["gaps"],
        time=found.time,
        step=step,
        recording=found.recording,
        header=options["header"],
    )
    splits = {
        split: _write(found, split, classes, learned, options, array) for split in ("train", "validation")
    }
    held = splits["validation"]
    train = splits["train"]
    assert train is not None
    return PreparedData(
        train=train,
        validation=held,
        task="classification",
        class_names=classes,
        num_classes=len(classes),
        feature_names=(*found.channels, "is no padding")
        if found.channels and learned.mask
        else found.channels,
        value_range=(-1.0, 1.0),
        details={"shortest": shortest} | ({"notes": found.notes} if found.notes else {}),
        preprocessing=learned,
    )


def _hold_out(found: Found, options: dict[str, Any], file: str) -> set[str]:
    """Give every recording its split; returns the names of those that are held out as a whole."""
    recordings = found.recordings
    names = {one.name for one in recordings}
    given = {one.name for one in recordings if one.split == "validation"}
    if options["held_out"] is not None:
        wrong = next((name for name in options["held_out"] if name not in names), None)
        if wrong is not None:
            raise DataError(f"{file}: held_out: no recording {wrong!r}; there are {named(sorted(names), 20)}")
        given |= set(options["held_out"])
    counts = Counter(str(one.label) for one in recordings)
    summary = ", ".join(f"{label} {count}" for label, count in sorted(counts.items())[:20])
    if given or not options["validation_split"] or any(one.split == "validation" for one in recordings):
        found.recordings = [
            replace(one, split="validation" if one.name in given else "train") for one in recordings
        ]
        if len(recordings) > len({(one.split, one.label) for one in found.recordings}):
            found.notes.append(f"recordings of each class: {summary}")
        return given
    held = held_groups(
        [one.group for one in recordings],
        [str(one.label) for one in recordings],
        [len(one.values) for one in recordings],
        options["validation_split"],
        options["seed"],
    )
    found.notes.append(f"recordings of each class: {summary}")
    if held:
        found.recordings = [
            replace(one, split="validation" if one.group in held else "train") for one in recordings
        ]
        found.notes.append(f"held out as a whole: {named(sorted(held), 10)}")
        return {one.name for one in found.recordings if one.split == "validation"}
    parts: list[Recording] = []
    for one in recordings:
        edge = cut(len(one.values), options["validation_split"], options["length"])
        parts.append(replace(one.part(0, edge), split="train"))
        if edge < len(one.values):
            parts.append(replace(one.part(edge, len(one.values)), split="validation"))
    found.recordings = parts
    found.notes.append(
        f"held out: the last {options['validation_split']:.0%} of the rows of each recording, since not every class has two"
    )
    return set()


def _without_gaps(found: Found, options: dict[str, Any], file: str) -> float | None:
    """Refuse, cut or fill gaps; returns the usual time between two rows."""
    steps = {}
    for one in found.recordings:
        if (step := gap_rules.step_of(one, file)) is not None:
            steps[one.name, one.first] = step
    usual = float(np.median(list(steps.values()))) if steps else None
    if usual is not None and all(gap_rules.is_other_speed(step, usual) for step in steps.values()):
        usual = float(np.percentile(list(steps.values()), 50, method="higher"))  # one that a recording has
    others = {name: step for (name, _), step in steps.items() if gap_rules.is_other_speed(step, usual)}
    if others and options["gaps"] != "interpolate":
        name, step = next(iter(others.items()))
        alike = sum(not gap_rules.is_other_speed(one, usual) for one in steps.values())
        raise DataError(
            f"{file}: {name!r} has a row every {step:g}, {alike} of {len(steps)} recordings every {usual:g}; "
            "give gaps='interpolate' to bring all to one speed"
        )
    if others:
        found.notes.append(f"brought to one row every {usual:g}: {named(others)}")
    parts, gaps, examples = [], 0, []
    for one in found.recordings:
        pieces, count = gap_rules.regular(one, options["gaps"], usual, file)
        if count and not any(np.isfinite(piece.values).all() for piece in pieces):
            raise DataError(f"{file}: {one.name!r} has a channel without any value")
        parts += pieces
        gaps += count
        examples += [one.name] if count else []
    if gaps:
        what = "cut there" if options["gaps"] == "split" else "filled along straight lines"
        found.notes.append(f"{gaps} gaps in time or values, {what}, in {named(dict.fromkeys(examples))}")
    found.recordings = parts
    return usual


def _from_start(recordings: list[Recording], options: dict[str, Any], held_out: set[str]) -> list[Recording]:
    """Held-out recordings from the row on that counts; pieces of one are counted in the rows of the whole."""
    start, kept = options["validation_start"], []
    for one in recordings:
        if one.name in held_out and one.label != options["normal"] and start:
            skipped = min(max(0, start - one.first), len(one.values))
            one = one.part(skipped, len(one.values))
        kept.append(one)
    return kept


def _long_enough(
    recordings: list[Recording], options: dict[str, Any], found: Found, file: str
) -> list[Recording]:
    length = options["length"]
    short = [one for one in recordings if len(one.values) < length]
    if not short or options["short"] == "pad":
        if short:
            found.notes.append(
                f"{len(short)} recordings are shorter than a window: padded with 0, and the last channel says where"
            )
        return [one for one in recordings if len(one.values)]
    pieces = options["gaps"] == "split"
    if options["short"] == "refuse" and not pieces:
        one = short[0]
        raise DataError(
            f"{file}: {one.name!r} (class {one.label!r}) has {len(one.values)} rows; a window needs {length}: "
            "give a smaller length=, or short='skip' or 'pad'"
        )
    found.notes.append(
        f"left out, since shorter than a window: {len(short)} {'pieces' if pieces else 'recordings'} "
        f"with {sum(len(one.values) for one in short)} rows, such as {short[0].name}"
    )
    return [one for one in recordings if len(one.values) >= length]


def _classes(found: Found, file: str) -> tuple[str, ...]:
    training = {str(one.label) for one in found.recordings if one.split == "train"}
    for one in found.recordings:
        if one.split == "validation" and one.label not in training:
            raise DataError(
                f"{file}: {one.name} has no train_{one.label}: no recording of its class to train on"
            )
    if len(training) < 2:
        raise DataError(f"{file}: one class only ({named(training)}) to train on; expected at least two")
    held = {one.label for one in found.recordings if one.split == "validation"}
    if held and (missing := sorted(training - {str(one) for one in held})):
        found.notes.append(f"classes without a held-out recording: {named(missing)}")
    return tuple(sorted(training))


def _write(
    found: Found,
    split: str,
    classes: tuple[str, ...],
    learned: WindowsPreprocessing,
    options: dict[str, Any],
    array: Allocate,
) -> Split | None:
    """The windows of one split, a recording at a time."""
    stride = options["stride"] if split == "train" else learned.stride
    ordered = [
        (place, one)
        for place, label in enumerate(classes)
        for one in found.recordings
        if one.split == split and one.label == label
    ]
    counts = [(max(len(one.values), learned.length) - learned.length) // stride + 1 for _, one in ordered]
    if not sum(counts):
        return None
    channels = len(learned.mean) + learned.mask
    x = array(split, "x", None, (sum(counts), learned.length, channels), np.float32)
    y = array(split, "y", None, (sum(counts),), np.int32)
    first = 0
    for (place, one), count in zip(ordered, counts, strict=True):
        x[first : first + count] = learned.windows(learned.scaled(one.values), stride)
        y[first : first + count] = place
        first += count
    return Split(x, y)
