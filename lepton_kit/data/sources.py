"""Data sources: what to train on, as an immutable description that a run's configuration can hold."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_kit.data import archives, images, memory, series, tables, texts
from lepton_kit.data.cache import cached, fingerprint
from lepton_kit.data.catalog import SAMPLES, samples_folder
from lepton_kit.data.prepared import FolderWriter, PreparedData, link_folder, open_folder, write_folder
from lepton_kit.data.splitting import check_holdout, check_split
from lepton_kit.errors import ConfigError, DataError

_Build = Callable[[Path, dict[str, Any], FolderWriter], None]


@dataclass(frozen=True, repr=False)
class Dataset:
    """An immutable description of data: a kind, a file or folder, and options. `prepare` makes it trainable."""

    kind: str
    path: Path | None = None
    settings: str = "{}"
    held: PreparedData | None = field(default=None, compare=False)

    @property
    def options(self) -> dict[str, Any]:
        """The options as plain types (a copy)."""
        return json.loads(self.settings)

    def spec(self) -> dict[str, Any]:
        """What stands under ``data:`` in a configuration. Raises `DataError` for arrays that live in memory only."""
        if self.path is None:
            raise DataError(
                "these arrays live in memory only; store(folder) writes them and returns their spec"
            )
        return {"kind": self.kind, "path": str(self.path), **self.options}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], base: str | Path = ".") -> Dataset:
        """The data set of a spec; a relative path counts from ``base``. Raises `ConfigError` or `DataError`."""
        options = copy.deepcopy(dict(spec))
        kind = options.pop("kind", None)
        if kind == "sample":
            return sample(options.get("name", ""))
        path = options.pop("path", None)
        if kind == "arrays":
            if not isinstance(path, str) or options:
                raise ConfigError(
                    "data", given=dict(spec), rule="for arrays: kind and path, the stored folder"
                )
            return cls("arrays", Path(base, path).absolute())
        if kind not in KINDS:
            raise ConfigError(
                "data.kind", given=kind, rule=f"one of {', '.join(sorted([*KINDS, 'arrays', 'sample']))}"
            )
        if not isinstance(path, str):
            raise ConfigError("data.path", given=path, rule="a file or folder")
        make = KINDS[kind][0]
        allowed = [name for name in inspect.signature(make).parameters if name != "path"]
        for name in options:
            if name not in allowed:
                raise ConfigError(
                    f"data.{name}", given=options[name], rule=f"for {kind} one of {', '.join(allowed)}"
                )
        try:
            return make(Path(base, path), **options)
        except TypeError as failure:
            raise ConfigError("data", given=dict(spec), rule=str(failure).replace("()", "")) from None

    def store(self, directory: str | Path) -> dict[str, Any]:
        """A spec that another process can read: arrays are written to ``directory``, files are named absolutely.

        The path of written arrays is the directory's name alone, so it counts from the directory's parent.
        """
        if self.held is None:
            return self.spec()
        directory = Path(directory)
        if self.path is not None:  # it was read into the cache, which anyone may empty
            link_folder(self.path, directory)
        else:
            write_folder(self.held, directory)
        return {"kind": "arrays", "path": directory.name}

    def prepare(self, cache: str | Path | None = None) -> PreparedData:
        """Check, decode once into the cache, and open. Raises `DataError` that names the file, row or column."""
        if self.held is not None:
            return self.held
        assert self.path is not None
        if self.kind == "arrays":
            return open_folder(self.path)
        path, build, options = self.path, KINDS[self.kind][1], self.options
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        key = fingerprint(self.kind, options, images.files_of(path))
        return cached(key, Path(cache) if cache else None, lambda writer: build(path, options, writer))

    @property
    def batch_size(self) -> int | None:
        """Rows of the batches that a stream came in, which is its global batch; None for other data."""
        return self.held.details.get("batch_size") if self.held is not None else None

    @property
    def is_ordered(self) -> bool:
        """Whether a stream's own order is the order of training, so that Keras' `fit` does not shuffle."""
        return self.held is not None and bool(self.held.details.get("ordered"))

    def __repr__(self) -> str:
        return f"Dataset({self.kind}, {self.path.name if self.path else self.held!r})"


def samples() -> dict[str, Dataset]:
    """Every bundled sample that is present, by name."""
    found = {}
    for name in SAMPLES:
        try:
            found[name] = sample(name)
        except DataError:
            continue
    return found


def sample(name: str) -> Dataset:
    """One bundled sample. Raises `DataError` that lists the names, or names the missing file."""
    if name not in SAMPLES:
        raise DataError(f"no sample {name!r}; there are {', '.join(SAMPLES)}")
    return Dataset.from_spec(SAMPLES[name], samples_folder())


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
    if color_mode not in ("auto", *images.MODES):
        raise ConfigError("data.color_mode", given=color_mode, rule="auto, grayscale, rgb or rgba")
    if image_size is not None and not (
        isinstance(image_size, Sequence) and len(image_size) == 2 and all(_whole(n, 1) for n in image_size)
    ):
        raise ConfigError(
            "data.image_size", given=image_size, rule="(height, width), whole numbers of at least 1"
        )
    size = list(image_size) if image_size is not None else None
    return _file(
        "image_folder",
        path,
        image_size=size,
        color_mode=color_mode,
        validation_split=validation_split,
        seed=seed,
    )


def arrays(
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    class_weight: Mapping[Any, float] | None = None,
    validation: Any = None,
    validation_split: float = 0.2,
    holdout: str = "random",
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Arrays in memory as `fit` takes them, rows first: one, a dictionary name -> array, or a list of arrays.

    Also frames, tensors, text, and sequences of different lengths (padded at the end with 0, which the summary says).
    Types stay, but for floating point, which becomes float32; text in ``y`` becomes class numbers. ``sample_weight``
    is a weight a sample, step or pixel, for each output; ``class_weight`` is class -> weight, for training alone.
    ``validation`` is (x, y) or (x, y, weights); without it ``validation_split`` of the rows is held out: ``random``
    ones, every class in proportion, or the ``last`` ones, as Keras does.

    >>> import numpy as np
    >>> arrays(np.zeros((10, 3)), np.arange(10) % 2).prepare()
    PreparedData(8 + 2 samples, 3, classification)
    """
    check_split(validation_split, seed)
    check_holdout(holdout)
    held = memory.build(
        x,
        y,
        sample_weight=sample_weight,
        class_weight=class_weight,
        validation=validation,
        validation_split=validation_split,
        holdout=holdout,
        class_names=class_names,
        seed=seed,
    )
    return Dataset("arrays", held=held)


