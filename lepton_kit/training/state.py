"""The state of a run in training: what it is at a moment, and checkpoints on disk."""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.proofs import PROOF_SIZE
from lepton_kit.errors import RunError
from lepton_kit.rundir.reading import regular
from lepton_kit.training import sums

FINAL = "state.npz"
KEEP_CHECKPOINTS = 2
PIECE_BYTES = 1 << 20
HISTORY_COLUMNS = 2 + PROOF_SIZE


def capture(variables: Sequence[Any]) -> list[np.ndarray]:
    """All values as they are now, in the variables' order, read-only.

    Nothing is copied: TensorFlow changes a variable in place only while nobody holds its value, so each array costs
    memory from the variable's next change on, until the array is dropped.
    """
    return [_value(variable) for variable in variables]


def held_by_tensorflow(variable: Any) -> Any:
    """TensorFlow's variable: Keras' own holds one."""
    held = variable.value
    return variable if callable(held) else held


def on_host(variables: Sequence[Any]) -> bool:
    """Whether TensorFlow keeps all of them in the memory of the host."""
    return all(held_by_tensorflow(variable).device.endswith("CPU:0") for variable in variables)


def _value(variable: Any) -> np.ndarray:
    tensor = held_by_tensorflow(variable).value()
    try:
        return np.asarray(memoryview(tensor))
    except (TypeError, ValueError, BufferError):  # on a GPU, or of a type that Python does not know: a copy
        return np.asarray(tensor.numpy())


def drained(arrays: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Each array of a list in turn, let go as soon as the next one is asked for; the list is empty then.

    >>> held = [np.zeros(1), np.ones(1)]
    >>> [float(array.sum()) for array in drained(held)], held
    ([0.0, 1.0], [])
    """
    arrays.reverse()
    while arrays:
        yield arrays.pop()


def restore(variables: Sequence[Any], arrays: Sequence[np.ndarray], source: str) -> None:
    """Assign values that `capture` took. Raises `RunError` naming the source if they do not fit."""
    if len(variables) != len(arrays):
        raise RunError(
            f"{source}: holds {len(arrays)} arrays; this model with its optimizer has {len(variables)}"
        )
    for variable, array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            name = getattr(variable, "path", variable.name)
            raise RunError(
                f"{source}: {name} has shape {array.shape} there and {tuple(variable.shape)} in this model"
            )
        variable.assign(array)


def pack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All bytes in one uint8 array.

    >>> pack([np.zeros(2, np.float32), np.ones((), np.int64)]).shape
    (16,)
    """
    return np.concatenate(
        [np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8) for array in arrays]
    )


