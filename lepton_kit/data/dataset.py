"""`Dataset`: what to train on, as an immutable description that a run's configuration can hold."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_kit.data.cache import cached
from lepton_kit.data.catalog import samples_folder, spec_of
from lepton_kit.data.files import files_of, fingerprint
from lepton_kit.data.places import is_address, stamps
from lepton_kit.data.prepared import PreparedData, open_folder, store_folder
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError

KINDS = {
    "image_folder": ("images", "image_folder"),
    "npz": ("archives", "npz"),
    "parquet": ("large.row_groups", "parquet"),
    "table": ("tables", "table"),
    "tfrecord": ("large.records", "tfrecord"),
    "text": ("texts", "text"),
    "webdataset": ("large.shards", "webdataset"),
    "windows": ("series", "windows"),
    "zarr": ("large.zarrays", "zarr"),
}
"""Kind of a source -> the module of this room that reads it, and there the function that describes it.

A module has that function and ``build(path, options, writer)``, which decodes the source into the cache.
"""


@dataclass(frozen=True, repr=False)
class Dataset:
    """An immutable description of data: a kind, a file, folder or address, and options. `prepare` makes it trainable."""

    kind: str
    path: Path | str | None = None
    settings: str = "{}"
    held: PreparedData | None = field(default=None, compare=False)

    @property
    def options(self) -> dict[str, Any]:
        """The options as plain types (a copy)."""
        result: dict[str, Any] = json.loads(self.settings)
        return result

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
            return cls.from_spec(spec_of(options.get("name", "")), samples_folder())
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
        make = getattr(_module(kind), KINDS[kind][1])
        allowed = [name for name in inspect.signature(make).parameters if name != "path"]
        for name in options:
            if name not in allowed:
                raise ConfigError(
                    f"data.{name}", given=options[name], rule=f"for {kind} one of {', '.join(allowed)}"
                )
        try:
            result: Dataset = make(path if is_address(path) else Path(base, path), **options)
            return result
        except TypeError as failure:
            raise ConfigError("data", given=dict(spec), rule=str(failure).replace("()", "")) from None

    def store(self, directory: str | Path) -> dict[str, Any]:
        """A spec that another process can read: arrays are written to ``directory``, files are named absolutely.

        The path of written arrays is the directory's name alone, so it counts from the directory's parent.
        """
        if self.held is None:
            return self.spec()
        directory = Path(directory)
        store_folder(self.held, directory)
        return {"kind": "arrays", "path": directory.name}

    def prepare(
        self, cache: str | Path | None = None, progress: Callable[[int, int], None] | None = None
    ) -> PreparedData:
        """Check, decode once into the cache, and open. Raises `DataError` that names the file, row or column.

        ``progress(done, total)`` is called while a source that takes long is decoded.
        """
        if self.held is not None:
            return self.held
        assert self.path is not None
        path, options = self.path, self.options
        if self.kind == "arrays":
            return open_folder(Path(path))
        module = _module(self.kind)
        if isinstance(path, str):
            key = fingerprint(self.kind, {**options, "files": stamps(path)}, [])
        elif not path.exists():
            raise DataError(f"{path}: no such file or folder")
        elif not (path.is_file() or path.is_dir()):
            raise DataError(f"{path}: neither a file nor a folder (a pipe, socket or device)")
        else:
            # A module has `inputs` where its data are made from files beside ``path`` too.
            files = module.inputs(path, options) if hasattr(module, "inputs") else files_of(path)
            key = fingerprint(self.kind, options, files)

        def write(writer: FolderWriter) -> None:
            writer.progress = progress
            module.build(path, options, writer)

        source = {"kind": self.kind, "path": str(path)}
        return cached(key, Path(cache) if cache else None, write, source)

    @property
    def batch_size(self) -> int | None:
        """Rows of the batches that a stream came in, which is its global batch; None for other data."""
        return self.held.details.get("batch_size") if self.held is not None else None

    @property
    def is_ordered(self) -> bool:
        """Whether a stream's own order is the order of training, as in Keras' `fit`; not of one that shuffles itself."""
        return self.held is not None and bool(self.held.details.get("ordered"))

    def __repr__(self) -> str:
        return f"Dataset({self.kind}, {Path(self.path).name if self.path else self.held!r})"


def _module(kind: str) -> Any:
    # By name: the readers import this module.
    return importlib.import_module(f"lepton_kit.data.{KINDS[kind][0]}")


def dataset_of(kind: str, path: str | Path, **options: Any) -> Dataset:
    """The data set of a file, folder or address. Raises `ConfigError` for a path that is none."""
    if not isinstance(path, str | Path):
        raise ConfigError("data.path", given=path, rule="the path of a file or folder")
    if is_address(path):
        return Dataset(kind, str(path), json.dumps(options))
    return Dataset(kind, Path(path).expanduser().absolute(), json.dumps(options))


def is_whole(value: Any, low: int) -> bool:
    """Whether a value is a whole number of at least ``low``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def name_of(name: str, value: Any) -> str:
    """The value of the option ``name``, which must be a text. Raises `ConfigError`."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"data.{name}", given=value, rule="a name")
    return value
