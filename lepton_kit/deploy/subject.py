"""What is to be compressed: a run, a file, a LeptonModel or a Keras model, with its data, as files a job can read."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.layers import check_names
from lepton_kit.data.structure import form, items, joined
from lepton_kit.errors import CompressionError, ModelError, why_not_written
from lepton_kit.models.custom import CODE
from lepton_kit.models.payload import FILE, store
from lepton_kit.rundir.paths import RunPaths
from lepton_kit.rundir.trash import check_in_place
from lepton_kit.training import sums

INPUT = "input"


def find_home(subject: Any, folder: str | Path | None) -> Path:
    """The folder, made if need be, of a card: the one given, ``compression/`` in a run's own folder, or a new one.

    Raises `RunError` for a run that was deleted.
    """
    if folder is not None:
        home = Path(folder)
    elif is_run(subject):
        check_in_place(RunPaths(Path(subject.directory)))
        home = Path(subject.directory) / "compression"
    else:
        home = Path(tempfile.mkdtemp(prefix="lepton-compression-"))
    home.mkdir(parents=True, exist_ok=True)
    return home.absolute()


def find_subject(subject: Any, data: Any, home: Path) -> tuple[Path, Path]:
    """(``.keras`` file, prepared data folder) of whatever was given; what has to be stored is stored in ``home``.

    Raises `CompressionError` for what is neither a run nor a trained model, for a damaged file, and for data that are
    missing or don't fit the model.
    """
    own = is_run(subject) and data is None  # a run's own data were checked when it began
    if is_run(subject):
        model, data = _run_model(subject, home), subject.data() if data is None else data
    elif data is None:
        raise CompressionError(
            "data: got None; a model alone cannot be judged, so give the data it was trained on"
        )
    else:
        model = store_model(subject, home)
    stored = store_data(data, home)
    if not own:
        check_data(model, stored)
    return model.absolute(), stored.absolute()


def check_data(model: Path, data: Path, option: str = "data") -> None:
    """Raise `CompressionError` that names the option where stored data don't fit the model of a ``.keras`` file."""
    from lepton_kit.data.prepared import open_folder
    from lepton_kit.models.shapes import check_fits

    try:
        check_fits({"kind": "keras", "path": model.name}, open_folder(data), model.parent)
    except ModelError as failure:
        raise CompressionError(f"{option}: {failure}") from None


def is_run(subject: Any) -> bool:
    """Whether it looks like a run: a folder, and methods that give its model and data."""
    return hasattr(subject, "directory") and callable(getattr(subject, "data", None))


def find_control(subject: Any, control: Any) -> Path | None:
    """The folder of the run that is the control of a run which pruned or rounded; None where there is none to have.

    ``control`` True asks the run for its own (`Run.control_run` starts it), False does without, a run is taken.
    """
    if is_run(control):
        return Path(control.directory)
    if not isinstance(control, bool):
        raise CompressionError(f"control: got {control!r}; expected True, False, or a run")
    return Path(subject.control_run().directory) if control and compresses(subject) else None


def compresses(subject: Any) -> bool:
    """Whether it is a run that prunes or rounds while it trains."""
    config = getattr(subject, "config", None)
    return config is not None and (config.pruning or config.quantization_aware) is not None


def _run_model(run: Any, home: Path) -> Path:
    return final_model(run) or store_model(run.model(), home)


def final_model(run: Any) -> Path | None:
    """The ``.keras`` file that a run has left at its end, if it has. Raises `RunError` where it is damaged."""
    final = Path(run.directory) / "final" / FILE
    sums.check(final.parent, final.name, CODE)
    return final if final.is_file() else None


def store_model(subject: Any, home: Path) -> Path:
    """Write a model in memory to a file; a path to a ``.keras`` file stays where it is."""
    if isinstance(subject, str | Path):
        path = Path(subject)
        if path.suffix != ".keras" or not path.is_file():
            raise CompressionError(f"{path}: expected a .keras file that exists")
        _check_file(path)
        return path
    spec = store(subject, home / INPUT)
    if spec["kind"] == "lepton":
        raise CompressionError(f"{subject!r} has no weights yet; train it before it is compressed")
    path = home / INPUT / FILE
    if not path.is_file():
        raise CompressionError(
            f"model {subject.name!r}: Keras cannot write it to a .keras file and read it again, which compression needs; "
            f"{_cure(subject)}"
        )
    return path


def _cure(model: Any) -> str:
    network = getattr(model, "network", None) or model
    named = [layer.name for layer in network._flatten_layers() if type(layer).__name__ == "Lambda"]
    if named:
        return (
            f"write what its Lambda layers do ({', '.join(named)}) with keras.ops, or as layers of your own"
        )
    return "give its own layers a get_config"