def unpack(data: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays behind packed bytes, with the shapes and types of ``like``."""
    arrays, offset, raw = [], 0, data.tobytes()
    for array in like:
        arrays.append(np.frombuffer(raw, array.dtype, array.size, offset).reshape(array.shape))
        offset += array.nbytes
    return arrays


def history_array(entries: Iterable[tuple[int, float, np.ndarray]]) -> np.ndarray:
    """Steps with their losses and proofs as one float64 array of shape ``(steps, HISTORY_COLUMNS)``."""
    rows = [[step, loss, *proof] for step, loss, proof in entries]
    return np.array(rows, np.float64).reshape(-1, HISTORY_COLUMNS)


def history_entries(array: np.ndarray) -> list[tuple[int, float, np.ndarray]]:
    """What `history_array` was made of.

    >>> history_entries(history_array([(7, 0.5, np.arange(6.0))]))[0][:2]
    (7, 0.5)
    """
    return [(int(row[0]), float(row[1]), row[2:].astype(np.float32)) for row in array]


def save_checkpoint(
    folder: Path,
    step: int,
    arrays: Iterable[np.ndarray],
    history: np.ndarray,
    *,
    extras: Mapping[str, bytes] | None = None,
    keep: int = KEEP_CHECKPOINTS,
    **about: Any,
) -> Path:
    """Write ``folder/step-N`` whole or not at all, and drop all but the newest few.

    ``history`` (see `history_array`) lets a resumed run tell steps that its log has lost; ``extras`` are further
    files, by name. Each of the ``arrays`` is written before the next one is asked for.
    """
    target = folder / f"step-{step:09d}"
    temporary = folder / f".step-{step}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)  # but not the run's, which may have been deleted
        temporary.mkdir(mode=0o700)
        write(temporary / "history.npy", lambda file: np.save(file, history))
        write(temporary / "arrays.npz", lambda file: write_arrays(file, arrays))
        for name, content in (extras or {}).items():
            write(temporary / name, partial(_put, content))
        meta = json.dumps(sums.sealed({"step": step, **about}, temporary)).encode()
        write(temporary / sums.META, lambda file: file.write(meta))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in checkpoint_folders(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def write(path: Path, fill: Callable[[Any], Any]) -> None:
    """Write a file so that it survives a crash of the machine."""
    with open(path, "wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def write_arrays(file: Any, arrays: Iterable[np.ndarray]) -> None:
    """Write arrays as ``np.savez(file, *arrays)`` does, one after the other, none kept longer than that takes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for k, array in enumerate(arrays):
            with archive.open(f"arr_{k}.npy", "w", force_zip64=True) as member:
                _write_array(member, np.asarray(array, order="C"))


def _write_array(file: Any, array: np.ndarray) -> None:
    """As numpy's ``write_array``, but without a copy of each piece, which it makes while no other thread runs."""
    npy = np.lib.format
    npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
    content = array.reshape(-1).view(np.uint8)
    for start in range(0, len(content), PIECE_BYTES):
        file.write(content[start : start + PIECE_BYTES].data)


def _put(content: bytes, file: Any) -> None:
    file.write(content)


def load_extra(path: Path, name: str) -> bytes:
    """A further file of a checkpoint; empty if it has none (one of an earlier version)."""
    try:
        return (path / name).read_bytes()
    except FileNotFoundError:
        return b""


def load_final(folder: Path, *names: str) -> list[np.ndarray]:
    """The arrays of a run's ``final/`` folder: the model's variables, then the optimizer's.

    Raises `RunError` where they, or the files ``names`` that go with them, are damaged.
    """
    sums.check(folder, FINAL, *names)
    return _load_arrays(folder / FINAL)


def load_history(path: Path) -> list[tuple[int, float, np.ndarray]]:
    """The steps that a checkpoint tells of; none if it does not. Raises `RunError` if they can't be read."""
    file = path / "history.npy"
    try:
        return history_entries(np.load(regular(file), allow_pickle=False)) if file.exists() else []
    except (OSError, ValueError, EOFError, IndexError) as failure:
        raise RunError(f"{file}: cannot be read ({failure})") from None


def checkpoint_folders(folder: Path) -> list[Path]:
    """All complete checkpoints, the newest last."""
    return sorted(path.parent for path in folder.glob(f"step-*/{sums.META}"))


def load_newest(folder: Path) -> tuple[Path, list[np.ndarray]]:
    """The newest checkpoint of a folder, and its arrays; one that is damaged is passed over with a warning.

    Raises `RunError` where none can be read.
    """
    problems = []
    for path in reversed(checkpoint_folders(folder)):
        try:
            arrays = load_checkpoint(path)[1]
        except RunError as failure:
            problems.append(str(failure))
            continue
        for problem in problems:
            warnings.warn(f"{problem}; {path.name}, the one before, is taken", stacklevel=3)
        return path, arrays
    raise RunError("; ".join(problems) or f"{folder}: there is no checkpoint")


def load_checkpoint(path: Path) -> tuple[int, list[np.ndarray], dict[str, Any]]:
    """Step, arrays and what else was noted. Raises `RunError` naming a file that is damaged or cannot be read."""
    meta = sums.read_meta(path)
    return int(meta["step"]), _load_arrays(path / "arrays.npz", meta), meta


def _load_arrays(file: Path, meta: Mapping[str, Any] | None = None) -> list[np.ndarray]:
    try:
        with np.load(regular(file), allow_pickle=False) as stored:
            if meta is not None:
                sums.check_list(stored.zip, meta, file.name)
            return [stored[f"arr_{k}"] for k in range(len(stored.files))]
    except Exception as failure:  # a damaged archive may fail in any way before its sums can be compared
        raise RunError(f"{file}: cannot be read ({type(failure).__name__}: {failure})") from None
