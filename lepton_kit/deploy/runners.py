"""One function, samples in and outputs out, for a trained model of every format; each loads only its own runtime."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.structure import Arrays, first, form, items, joined, label
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
    tensors = getattr(model, "inputs", None) or []
    wanted = {tensor.name: tuple(tensor.shape[1:]) for tensor in tensors}
    text = [tensor.name for tensor in tensors if tensor.dtype == "string"]

    def run(x: Arrays) -> list[np.ndarray]:
        from lepton_kit.training.inputs import Inputs

        if wanted:  # a subclassed model doesn't say
            by_name(x, wanted, f"model {model.name!r}", text)
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
    shapes = {name: tuple(spec.shape[1:]) for name, spec in wanted.items()}
    text = [name for name, spec in wanted.items() if spec.dtype == tf.string]

    def run(x: Arrays) -> list[np.ndarray]:
        given = by_name(x, shapes, path.name, text)
        found = signature(
            **{name: tf.cast(_tensor(given[name]), spec.dtype) for name, spec in wanted.items()}
        )
        assert loaded is not None  # its variables live as long as it does
        return [np.asarray(found[name]) for name in sorted(found, key=_place)]

    return run


def _place(name: str) -> tuple[int, str]:
    """Outputs by their number, as Keras names those of a list, else by name."""
    number = name.removeprefix("output_")
    return (int(number), "") if number.isdecimal() else (0, name)


def _litert(path: Path, threads: int | None) -> Runner:
    try:
        from lepton_kit.compression.quantization.litert import LiteRTModel

        model = LiteRTModel(path, threads or 1)
    except ImportError:
        raise CompressionError(
            f"{path.name}: LiteRT is not installed; pip install lepton-kit[compression]"
        ) from None

    def run(x: Arrays) -> list[np.ndarray]:
        return flat(model.predict(x, batch=max(1, len(first(x)))))

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
        unknown = re.search(r'In Node, \("([^"]+)".*No Op registered for (\w+)', str(failure), re.DOTALL)
        if unknown:
            raise ModelError(
                f"{path.name}: ONNX has no operation for {unknown[2]}, which {unknown[1]!r} needs; "
                "export this model to saved_model or litert"
            ) from None
        raise ModelError(f"{path}: not a readable ONNX file ({str(failure)[:200]})") from None
    wanted = {one.name: ONNX_TYPES.get(one.type, "float32") for one in session.get_inputs()}
    shapes = {
        one.name: tuple(size if isinstance(size, int) else None for size in one.shape[1:])
        for one in session.get_inputs()
    }

    def run(x: Arrays) -> list[np.ndarray]:
        given = by_name(x, shapes, path.name, [name for name, kind in wanted.items() if kind == "object"])
        return list(session.run(None, {name: given[name].astype(kind) for name, kind in wanted.items()}))

    return run


Shape = tuple[int | None, ...]


def samples_of(value: Any, name: str = "data") -> Arrays:
    """Samples that a user gives as arrays, rows first: one, several by name, or in order in a tuple or list.

    Raises `CompressionError` that names the input for what is no array of numbers, truth values or text, or has no
    rows, or another number of them than the first.

    >>> samples_of({"a": [1.0, 2.0], "b": [[1], [2]]})["b"].shape
    (2, 1)
    >>> samples_of([np.zeros(3), np.zeros(4)])
    Traceback (most recent call last):
    ...
    lepton_kit.errors.CompressionError: data: got inputs of 3, 4 samples; expected as many
    """
    given = tuple(value) if isinstance(value, list) else value
    found: dict[Any, np.ndarray] = {}
    for key, part in items(given):
        which = label(name, key)
        try:
            array = np.asarray(part)
        except ValueError:  # lists of unequal lengths
            array = np.empty(1, object)
        if array.dtype.kind not in "biufSU" and not (array.dtype.kind == "O" and _is_text(array)):
            what = "objects of several kinds or lengths" if array.dtype.kind == "O" else f"{array.dtype}"
            raise CompressionError(f"{which}: got an array of {what}; expected numbers or text")
        if not array.ndim:
            raise CompressionError(
                f"{which}: got the single value {part!r}; expected an array of samples, rows first"
            )
        found[key] = array.astype(str) if array.dtype.kind == "O" else array
    rows = {len(part) for part in found.values()}
    if not found or 0 in rows:
        raise CompressionError(f"{name}: got no samples; expected at least 1")
    if len(rows) > 1:
        raise CompressionError(
            f"{name}: got inputs of {', '.join(map(str, sorted(rows)))} samples; expected as many"
        )
    result: Arrays = joined(found)
    return result


def _is_text(array: np.ndarray) -> bool:
    return array.size > 0 and all(isinstance(one, str) for one in array.flat)


def by_name(
    x: Arrays, wanted: Mapping[str, Shape], model: str, text: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Samples under the names that a model gives its inputs: given so, or in its order.

    ``wanted`` are the shapes of a sample, None where any size will do; ``text`` are the inputs that take text. Raises
    `ModelError` that names the input which has another number, shape or kind of samples than the model takes.

    >>> by_name(np.zeros((2, 3)), {"x": (4,)}, "m.onnx")
    Traceback (most recent call last):
    ...
    lepton_kit.errors.ModelError: m.onnx: got samples of shape (3,); the model takes (4,)
    """
    parts = dict(items(x))
    if len(parts) != len(wanted):
        raise ModelError(f"{model}: got {form(x)}; the model takes {_told(wanted)}")
    if len(parts) > 1 and isinstance(x, dict) and parts.keys() != wanted.keys():
        raise ModelError(
            f"{model}: got the inputs {', '.join(map(str, parts))}; the model takes {_told(wanted)}"
        )
    names = list(parts) if parts.keys() == wanted.keys() else list(wanted)
    found = {str(name): part for name, part in zip(names, parts.values(), strict=True)}
    rows = len(next(iter(found.values())))
    for name, part in found.items():
        shape, given = wanted[name], tuple(part.shape[1:])
        which = f"input {name!r}: " if len(wanted) > 1 else ""
        padded = (
            (*given, 1) if len(given) == len(shape) - 1 and shape[-1] == 1 else given
        )  # Keras adds that axis
        if len(padded) != len(shape) or any(w not in (None, g) for w, g in zip(shape, padded, strict=True)):
            raise ModelError(f"{model}: {which}got samples of shape {given}; the model takes {_plain(shape)}")
        if part.dtype.kind in "SU" and name not in text:
            raise ModelError(
                f"{model}: {which}got text ({str(part.flat[0])[:40]!r}); the model takes numbers"
            )
        if len(part) != rows:
            raise ModelError(f"{model}: {which}got {len(part)} samples; the first input has {rows}")
    return {name: found[name] for name in wanted}


def _plain(shape: Shape) -> str:
    return str(shape).replace("None", "any size")


def _told(wanted: Mapping[str, Shape]) -> str:
    if len(wanted) == 1:
        return f"one array of samples of shape {_plain(next(iter(wanted.values())))}"
    return ", ".join(f"{name} {_plain(shape)}" for name, shape in wanted.items())