def npz(
    path: str | Path,
    *,
    x: str | Sequence[str] | Mapping[str, str] = "x",
    y: str | Sequence[str] | Mapping[str, str] = "y",
    validation_x: str | Sequence[str] | Mapping[str, str] | None = None,
    validation_y: str | Sequence[str] | Mapping[str, str] | None = None,
    validation_split: float = 0.2,
    is_validation: str | None = None,
    group: str | None = None,
    seed: int = 0,
    scale: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
) -> Dataset:
    """Arrays of an ``.npz`` file, streamed, so that it may be larger than memory.

    ``x`` and ``y`` are array names: one, a list, or {input of the model: array}. Held out are, in this order of
    precedence: ``validation_x`` with ``validation_y``; the rows where the array ``is_validation`` is true; whole
    groups (episodes, patients) named by the array ``group``; ``validation_split`` of the rows. ``scale`` is
    (factor, offset), or one pair by name: values become ``factor * value + offset``, float32.
    """
    check_split(validation_split, seed)
    if (validation_x is None) != (validation_y is None):
        raise ConfigError(
            "data.validation_y", given=validation_y, rule="both validation_x and validation_y, or none"
        )
    names = {"x": x, "y": y, "validation_x": validation_x, "validation_y": validation_y}
    if scale is not None:
        for pair in scale.values() if isinstance(scale, Mapping) else (scale,):
            if (
                not isinstance(pair, Sequence)
                or len(pair) != 2
                or not all(isinstance(v, int | float) for v in pair)
            ):
                raise ConfigError(
                    "data.scale", given=scale, rule="(factor, offset), or name -> (factor, offset)"
                )
        scale = {k: list(v) for k, v in scale.items()} if isinstance(scale, Mapping) else list(scale)
    return _file(
        "npz",
        path,
        **{option: _array_names(option, value) for option, value in names.items()},
        validation_split=validation_split,
        is_validation=is_validation,
        group=group,
        seed=seed,
        scale=scale,
    )


