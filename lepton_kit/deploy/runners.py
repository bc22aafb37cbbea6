"""One function, samples in and outputs out, for a trained model of every format; each loads only its own runtime."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.structure import Arrays, first, items, joined
from lepton_kit.errors import CompressionError, ModelError

Runner = Callable[[Arrays], list[np.ndarray]]
"""Samples (an array, or several by name or place, rows first) to the outputs in the order of the model's outputs."""

ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


def format_of(path: str | Path) -> str:
    """keras, saved_model, litert or onnx. Raises `ModelError` for a path that is none of these."""
    path = Path(path)
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return "saved_model"
    kind = {".keras": "keras", ".tflite": "litert", ".onnx": "onnx"}.get(path.suffix)
    if kind is None or not path.is_file():
        raise ModelError(f"{path}: no model; expected a .keras, .tflite or .onnx file or a SavedModel folder")
    return kind


def open_runner(path: str | Path, threads: int | None = None) -> Runner:
    """The runner of a model file or SavedModel folder. LiteRT and ONNX don't load TensorFlow. Raises `ModelError`."""
    make = {"keras": _keras, "saved_model": _saved_model, "litert": _litert, "onnx": _onnx}
    return make[format_of(path)](Path(path), threads)


def of_keras(model: Any) -> Runner:
    """The runner of a Keras model in memory; inputs are cast as training casts them."""
    casts: list[Any] = []

    def run(x: Arrays) -> list[np.ndarray]:
        from lepton_kit.training.inputs import Inputs

        if not casts:
            few = {key: part[:1] for key, part in items(x)}
            casts.append(Inputs(model, (joined(few), None, None)))
        given = casts[0].cast(joined({key: _tensor(part) for key, part in items(x)}))
        with _without_retracing_warnings():
            found = model.predict_on_batch(list(given) if isinstance(given, tuple) else given)
        return flat(found)

    return run


@contextlib.contextmanager
def _without_retracing_warnings() -> Iterator[None]:
    """TensorFlow traces a model once for each size of a batch, such as the last one's, and takes that for a mistake."""

    def wanted(record: logging.LogRecord) -> bool:
        return "tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def flat(outputs: Any) -> list[np.ndarray]:
    """The outputs of a model in the order of its description: by name where they have names, else as they come."""
    if isinstance(outputs, dict):
        return [np.asarray(outputs[name]) for name in sorted(outputs)]
    if isinstance(outputs, list | tuple):
        return [np.asarray(one) for one in outputs]
    return [np.asarray(outputs)]


def in_batches(
    run: Runner, x: Arrays, batch: int, tell: Callable[[int], Any] | None = None
) -> list[np.ndarray]:
    """All outputs, ``batch`` samples at a time; ``tell`` hears how many samples each batch had."""
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(first(x)), batch):
        piece = joined({key: np.asarray(part[start : start + batch]) for key, part in items(x)})
        parts.append(run(piece))
        if tell is not None:
            tell(len(first(piece)))
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def predict_files(model: str, inputs: Sequence[Sequence[Any]], output: str, batch: int = 256) -> None:
    """Predict samples from ``.npy`` files, each with its input's name or place, into one ``.npz`` file."""
    x = joined({key: np.load(path, mmap_mode="r") for key, path in inputs})
    found = in_batches(open_runner(model), x, batch)
    np.savez(output, **{f"output_{place:04}": one for place, one in enumerate(found)})  # type: ignore[arg-type]  # NumPy's stub


def _tensor(part: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.convert_to_tensor(part)


def _keras(path: Path, threads: int | None) -> Runner:
    _limit(threads)
    from lepton_kit.compression.quantization.convert import load_keras

    return of_keras(load_keras(path))


def _limit(threads: int | None) -> None:
    if threads is None:
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _saved_model(path: Path, threads: int | None) -> Runner:
    _limit(threads)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    wanted = signature.structured_input_signature[1]

    def run(x: Arrays) -> list[np.ndarray]:
        given = _by_name(x, list(wanted), path)
        found = signature(
            **{name: tf.cast(_tensor(given[name]), spec.dtype) for name, spec in wanted.items()}
        )
        assert loaded is not None  # its variables live as long as it does
        return [np.asarray(found[name]) for name in sorted(found)]

    return run


def _litert(path: Path, threads: int | None) -> Runner:
    try:
        from lepton_kit.compression.quantization.litert import LiteRTModel

        model = LiteRTModel(path, threads or 1)
    except ImportError:
        raise CompressionError(
            f"{path.name}: LiteRT is not installed; pip install lepton-kit[compression]"
        ) from None

    def run(x: Arrays) -> list[np.ndarray]:
        if not isinstance(x, np.ndarray):
            raise ModelError(f"{path.name}: got several inputs; a LiteRT export takes one")
        return [model.predict(x, batch=max(1, len(x)))]

    return run


def _onnx(path: Path, threads: int | None) -> Runner:
    try:
        import onnxruntime
    except ImportError:
        raise CompressionError(
            f"{path.name}: onnxruntime is not installed; pip install lepton-kit[onnx]"
        ) from None
    settings = onnxruntime.SessionOptions()
    if threads is not None:
        settings.intra_op_num_threads = settings.inter_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as failure:  # its errors share no class but Exception
        raise ModelError(f"{path}: not a readable ONNX file ({str(failure)[:200]})") from None
    wanted = {one.name: ONNX_TYPES.get(one.type, "float32") for one in session.get_inputs()}

    def run(x: Arrays) -> list[np.ndarray]:
        given = _by_name(x, list(wanted), path)
        return session.run(None, {name: given[name].astype(kind) for name, kind in wanted.items()})

    return run


def _by_name(x: Arrays, names: Sequence[str], path: Path) -> dict[str, np.ndarray]:
    """Inputs under the names that a file gives them: those of the model, or in its order."""
    parts = dict(items(x))
    if len(parts) != len(names):
        raise ModelError(f"{path.name}: got {len(parts)} inputs; the model takes {', '.join(names)}")
    if all(name in parts for name in names):
        return {name: parts[name] for name in names}
    return dict(zip(names, parts.values(), strict=True))
