"""Callbacks as a configuration holds them: Keras' own by name and options, objects in a file beside the model."""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lepton_kit.errors import ConfigError
from lepton_kit.models import LeptonModel, trust
from lepton_kit.training.callback_state import DIRECTORY, Parts, code_by_value, pack, unpack

FILE = "callbacks.pkl"
FIELD = "training.callbacks"
Options = dict[str, tuple[type, ...]]
NUMBER, TEXT, FLAG, WHOLE = (int, float), (str,), (bool,), (int,)
_MONITOR: Options = {"monitor": TEXT, "verbose": WHOLE, "mode": TEXT}
KINDS: dict[str, Options] = {
    "EarlyStopping": _MONITOR
    | {"min_delta": NUMBER, "patience": WHOLE, "baseline": NUMBER, "start_from_epoch": WHOLE}
    | {"restore_best_weights": FLAG},
    "ReduceLROnPlateau": _MONITOR
    | {"factor": NUMBER, "patience": WHOLE, "min_delta": NUMBER, "cooldown": WHOLE, "min_lr": NUMBER},
    "ModelCheckpoint": _MONITOR
    | {"filepath": TEXT, "save_best_only": FLAG, "save_weights_only": FLAG, "save_freq": (str, int)}
    | {"initial_value_threshold": NUMBER},
    "CSVLogger": {"filename": TEXT, "separator": TEXT, "append": FLAG},
    "TensorBoard": {
        **{"log_dir": TEXT, "histogram_freq": WHOLE, "write_graph": FLAG, "write_images": FLAG},
        **{"write_steps_per_second": FLAG, "update_freq": (str, int), "embeddings_freq": WHOLE},
        **{"profile_batch": (int, str, list, tuple), "embeddings_metadata": (str, dict)},
    },
    "TerminateOnNaN": {"raise_error": FLAG},
    "BackupAndRestore": {
        **{"backup_dir": TEXT, "save_freq": (str, int, bool)},
        **{"double_checkpoint": FLAG, "delete_checkpoint": FLAG},
    },
    "RemoteMonitor": {"root": TEXT, "path": TEXT, "field": TEXT, "headers": (dict,), "send_as_json": FLAG},
    "SwapEMAWeights": {"swap_on_epoch": FLAG},
}
"""Keras' callbacks that plain options describe, and the types of these (Keras 3.15)."""
NEEDED = {"ModelCheckpoint": "filepath", "CSVLogger": "filename", "BackupAndRestore": "backup_dir"}
PATHS = {**NEEDED, "TensorBoard": "log_dir", "object": "path"}
FROM_PYTHON = ("LearningRateScheduler", "LambdaCallback")
GIVEN = {
    "BackupAndRestore": "a run keeps checkpoints and goes on from them by itself, so this callback does nothing",
    "ProgbarLogger": "a run tells its progress by itself, so this callback does nothing",
}
"""Callbacks whose work a run does anyway."""
NEVER_CALLED = ("on_test_batch_begin", "on_test_batch_end")
STEP_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def store(callbacks: Any, folder: Path, model: Any = None, trained: Any = None) -> tuple[dict[str, Any], ...]:
    """The specs of callbacks; objects are written to ``folder/callbacks.pkl``.

    ``callbacks`` is one or a nested list, as in Keras: objects, ``{"kind": NAME, options…}``, or bare names. Paths
    count from the current directory. ``model`` is the model that objects may refer to, ``trained`` what is stored of it. Raises `ConfigError`.
    """
    if isinstance(model, LeptonModel):
        model = model.network if model.built else None
    if isinstance(trained, LeptonModel):
        trained = trained.network if trained.built else None
    entries = flat(callbacks)
    specs: list[dict[str, Any]] = []
    objects: list[Any] = []
    for entry in entries:
        if isinstance(entry, str | Mapping):
            specs.append(check({"kind": entry} if isinstance(entry, str) else dict(entry)))
            continue
        _check_object(entry)
        if _kind(entry) in GIVEN:
            specs.append({"kind": _kind(entry)})
            continue
        path = f"{folder.name}/{FILE}"
        where = {"path": path, "index": len(objects), "directory": os.getcwd()}
        specs.append({"kind": "object", "name": type(entry).__name__, **where})
        objects.append(entry)
    if objects:
        data = _packed(objects, model, trained)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{os.getpid()}.{FILE}"
        temporary.write_bytes(data)
        os.replace(temporary, folder / FILE)
        trust.note(data)
    return absolute(specs, Path.cwd(), but=("object",))


