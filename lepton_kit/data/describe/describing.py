"""`describe`: look at data of any kind before training on them, and say what they are and what looks wrong."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.archives import open_arrays
from lepton_kit.data.describe import checks
from lepton_kit.data.describe.columns import columns_of, findings, with_classes
from lepton_kit.data.describe.description import Column, Description
from lepton_kit.data.describe.frames import MOST_ROWS, Look, look_of
from lepton_kit.data.describe.lengths import of_texts, of_windows
from lepton_kit.data.describe.pictures import common_sizes, layout_of, names_of_files
from lepton_kit.data.describe.preview import preview
from lepton_kit.data.describe.reading import Plan, plan, verb_of
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.tables.targets import MAX_CLASSES_OF_NUMBERS
from lepton_kit.errors import ConfigError, DataError, LeptonError

CLASSES_IN_A_TARGET = 200
CONCERNED = (
    "image_size", "splits", "labels", "masks", "drop", "features", "target", "label", "text", "split", "group", "time",
    "x", "y", "length", "tokenizer", "sequence_length", "header", "sheet",
)  # fmt: skip
"""Options that an error may name, the telling ones first."""
SPLITS = ("ignore", "train", "validation", "test")
ROLES = ("split", "group", "time", "sample_weight")
"""Options that name a column which is neither target nor feature."""


def describe(
    anything: Any, *, progress: Callable[[int, int], None] | None = None, **options: Any
) -> Description:
    """What data hold, how they would be read, and what looks wrong. ``anything`` and ``options`` are those of `read`.

    The data are decoded into the cache, as for a launch; ``progress(done, total)`` is called meanwhile. Data that need a choice first, such as the target column,
    or that can't be trained on as they are, are described too: ``failure`` says what is missing. Raises `DataError`
    only where there is nothing to describe: no such file, or none of a kind that is read.

    >>> import numpy as np
    >>> found = describe((np.zeros((100, 3)), np.arange(100) < 4))
    >>> found.problems[0]
    "96 % of the training samples are '0': accuracy will mislead; balanced accuracy and AUC are shown by run.report()"
    """
    found = plan(anything, options)
    prepared, failure = None, found.failure
    dataset, concerns = None, found.concerns
    if failure is None:
        try:
            dataset = found.dataset
            prepared = dataset.prepare(progress=progress)
        except LeptonError as wrong:
            failure = wrong if isinstance(wrong, DataError) else DataError(str(wrong))
            concerns = _concerned(wrong, found)
    classes = counts_of(prepared.train, prepared) if prepared is not None else _counts_of_target(found)
    held = counts_of(prepared.validation, prepared) if prepared is not None and prepared.validation else {}
    target = found.options.get("target") or found.options.get("label")
    columns = columns_of(found.frame) if found.frame is not None else ()
    if prepared is not None and prepared.class_names and prepared.task == "classification":
        columns = tuple(
            with_classes(one, prepared.class_names) if one.name == target else one for one in columns
        )
    lengths, meanings = _lengths(found, prepared, failure)
    return Description(
        source=_source(anything),
        kind=_kind(found, prepared),
        code=found.code,
        facts=_facts(found, prepared),
        verb=found.kind,
        columns=columns,
        classes=classes,
        held_out=held,
        left_out=_left_out(found, prepared),
        problems=tuple(_problems(found, prepared, classes, held, columns)),
        choices=_choices(found, columns) | _ways_out(found, failure) | lengths,
        meanings=meanings,
        proposed={**found.proposed, **found.options},
        preview=preview(
            prepared,
            found.frame,
            found.options.get("text") if found.kind == "text" else None,
            found.options.get("label"),
        ),
        prepared=prepared,
        failure=failure,
        concerns=concerns,
        read=dataset,
    )


def counts_of(split: Any, prepared: PreparedData) -> dict[str, int]:
    """Samples of each class in a split of a classification, name -> count; empty for other tasks."""
    y = split.y
    if prepared.task not in ("classification", "multilabel") or not isinstance(y, np.ndarray):
        return {}
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] > 1:  # one column a class
        counts = values.astype(np.float64).sum(0).round().astype(int)
    else:
        counts = np.bincount(values.reshape(-1).astype(np.int64), minlength=prepared.num_classes or 0)
    names = prepared.class_names or tuple(map(str, range(len(counts))))
    return {str(name): int(count) for name, count in zip(names, counts, strict=False)}


def _counts_of_target(found: Plan) -> dict[str, int]:
    """Classes of a table that could not be prepared, from its first rows."""
    target = found.options.get("target") or found.options.get("label")
    if found.frame is None or not isinstance(target, str) or target not in found.frame.columns:
        return {}
    values = found.frame[target].dropna()
    if found.options.get("task") == "regression":
        return {}
    if _is_number(values) and (values.nunique() > MAX_CLASSES_OF_NUMBERS or (values % 1 != 0).any()):
        return {}
    counts = Counter(map(str, values))
    return dict(sorted(counts.items())) if len(counts) <= CLASSES_IN_A_TARGET else {}


def _kind(found: Plan, prepared: PreparedData | None) -> str:
    words = {
        "image_folder": "images",
        "npz": "arrays",
        "table": "a table",
        "text": "texts",
        "windows": "time series",
        "parquet": "a table read by row group",
        "tfrecord": "TFRecord files",
        "webdataset": "WebDataset shards",
        "zarr": "a Zarr group",
        "stored": "prepared data",
        "prepared": "prepared data",
    }.get(found.kind, "arrays")
    return words if prepared is None else f"{words}, {_task(prepared)}"


def _task(prepared: PreparedData) -> str:
    if prepared.task == "classification":
        return f"classification into {prepared.num_classes} classes"
    return {"multilabel": "several labels a sample", "other": "label maps or other targets"}.get(
        prepared.task, prepared.task
    )


def _source(anything: Any) -> str:
    if isinstance(anything, str | Path):
        return Path(anything).name or str(anything)
    return repr(anything) if hasattr(anything, "prepare") else type(anything).__name__


def _facts(found: Plan, prepared: PreparedData | None) -> dict[str, str]:
    facts = {}
    if found.frame is not None:
        count = len(found.frame)
        facts["rows"] = f"{count:,}" if count < MOST_ROWS else f"at least {count:,}; these were looked at"
        facts["columns"] = str(len(found.frame.columns))
        text = found.options.get("text")
        if found.kind == "text" and text in found.frame.columns:
            words = found.frame[text].dropna().astype(str).str.split().str.len()
            if len(words):
                facts["words in a text"] = f"{int(words.median())} in the middle, at most {int(words.max())}"
    if prepared is not None:
        facts["to train on"] = f"{len(prepared.train):,}"
        facts["for validation"] = f"{len(prepared.validation):,}" if prepared.validation else "none"
        shape = prepared.sample_shape
        facts["a sample"] = f"{_shape(shape)} {_types(prepared.sample_dtype)}"
        if prepared.vocabulary_size:
            facts["vocabulary"] = f"{prepared.vocabulary_size:,}"
        if prepared.task == "regression" and isinstance(prepared.train.y, np.ndarray):
            facts["target"] = _target_range(prepared)
    return facts


def _target_range(prepared: PreparedData) -> str:
    y = np.asarray(prepared.train.y, np.float64)
    target = prepared.preprocessing.target if prepared.preprocessing is not None else None
    if target is not None and target.task == "regression":
        y = target.values(y.reshape(len(y), -1))
    y = np.where(
        np.abs(y) < 1e-6 * np.abs(y).max(), 0.0, y
    )  # a standardised 0 does not come back to the last bit
    unit = f" {target.unit}" if target is not None and target.unit else ""
    return f"{y.min():.6g} to {y.max():.6g}{unit}, mean {y.mean():.6g}"


def _problems(
    found: Plan, prepared: PreparedData | None, classes: dict[str, int], held: dict[str, int], columns: Any
) -> list[str]:
    several = prepared is not None and prepared.task == "multilabel"
    said = [] if several else [checks.imbalance(classes), checks.nearly_unique(classes)]
    if not several and not said[-1]:
        said.append(checks.few_samples(classes))
    target = found.options.get("target") or found.options.get("label")
    if found.frame is not None and isinstance(target, str) and target in found.frame.columns:
        labels = found.frame[target].dropna()
        if not _is_number(labels):
            read = prepared.class_names if prepared is not None else None
            said.append(checks.same_but_for_spelling(sorted(set(map(str, labels))), read))
        if found.kind != "text":
            said.append(checks.leaks(found.frame.head(checks.ROWS)[[*_used(found, target), target]], target))
    elif classes:
        said.append(checks.same_but_for_spelling(list(classes)))
    if found.frame is not None:
        look = look_of(found.frame)
        said += [*look.doubts, _unanswerable(look, target)]
        known = ("constant", "empty") if prepared is not None else ()  # the reader has said it
        text = found.options.get("text")
        shown = [one for one in columns if one.kind not in known and one.name != text]
        said += findings(shown, len(found.frame), target if isinstance(target, str) else None)
    if prepared is not None and prepared.validation is not None:
        train, validation = prepared.train.x, prepared.validation.x
        if isinstance(train, np.ndarray) and isinstance(validation, np.ndarray):
            said.append(checks.duplicates(train, validation))
        missing = [name for name, count in classes.items() if count and held and not held.get(name)]
        if missing and not several:
            told = ", ".join(map(repr, missing[:5])) + (" …" if len(missing) > 5 else "")
            said.append(f"no validation sample of {told}: its figures are unknown")
    elif prepared is not None:
        said.append("nothing is held out for validation: only figures on the training samples are known")
    return [sentence for sentence in said if sentence]


def _unanswerable(look: Look, target: Any) -> str | None:
    """What is said of columns beside the target that the rows to be predicted lack."""
    others = [name for name in look.lacking if name != target]
    if not isinstance(target, str) or not others:
        return None
    return (
        f"{', '.join(look.predict)} lacks {', '.join(map(repr, others[:8]))}: a model that learns from them can't answer "
        f"it; drop={others!r}"
    )


def _used(found: Plan, target: str) -> list[str]:
    """The columns of the frame that a table is predicted from."""
    named = found.options.get("features")
    apart = {target, *(found.options.get("drop") or ())}
    apart |= {found.options[name] for name in ROLES if isinstance(found.options.get(name), str)}
    return [name for name in found.frame.columns if name not in apart and (named is None or name in named)]


def _left_out(found: Plan, prepared: PreparedData | None) -> tuple[str, ...]:
    read = look_of(found.frame).notes if prepared is None and found.frame is not None else ()
    said = [*found.notes, *(prepared.notes if prepared is not None else read)]
    if found.kind == "text" and found.frame is not None:
        used = {found.options.get(name) for name in ("text", "label", *ROLES)}
        unused = [str(name) for name in found.frame.columns if name not in used]
        if unused:
            said.append(f"not read, as only the text and its label are: {', '.join(unused[:12])}")
    return tuple(said)


def _choices(found: Plan, columns: tuple[Column, ...]) -> dict[str, tuple[Any, ...]]:
    """What can be picked: columns by what they may be for, sizes of images, names of arrays."""
    if found.frame is not None:
        # Of a longer table only the first rows were looked at, in which a sorted target is constant.
        useless = ("constant", "empty") if len(found.frame) < MOST_ROWS else ()
        names = tuple(one.name for one in columns if one.kind not in useless)
        few = [one for one in columns if 2 <= one.distinct <= max(2, len(found.frame) // 4)]
        choices: dict[str, tuple[Any, ...]] = {
            "target": names,
            "text": tuple(one.name for one in columns if one.kind in ("text", "category", "id")),
            "label": tuple(one.name for one in few),
            "group": tuple(one.name for one in few if one.kind != "date"),
            "time": tuple(one.name for one in columns if one.kind == "date"),
        }
        split = found.guess.split if found.guess is not None else found.options.get("split")
        choices |= {"split": (split,) if split else (), "drop": tuple(one.name for one in columns)}
        look = look_of(found.frame)
        if found.concerns == "header" or "header" in found.options:
            choices["header"] = (False, True)
        if len(look.sheets) > 1:
            choices["sheet"] = look.sheets
        given = found.options.get("thousands")
        open_to_both = look.thousands or (tuple(given) if isinstance(given, dict) else ())
        if open_to_both:
            choices["thousands"] = tuple(dict.fromkeys(open_to_both, mark) for mark in ("", "."))
        allowed = inspect.signature(verb_of(found.kind)).parameters
        return {name: values for name, values in choices.items() if values and name in allowed}
    if found.kind == "image_folder":
        sizes = common_sizes(found.source)
        return layout_of(names_of_files(found.source))[1] | ({"image_size": sizes} if sizes else {})
    if found.beside:
        return {"target": found.beside}
    if found.kind == "npz":
        with open_arrays(found.source) as reader:
            arrays = tuple(reader.names)
        return {"x": arrays, "y": arrays}
    return {}


def _lengths(
    found: Plan, prepared: PreparedData | None, failure: DataError | None
) -> tuple[dict[str, tuple[Any, ...]], dict[str, dict[Any, str]]]:
    """How long a sample of texts or recordings may be: (values to pick from, what they mean)."""
    if found.kind == "windows":
        return of_windows(found.options, prepared, failure)
    if found.kind != "text":
        return {}, {}
    texts: list[str] = []
    if found.frame is not None and found.options.get("text") in found.frame.columns:
        texts = found.frame[found.options["text"]].dropna().astype(str).tolist()
    return of_texts(texts, found.options, prepared)


def _ways_out(found: Plan, failure: DataError | None) -> dict[str, tuple[Any, ...]]:
    """Options of images that are worth a choice only once a reader has asked for them, or they are given."""
    if found.kind != "image_folder":
        return {}
    told = str(failure or "")
    ways: dict[str, tuple[Any, ...]] = {}
    if "on_error" in found.options or "on_error" in told or "not a readable image" in told:
        ways["on_error"] = ("raise", "skip")
    asked = re.search(r"splits=(\{[^{}]*\})", told)
    if asked:
        folders = list(ast.literal_eval(asked[1]))
        ways["splits"] = (*(dict.fromkeys(folders, what) for what in SPLITS), "none")
    elif "splits" in found.options:
        ways["splits"] = (found.options["splits"],)
    return ways


def _concerned(wrong: LeptonError, found: Plan) -> str | None:
    """The option that an error is about: that of a field, or the one that its text names."""
    if isinstance(wrong, ConfigError):
        return wrong.field.removeprefix("data.")
    if "not a readable image" in str(wrong):
        return "on_error"
    return next(
        (name for name in CONCERNED if re.search(rf"(?<!\w){name}=|data\.{name}\b", str(wrong))), None
    )


def _is_number(values: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(values))


def _shape(shape: Any) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shape(one)}" for name, one in shape.items())
    if shape and isinstance(shape[0], tuple):
        return ", ".join(_shape(one) for one in shape)
    return " x ".join(map(str, shape)) if shape else "scalar"


def _types(kinds: Any) -> str:
    if isinstance(kinds, dict):
        return ", ".join(map(str, dict.fromkeys(kinds.values())))
    return ", ".join(map(str, dict.fromkeys(kinds))) if isinstance(kinds, tuple) else str(kinds)