def table(
    path: str | Path,
    *,
    target: str,
    features: Sequence[str] | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """A CSV file with a header line; samples are float32 ``(features,)``.

    Numbers are standardised with the training rows' mean and deviation, texts become one column a category,
    and a column with missing values gets a second one that flags them. A target of text, or of at most 20
    different whole numbers, makes a classification, any other a regression.
    """
    check_split(validation_split, seed)
    if isinstance(features, str) or not (features is None or all(isinstance(name, str) for name in features)):
        raise ConfigError("data.features", given=features, rule="a list of column names")
    return _file(
        "table",
        path,
        target=_text("target", target),
        features=list(features) if features is not None else None,
        validation_split=validation_split,
        seed=seed,
    )


def text(
    path: str | Path,
    *,
    text: str = "text",
    label: str = "intent",
    split: str | None = None,
    vocabulary_size: int = 4000,
    sequence_length: int = 24,
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Texts and labels in a CSV file; samples are token ids, int32 ``(sequence_length,)``, 0 pads, 1 is unknown.

    ``split`` names a column with train and validation (or test); without it ``validation_split`` is held out.
    """
    check_split(validation_split, seed)
    if not _whole(vocabulary_size, 3):
        raise ConfigError("data.vocabulary_size", given=vocabulary_size, rule="a whole number of at least 3")
    if not _whole(sequence_length, 1):
        raise ConfigError("data.sequence_length", given=sequence_length, rule="a whole number of at least 1")
    return _file(
        "text",
        path,
        text=_text("text", text),
        label=_text("label", label),
        split=split,
        vocabulary_size=vocabulary_size,
        sequence_length=sequence_length,
        validation_split=validation_split,
        seed=seed,
    )


def windows(
    path: str | Path,
    *,
    length: int = 20,
    stride: int = 5,
    validation_stride: int = 10,
    validation_start: int = 160,
    normal: str = "00",
) -> Dataset:
    """Runs in an ``.npz`` file, arrays ``train_CLASS`` and ``test_CLASS`` of ``(rows, channels)``, cut into windows.

    Samples are float32 ``(length, channels)``, standardised with the training runs' statistics. Of a test run
    the rows from ``validation_start`` on count (a fault begins there), of the class ``normal`` all.
    """
    for name, value in (("length", length), ("stride", stride), ("validation_stride", validation_stride)):
        if not _whole(value, 1):
            raise ConfigError(f"data.{name}", given=value, rule="a whole number of at least 1")
    if not _whole(validation_start, 0):
        raise ConfigError(
            "data.validation_start", given=validation_start, rule="a whole number of at least 0"
        )
    return _file(
        "windows",
        path,
        length=length,
        stride=stride,
        validation_stride=validation_stride,
        validation_start=validation_start,
        normal=_text("normal", normal),
    )


def _file(kind: str, path: str | Path, **options: Any) -> Dataset:
    if not isinstance(path, str | Path):
        raise ConfigError("data.path", given=path, rule="the path of a file or folder")
    return Dataset(kind, Path(path).expanduser().absolute(), json.dumps(options))


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"data.{name}", given=value, rule="a name")
    return value


def _array_names(option: str, value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = dict(value)
        names = [*value, *value.values()]
    else:
        names = value = list(value) if isinstance(value, Sequence) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"data.{option}", given=value, rule="an array's name, a list of names, or input -> name"
        )
    return value


KINDS: dict[str, tuple[Callable[..., Dataset], _Build]] = {
    "image_folder": (image_folder, images.build),
    "npz": (npz, archives.build),
    "table": (table, tables.build),
    "text": (text, texts.build),
    "windows": (windows, series.build),
}