def load(specs: Iterable[Mapping[str, Any]], base: Path, model: Any = None) -> list[Any]:
    """The Keras callbacks of specs whose paths count from ``base``; those that a run makes needless are left out."""
    import keras

    files: dict[str, list[Any]] = {}
    found = []
    wanted = [check(dict(spec)) for spec in specs if spec.get("kind") not in GIVEN]
    for spec in absolute(wanted, base):
        if spec["kind"] != "object":
            options = {name: value for name, value in spec.items() if name != "kind"}
            try:
                found.append(getattr(keras.callbacks, spec["kind"])(**options))
            except (ValueError, TypeError) as failure:
                raise ConfigError(FIELD, given=spec, rule=f"what Keras takes: {failure}") from None
            continue
        path = spec["path"]
        if path not in files:
            content = trust.read(Path(path))
            try:
                files[path] = unpack(content, Parts(model))
            except Exception as failure:
                raise ConfigError(
                    FIELD, given=path, rule=f"a readable file of callbacks ({failure})"
                ) from failure
        callback = files[path][spec["index"]]
        vars(callback)[DIRECTORY] = spec.get("directory")
        found.append(callback)
    return found


def flat(callbacks: Any) -> list[Any]:
    """Callbacks in order from what Keras accepts: None, one, nested lists, or a `CallbackList`."""
    if callbacks is None:
        return []
    if type(callbacks).__name__ == "CallbackList":
        callbacks = callbacks.callbacks
    if isinstance(callbacks, list | tuple):
        return [one for entry in callbacks for one in flat(entry)]
    return [callbacks]


def objects(callbacks: Any) -> list[Any]:
    """The objects among callbacks that a run holds copies of, in the order in which it holds them.

    None stands for one that is described by name.
    """
    kept = [None if isinstance(entry, str | Mapping) else entry for entry in flat(callbacks)]
    return [entry for entry, given in zip(kept, flat(callbacks), strict=True) if _kind(given) not in GIVEN]