def _check_file(path: Path) -> None:
    """Raise `CompressionError` for a ``.keras`` file that was cut off, or whose contents have changed since it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as failure:
        raise CompressionError(f"{path}: not a readable .keras file ({failure})") from None
    if bad is not None:
        raise CompressionError(f"{path}: damaged; what it holds as {bad!r} is not what was written")
    for name in ("config.json", "model.weights"):
        if not any(one.startswith(name) for one in names):
            raise CompressionError(f"{path}: not a readable .keras file (it holds no {name})")


def check_layers(model: Path, **options: Sequence[str]) -> None:
    """Raise `CompressionError` for a name in an option (``skip=("dense",)``) that no layer of a ``.keras`` file has.

    The names stand in the file, so that no TensorFlow is needed; a model whose file has none is not checked.
    """
    try:
        with zipfile.ZipFile(model) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        paths = list(_layer_paths(config, ()))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return
    for option, names in options.items():
        if paths:
            check_names(names, paths, option)


def _layer_paths(config: dict[str, Any], above: tuple[str, ...]) -> Iterator[str]:
    wrapped = [config["layer"]] if isinstance(config.get("layer"), dict) else []
    for layer in (*config.get("layers", ()), *wrapped):
        name = layer["config"]["name"]
        yield "/".join((*above, name))
        yield from _layer_paths(layer["config"], (*above, name))
        if layer in wrapped and name.startswith("forward_"):  # Bidirectional stores one of its two
            yield "/".join((*above, name.replace("forward_", "backward_", 1)))


def prepare(data: Any) -> Any:
    """`PreparedData` of a dataset, of prepared data, or of arrays.

    Arrays are (x, y), or (x_train, y_train, x_validation, y_validation), or two pairs.
    """
    if hasattr(data, "prepare"):
        return data.prepare()
    if hasattr(data, "train") and hasattr(data, "validation"):
        return data
    from lepton_kit.data import arrays

    if isinstance(data, tuple | list):
        if len(data) == 4:
            return arrays(data[0], data[1], validation=(data[2], data[3])).prepare()
        if len(data) == 2 and all(isinstance(part, tuple | list) and len(part) == 2 for part in data):
            return arrays(*data[0], validation=tuple(data[1])).prepare()
        if len(data) == 2:
            return arrays(*data).prepare()
    raise CompressionError(
        f"data: got {type(data).__name__}; expected a dataset, prepared data, or arrays (x, y, x_held, y_held)"
    )


def store_calibration(samples: Any, data: Path, home: Path) -> tuple[tuple[Any, str], ...]:
    """Write calibration samples that fit the data into the job's folder, as files with their input's name or place.

    Raises `CompressionError` if they don't fit.
    """
    from lepton_kit.compression.quantization.formats import check_calibration
    from lepton_kit.data.prepared import open_folder

    wanted = dict(items(open_folder(data).train.x))
    given = dict(items(tuple(samples) if isinstance(samples, list) and len(wanted) > 1 else samples))
    if given.keys() != wanted.keys():
        raise CompressionError(f"calibration: got {form(samples)}; the data have {form(joined(wanted))}")
    found = []
    for place, (key, part) in enumerate(given.items()):
        part = np.asarray(part)
        check_calibration(part, wanted[key].shape[1:])
        path = home / INPUT / f"calibration-{place}.npy"
        np.save(path, part)
        found.append((key, str(path.absolute())))
    return tuple(found)


def store_data(data: Any, home: Path) -> Path:
    """Write the prepared data into the job's folder, from where every child maps it.

    Raises `CompressionError` unless it has targets and a split to judge by.
    """
    prepared = prepare(data)
    if prepared.validation is None or not len(prepared.validation):
        raise CompressionError("data: got no validation split; compression is judged on held-out samples")
    if prepared.train.y is None:
        raise CompressionError("data: got no targets; compression is judged by them")
    return store_prepared(prepared, home, "data")


def store_test(test: Any, home: Path) -> Path:
    """Write the samples that a card shall report on, (x, y) or a dataset, as the only split of prepared data."""
    from lepton_kit.data import arrays

    if isinstance(test, tuple | list):
        if len(test) != 2:
            raise CompressionError(
                f"test: got {len(test)} arrays; expected two, (x, y), or data of one split"
            )
        prepared = arrays(*test, validation_split=0).prepare()
    else:
        prepared = prepare(test)
        if prepared.validation is not None and len(prepared.validation):
            raise CompressionError(
                "test: got data with a validation split; expected (x, y), or data of one split"
            )
    if prepared.train.y is None:
        raise CompressionError("test: got no targets; the card reports by them")
    return store_prepared(prepared, home, "test")


def store_prepared(prepared: Any, home: Path, name: str) -> Path:
    """Write prepared data into a folder of that name. Raises `CompressionError`, such as on a full disk."""
    from lepton_kit.data.prepared import store_folder

    folder = home / INPUT / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        store_folder(prepared, folder)
    except OSError as failure:
        raise CompressionError(
            f"{home}: the data can't be stored ({why_not_written(failure, home)})"
        ) from None
    return folder
