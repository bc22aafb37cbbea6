"""Data sources: what to train on, as an immutable description that a run's configuration can hold."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_kit.data import images, memory
from lepton_kit.data.cache import cached, fingerprint
from lepton_kit.data.prepared import FolderWriter, PreparedData, open_folder, write_folder
from lepton_kit.data.splitting import check_split
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
            from lepton_kit.data.catalog import sample

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

    def __repr__(self) -> str:
        return f"Dataset({self.kind}, {self.path.name if self.path else self.held!r})"


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
    y: Any,
    *,
    validation: tuple[Any, Any] | None = None,
    validation_split: float = 0.2,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Arrays in memory, or dictionaries name -> array for several inputs or outputs; rows first.

    Whole-number or text ``y`` are labels, floating point ``y`` are targets of a regression. ``validation`` is a
    pair (x, y); without it ``validation_split`` of the rows is held out.

    >>> import numpy as np
    >>> arrays(np.zeros((10, 3)), np.arange(10) % 2).prepare()
    PreparedData(8 + 2 samples, 3, classification)
    """
    check_split(validation_split, seed)
    return Dataset("arrays", held=memory.build(x, y, validation, validation_split, class_names, seed))


def _file(kind: str, path: str | Path, **options: Any) -> Dataset:
    return Dataset(kind, Path(path).expanduser().absolute(), json.dumps(options))


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


KINDS: dict[str, tuple[Callable[..., Dataset], _Build]] = {
    "image_folder": (image_folder, images.build),
}