def check(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as it is. Raises `ConfigError` that names the nearest right kind or option."""
    kind = spec.get("kind")
    if kind == "object":
        allowed: Options = {"path": TEXT, "index": WHOLE, "name": TEXT, "directory": TEXT}
    elif kind in FROM_PYTHON:
        raise ConfigError(
            FIELD, given=kind, rule=f"an object from Python for {kind}, since it takes functions"
        )
    elif kind not in KINDS:
        rule = f"one of the kinds {', '.join(KINDS)}{_nearest(str(kind), [*KINDS, *FROM_PYTHON])}"
        raise ConfigError(FIELD, given=kind, rule=rule)
    else:
        allowed = KINDS[kind]
    for name, value in spec.items():
        if name == "kind":
            continue
        if name not in allowed:
            rule = f"one of the options {', '.join(allowed)} of {kind}{_nearest(name, list(allowed))}"
            raise ConfigError(FIELD, given=name, rule=rule)
        flags = bool in allowed[name]
        if value is not None and (
            not isinstance(value, allowed[name]) or (isinstance(value, bool) and not flags)
        ):
            types = " or ".join(one.__name__ for one in allowed[name])
            raise ConfigError(f"{FIELD}.{kind}.{name}", given=value, rule=types)
    for name in [NEEDED.get(str(kind)), *(("path", "index") if kind == "object" else ())]:
        if name is not None and spec.get(name) is None:
            raise ConfigError(f"{FIELD}.{kind}.{name}", given=None, rule="this option to be there")
    _check_values(spec)
    return spec


def _check_installed(kind: str) -> None:
    if kind == "TensorBoard" and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            FIELD, given=kind, rule="the package tensorboard to be installed for it (pip install tensorboard)"
        )


def _check_values(spec: dict[str, Any]) -> None:
    _check_installed(spec["kind"])
    if spec["kind"] == "ModelCheckpoint":
        suffixes = (".weights.h5",) if spec.get("save_weights_only") else (".keras", ".h5")
        if not spec["filepath"].endswith(suffixes):
            rule = f"a name that ends in {' or '.join(suffixes)}"
            raise ConfigError(f"{FIELD}.ModelCheckpoint.filepath", given=spec["filepath"], rule=rule)
    if spec["kind"] == "ReduceLROnPlateau" and (spec.get("factor") or 0) >= 1:
        raise ConfigError(f"{FIELD}.ReduceLROnPlateau.factor", given=spec["factor"], rule="less than 1")


def absolute(
    specs: Iterable[Mapping[str, Any]], base: Path, but: Sequence[str] = ()
) -> tuple[dict[str, Any], ...]:
    """The same specs with paths that no longer count from ``base``; ``but`` names kinds to leave as they are."""
    changed = []
    for spec in specs:
        name = PATHS.get(spec["kind"]) if spec["kind"] not in but else None
        path = spec.get(name) if name else None
        if spec["kind"] == "TensorBoard" and path is None:
            path = "logs"  # Keras' own default, which would count from the worker's directory
        changed.append({**spec, name: os.path.join(base, path)} if name and path is not None else {**spec})
    return tuple(changed)


def monitored(callbacks: Any) -> str | None:
    """The quantity of the first callback that keeps the best weights, as `TrainingConfig.keep_best` takes it.

    A mode other than Keras' ``auto`` follows after a colon.

    >>> monitored(
    ...     [{"kind": "EarlyStopping", "monitor": "val_auc", "mode": "max", "restore_best_weights": True}]
    ... )
    'val_auc:max'
    """
    for entry in flat(callbacks):
        if _option(entry, "restore_best_weights") or _option(entry, "save_best_only"):
            monitor, mode = _watched(entry), _option(entry, "mode")
            return f"{monitor}:{mode}" if monitor and mode in ("min", "max") else monitor
    return None


def _watched(entry: Any) -> str | None:
    """The quantity that decides what a callback does; None if it does the same whatever the numbers are."""
    kinds = {kind.__name__ for kind in type(entry).__mro__} | {_kind(entry)}
    if kinds & {"EarlyStopping", "ReduceLROnPlateau"} or _option(entry, "save_best_only"):
        return _option(entry, "monitor") or "val_loss"
    return None


def _option(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)


def needs_steps(entry: Any) -> bool:
    """Whether a callback has something to do at every batch."""
    if isinstance(entry, str):
        return entry == "TerminateOnNaN"
    if isinstance(entry, Mapping):
        update = entry.get("update_freq", entry.get("save_freq", "epoch"))
        traced = bool(entry.get("profile_batch"))
        return entry["kind"] == "TerminateOnNaN" or update != "epoch" or traced
    return any(acts(entry, hook) for hook in STEP_HOOKS)


def acts(callback: Any, hook: str) -> bool:
    """Whether a hook of a callback does anything; Keras' own per-batch hooks wait for an option."""
    method = getattr(callback, hook)
    if getattr(method, "_is_default", False):
        return False
    home = getattr(method, "__module__", "")
    if hook not in STEP_HOOKS or not isinstance(home, str):
        return True
    if home == "keras.src.callbacks.model_checkpoint":
        return bool(callback.save_freq != "epoch")
    if home == "keras.src.callbacks.tensorboard":
        return bool(callback.update_freq != "epoch" or callback._should_trace)
    return True


def _kind(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    return str(entry.get("kind")) if isinstance(entry, Mapping) else type(entry).__name__


def _nearest(name: str, known: list[str]) -> str:
    folded = {one.lower().replace("_", ""): one for one in known}
    close = difflib.get_close_matches(name.lower().replace("_", ""), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def _check_object(entry: Any) -> None:
    import keras

    if isinstance(entry, type):
        raise ConfigError(FIELD, given=entry.__name__, rule=f"an object: {entry.__name__}(…), not the class")
    if not isinstance(entry, keras.callbacks.Callback):
        raise ConfigError(
            FIELD, given=type(entry).__name__, rule="Keras callbacks, their names, or {kind: NAME}"
        )
    _check_installed(_kind(entry))
    for hook in NEVER_CALLED:
        if acts(entry, hook) and not str(getattr(entry, hook).__module__).startswith("keras."):
            rule = f"no {hook}: validation is shared among the workers and has no single batches; use on_test_end"
            raise ConfigError(FIELD, given=type(entry).__name__, rule=rule)


def _packed(callbacks: list[Any], model: Any, trained: Any) -> bytes:
    """All objects in one pickle, so that what they share stays shared; without the model of an earlier fit."""
    held = [{name: vars(callback).get(name) for name in ("_model", "params")} for callback in callbacks]
    try:
        for callback in callbacks:
            vars(callback).update({"_model": None, "params": None})
        with code_by_value(callbacks):
            parts = Parts(model, trained)
            try:
                return pack(callbacks, parts)
            except Exception as failure:
                raise _not_packed(callbacks, parts, failure) from failure
    finally:
        for callback, former in zip(callbacks, held, strict=True):
            vars(callback).update(former)


def _not_packed(callbacks: list[Any], parts: Parts, failure: Exception) -> ConfigError:
    for callback in callbacks:
        for name, value in vars(callback).items():
            try:
                pack(value, parts)
            except Exception as reason:
                rule = f"attributes that can be pickled ({reason}); make it in on_train_begin, not before"
                return ConfigError(
                    f"{FIELD}.{type(callback).__name__}.{name}", given=type(value).__name__, rule=rule
                )
    names = ", ".join(type(callback).__name__ for callback in callbacks)
    return ConfigError(FIELD, given=names, rule=f"callbacks that can be pickled ({failure})")
