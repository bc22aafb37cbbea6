"""`read`: the verb that suits what a path or object holds, found by looking at it."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lepton_kit.data.anything import of
from lepton_kit.data.archives import npz, open_arrays
from lepton_kit.data.archives.layout import found_names
from lepton_kit.data.bundled import sample
from lepton_kit.data.catalog import FOLDER, SAMPLES
from lepton_kit.data.dataset import KINDS, Dataset
from lepton_kit.data.describe.frames import Look, head, look_of
from lepton_kit.data.describe.guess import TARGETS, Guess, guess, named
from lepton_kit.data.describe.pictures import layout_of, names_of_files
from lepton_kit.data.describe.sniff import kind_of
from lepton_kit.data.files import is_table, of_rows, refusal_of_parts
from lepton_kit.data.large.image_tables import looked_at
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.series import windows
from lepton_kit.data.split_names import TRAIN, by_names, split_of_file, told_to_predict
from lepton_kit.data.tables.chunks import is_frame
from lepton_kit.data.tables.heading import HeaderInDoubt
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.splits import dialect_of
from lepton_kit.data.texts.reading import has_no_header
from lepton_kit.errors import ConfigError, DataError

BY_ENDING = {
    ".parquet": "parquet",
    ".arrow": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".tar": "webdataset",
    ".zarr": "zarr",
}
"""How an address is read, whose content is not looked at, by the end of its name."""
LARGE = (".parquet", ".arrow")


def verb_of(kind: str) -> Callable[..., Dataset]:
    """The function of `lepton_kit.data` that reads a kind of source. Raises `ConfigError`."""
    if kind not in KINDS:
        raise ConfigError("data.kind", given=kind, rule=f"one of {', '.join(KINDS)}")
    module, name = KINDS[kind]
    result: Callable[..., Dataset] = getattr(importlib.import_module(f"lepton_kit.data.{module}"), name)
    return result


@dataclass(frozen=True)
class Plan:
    """How a source is read: the verb, the options for it, and the call as a user would write it.

    ``failure`` says which choice is missing, that of the option ``concerns``. ``frame`` holds the first rows of a
    table. ``guess`` says what its columns are for. ``proposed`` are options that the verb finds by itself.
    ``notes`` say which files are left alone. ``beside`` are columns that stand beside images.
    """

    kind: str
    source: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    failure: DataError | None = None
    frame: Any = None
    guess: Guess | None = None
    made: Dataset | None = None
    concerns: str | None = None
    proposed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def dataset(self) -> Dataset:
        """What `read` returns. Raises `DataError` or `ConfigError`."""
        if self.failure is not None:
            raise self.failure
        if self.made is not None:
            return self.made
        return verb_of(self.kind)(self.source, **self.options)

    @property
    def sample(self) -> str | None:
        """The name of the bundled sample that this is; None for other data."""
        if self.made is None or not isinstance(self.source, Path) or FOLDER not in self.source.parts:
            return None
        return next((name for name in SAMPLES if self.made == sample(name)), None)

    @property
    def code(self) -> str:
        """The call that reads the data, such as ``lk.data.table('houses.csv', target='price')``."""
        if self.kind not in KINDS:
            return {"stored": f"lk.data.read({str(self.source)!r})", "prepared": "the given data set"}.get(
                self.kind, "lk.data.of(…)"
            )
        name = self.sample
        if name is not None:
            return f"lk.data.sample({name!r})"
        first = (
            repr(_relative(self.source))
            if isinstance(self.source, Path)
            else repr(self.source)
            if isinstance(self.source, str)
            else "frame"
        )
        usual = inspect.signature(verb_of(self.kind)).parameters
        given = "".join(
            f", {name}={value!r}"
            for name, value in self.options.items()
            if name not in usual or not _is_usual(value, usual[name].default)
        )
        return f"lk.data.{self.kind}({first}{given})"


def read(anything: Any, **options: Any) -> Dataset:
    """The data that a path or object holds, as a `Dataset`; the verb is found by content, then by name.

    ``anything`` is a path of a file, folder or archive (tables, images, texts, arrays, recordings), a pandas or
    Polars frame, arrays or (x, y), a `tf.data.Dataset` or loader, a `Dataset` or `PreparedData`. ``options`` are
    those of the verb (`table`, `image_folder`, `text`, `npz`, `windows`, `of`); ``kind`` names the verb itself, and is
    needed for an address (``s3://…``) whose name does not end like its kind.
    Raises `DataError` that says what the path holds instead, or which option is needed, such as the target column.

    >>> import numpy as np
    >>> read((np.zeros((10, 3)), np.arange(10) % 2), validation_split=0.2).prepare()
    PreparedData(8 + 2 samples, 3, classification)
    """
    return plan(anything, options).dataset


def plan(anything: Any, options: Mapping[str, Any]) -> Plan:
    """How ``anything`` would be read, without reading it but for a look. Raises `DataError` or `ConfigError`."""
    options = dict(options)
    kind = options.pop("kind", None)
    if kind is not None:
        verb_of(kind)
    if isinstance(anything, str) and "://" in anything:
        kind = kind or BY_ENDING.get(PurePosixPath(anything).suffix)
        if kind is None:
            raise ConfigError("data.kind", given=None, rule=f"for an address one of {', '.join(KINDS)}")
        _check_options(kind, verb_of(kind), options)
        return Plan(kind, anything, options)
    if isinstance(anything, str) and not anything:  # which a Path takes for the current folder
        raise DataError("data: an empty text; expected a path, an address, arrays or a frame")
    if isinstance(anything, str | Path):
        return _of_path(Path(anything).expanduser(), kind, options)
    if is_frame(anything) and kind in (None, "table") and not isinstance(anything, dict):
        return _of_columns(anything, kind, options)
    if isinstance(anything, Dataset | PreparedData):
        _check_options("of", of, options)
        return _of_dataset(of(anything, **options))
    _check_options("of", of, options)
    named = _paths(anything)
    if named:
        raise DataError(
            f"a list of {len(named)} paths, such as {named[0]!r}: give one file or folder; some files of a folder are "
            "lk.data.table(FOLDER, pattern=['a.csv', 'b.csv'], target=…)"
        )
    x, y = anything if isinstance(anything, tuple) and len(anything) == 2 else (anything, None)
    if y is not None and "y" not in options:
        options["y"] = y
    return Plan("arrays", anything, made=of(x, **options))


def _paths(anything: Any) -> list[str]:
    """The items of a list or tuple of paths that are there, or of `Path`, as texts; nothing for anything else."""
    if not isinstance(anything, list | tuple) or not all(isinstance(one, str | Path) for one in anything):
        return []
    sure = [isinstance(one, Path) or (len(one) < 256 and os.path.exists(one)) for one in anything[:100]]
    return [str(one) for one in anything] if anything and all(sure) else []


def _of_path(path: Path, kind: str | None, options: dict[str, Any]) -> Plan:
    held = kind_of(path)
    if held == "stored":
        return Plan("stored", path, made=Dataset("arrays", path.absolute()))
    if held == "npz" and kind in (None, "npz"):
        return _of_archive(path, options)
    if held in ("table", "splits", "recordings") and kind in (None, "parquet"):
        pictures = looked_at(path)
        if pictures is not None:
            return _of_pictures(path, options, *pictures)
    if held == "table" and kind in (None, "table", "text", "parquet"):
        return _of_columns(path, kind, options)
    if held in ("splits", "partitions") and kind in (None, "table"):
        return _of_nested(path, held, kind, options)
    kind = kind or {"images": "image_folder", "texts": "text", "recordings": "windows"}.get(held, held)
    if kind == "image_folder" and not options.keys() & {"labels", "masks", "splits"}:
        options |= layout_of(names_of_files(path))[0]
    if kind not in KINDS:
        raise DataError(f"{path}: looks like {kind}, which this version does not read")
    verb = verb_of(kind)
    _check_options(kind, verb, options)
    needed = [
        name
        for name, parameter in inspect.signature(verb).parameters.items()
        if parameter.default is parameter.empty and name not in {"path", *options}
    ]
    if needed:
        failure = DataError(f"{path.name}: a {kind} source needs {needed[0]}=")
        return Plan(kind, path, options, failure, concerns=needed[0])
    return Plan(kind, path, options)


def _of_nested(path: Path, held: str, kind: str | None, options: dict[str, Any]) -> Plan:
    """Tables in the folders of a split: those to train on, and those held out. Raises `DataError` for partitions."""
    names = [name for name in names_of_files(path) if is_table(name)]
    if held == "partitions":
        raise refusal_of_parts(names, str(path))
    if "pattern" in options:
        return _of_columns(path, "table", options)
    named = of_rows(names)
    if not any(split_of_file(name) == TRAIN for name in named):
        raise DataError(
            f"{path}: no table to train on among {', '.join(sorted(named)[:5])}; give the path of one"
        )
    train, held_out, notes = by_names(sorted(named))
    found = _of_columns(path, "table", {**options, "pattern": train})
    if kind is None and found.guess is not None and found.guess.kind == "text":
        raise DataError(
            f"{path}: texts (column {found.guess.text!r}) in folders of splits; put them into one folder as train.csv and "
            "test.csv, or give kind='table', which hashes them"
        )
    notes = [*notes, *found.notes]
    target = found.options.get("target")
    if "validation" in options or not held_out:
        return replace(found, notes=tuple(notes))
    if len(held_out) == 1:
        lacks = (
            target not in open_files([path / held_out[0]], dialect_of(options), options.get("sheet")).names
        )
        if lacks and isinstance(target, str):
            notes.append(told_to_predict(held_out, train, [target]))
            return replace(found, notes=tuple(notes))
        options = {**found.options, "validation": str(path / held_out[0])}
        return replace(found, options=options, notes=tuple(notes))
    if not all(name.endswith(LARGE) for name in (*train, *held_out)):
        raise DataError(
            f"{path}: {len(held_out)} tables are held out, such as {held_out[0]}; a table has one file of them: "
            "validation='FILE' beside pattern='train/*', or kind='windows' if each file is a recording"
        )
    rest = {name: value for name, value in found.options.items() if name != "pattern"}
    _check_options("parquet", verb_of("parquet"), rest)
    return replace(
        found, kind="parquet", options=rest
    )  # which finds the splits and leaves others alone itself


def _of_dataset(made: Dataset) -> Plan:
    if made.kind not in KINDS or made.path is None:
        return Plan("prepared", made, made=made)
    usual = inspect.signature(verb_of(made.kind)).parameters
    options = {
        name: value
        for name, value in made.options.items()
        if name not in usual or not _is_usual(value, usual[name].default)
    }
    on_disk = isinstance(made.path, Path) and made.path.exists()
    frame = head(made.path, made.options) if made.kind in ("table", "text") and on_disk else None
    return Plan(made.kind, made.path, options, frame=frame, made=made)


def _is_usual(value: Any, default: Any) -> bool:
    """Whether an option, perhaps from JSON, has its default."""
    return bool(
        value == (list(default) if isinstance(value, list) and isinstance(default, tuple) else default)
    )


def _of_columns(source: Any, kind: str | None, options: dict[str, Any]) -> Plan:
    options = {**_dialect_of_texts(source, options), **options}
    frame, doubt = _looked(source, options)
    found, look = guess(frame), look_of(frame)
    if kind is None:
        asks = {"text", "label"} & options.keys()
        kind = "text" if asks else "table" if "target" in options else found.kind
    verb = verb_of(kind)
    wanted = "label" if kind == "text" else "target"
    names = [str(name) for name in frame.columns]
    _check_options(kind, verb, options)
    if kind == "text":
        options = {"text": found.text or next(iter(names), "text"), **options}
    notes = []
    only = [name for name in look.lacking if name in names and name != options.get("text")]
    target = found.target if not only or found.target in only else None
    if wanted not in options and len(only) == 1:
        target = only[0]
        notes.append(f"{wanted} {target!r}: the one column that {', '.join(look.predict)} lacks")
    if wanted not in options and target is not None and doubt is None:
        options[wanted] = target
    if "split" not in options and found.split is not None and "split" in inspect.signature(verb).parameters:
        options["split"] = found.split
    if kind == "text" and not isinstance(source, Path):
        told = "the frame: texts are read from a file; write it with frame.to_csv('texts.csv', index=False)"
        return Plan(kind, source, options, DataError(f"{told}, and read that"), frame, found)
    failure, concerns = doubt, "header" if doubt is not None else None
    if options.get(wanted) is None and doubt is None:
        options.pop(wanted, None)
        failure, concerns = _asked(_name(source), wanted, names, found, only, look), wanted
    return Plan(kind, source, options, failure, frame, found, concerns=concerns, notes=tuple(notes))


def _asked(name: str, wanted: str, names: list[str], found: Guess, only: list[str], look: Look) -> DataError:
    """The question which column is to be predicted, with what speaks for one."""
    likely = found.likely if not only or found.likely in only else only[-1]
    told = f"likely {likely!r}: give {wanted}={likely!r}; " if likely else ""
    lacks = f"{', '.join(look.predict)} lacks {', '.join(map(repr, only[:8]))}; " if only else ""
    return DataError(
        f"{name}: which column is to be predicted? {lacks}{told}it has {', '.join(map(repr, names[:20]))}"
    )


def _looked(source: Any, options: Mapping[str, Any]) -> tuple[Any, DataError | None]:
    """(first rows, the question whether there is a header). A column named in the options says that there is one."""
    named = {"header", "target", "label", "text"} & options.keys()
    try:
        frame = head(source, options)
        if named or not look_of(frame).values:
            return frame, None
    except HeaderInDoubt:
        if named:
            raise
    frame = head(source, {**options, "header": False})
    first = ", ".join(str(frame[name].iloc[0]) for name in frame.columns[:3])
    return frame, DataError(
        f"{_name(source)}: does the first line name the columns? It looks like values ({first} …): header=False counts "
        f"it as a row and names the columns column_1 to column_{len(frame.columns)}, header=True takes it as names"
    )


def _dialect_of_texts(source: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """How a file of labels and texts without a header is read, as `has_no_header` finds it."""
    if {"header", "separator", "text", "label", "target"} & options.keys():
        return {}
    if not isinstance(source, Path) or not source.is_file() or not has_no_header(source):
        return {}
    frame = head(source, {**options, "header": False, "separator": "\t", "quote": ""})
    found = guess(frame)
    if found.kind != "text" or found.text is None or len(frame.columns) != 2:
        return {}
    label = next(str(name) for name in frame.columns if name != found.text)
    return {"text": found.text, "label": label, "header": False, "separator": "\t"}


def _of_pictures(
    path: Path, options: dict[str, Any], names: Sequence[str], classes: Mapping[str, Sequence[str]]
) -> Plan:
    """Images inside Parquet or Arrow files; the only column of named classes is the target, else one by its name."""
    _check_options("parquet", verb_of("parquet"), options)
    target = next(iter(classes)) if len(classes) == 1 else named(list(names), TARGETS)
    if "target" not in options and target is not None:
        options["target"] = target
    failure = None
    if options.get("target") is None:
        told = f"which column is to be predicted? Beside images it has {', '.join(map(repr, names[:20])) or 'none'}"
        failure = DataError(f"{path.name}: {told}; give target=")
    return Plan(
        "parquet", path, options, failure, concerns="target" if failure else None, beside=tuple(names)
    )


def _of_archive(path: Path, options: dict[str, Any]) -> Plan:
    """Arrays by their usual names; recordings where they are named ``train_CLASS``."""
    with open_arrays(path) as reader:
        names = list(reader.names)
        recordings = [
            name for name in names if name.startswith("train_") and len(reader.header(name)[0]) == 2
        ]
        if len(recordings) > 1 and not options.keys() & {"x", "y"}:
            _check_options("windows", windows, options)
            return Plan("windows", path, options)
        _check_options("npz", npz, options)
        found, _ = found_names(reader, npz(path, **options).options)
    for option, role in (("x", "the samples"), ("y", "the target")):
        if isinstance(found[option], str) and found[option] not in names:
            told = f"{path.name}: which array is {role}? It has {', '.join(map(repr, names[:20]))}; give {option}="
            return Plan("npz", path, options, DataError(told), concerns=option)
    return Plan("npz", path, options, proposed={name: found[name] for name in ("x", "y")})


def _check_options(kind: str, verb: Callable[..., Any], options: Mapping[str, Any]) -> None:
    allowed = list(inspect.signature(verb).parameters)[1:]
    for name, value in options.items():
        if name not in allowed:
            raise ConfigError(f"data.{name}", given=value, rule=f"for {kind} one of {', '.join(allowed)}")


def _name(source: Any) -> str:
    return source.name if isinstance(source, Path) else "the frame"


def _relative(path: Path) -> str:
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
