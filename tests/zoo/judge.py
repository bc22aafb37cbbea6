"""The judge of the zoo: what files answer, computed by the runtimes themselves without a line of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def named(model: Any, x: Any) -> dict[str, np.ndarray]:
    """Samples by the names of the model's inputs."""
    if isinstance(x, dict):
        return x
    parts = x if isinstance(x, list | tuple) else [x]
    return {tensor.name: part for tensor, part in zip(model.inputs, parts, strict=True)}


def litert(path: Path, x: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Every sample by itself through LiteRT's interpreter; whole-number inputs and outputs by their own scale."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    signature = next(iter(interpreter.get_signature_list()))
    runner = interpreter.get_signature_runner(signature)
    takes, gives = runner.get_input_details(), runner.get_output_details()
    if len(takes) == 1:
        x = {next(iter(takes)): next(iter(x.values()))}
    names = sorted(gives, key=lambda name: (len(name), name))
    found: list[list[np.ndarray]] = [[] for _ in names]
    for row in range(len(next(iter(x.values())))):
        given = {name: _stored(x[name][row : row + 1], details) for name, details in takes.items()}
        answer = runner(**given)
        for place, name in enumerate(names):
            found[place].append(_real(answer[name], gives[name]))
    return [np.concatenate(one) for one in found]


def _stored(x: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero = details["quantization"]
    kind = np.dtype(details["dtype"])
    if scale and kind.kind in "iu":
        limits = np.iinfo(kind)
        return np.clip(np.round(x / np.float32(scale)) + zero, limits.min, limits.max).astype(kind)
    return x.astype(kind)


def _real(y: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero = details["quantization"]
    return (y.astype(np.float32) - zero) * np.float32(scale) if scale and y.dtype.kind in "iu" else y


def onnx(path: Path, x: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The samples through onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    takes = session.get_inputs()
    if len(takes) == 1:
        x = {takes[0].name: next(iter(x.values()))}
    kinds = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}
    return list(session.run(None, {one.name: x[one.name].astype(kinds[one.type]) for one in takes}))


def saved_model(path: Path, x: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The samples through the serving signature."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    takes = serve.structured_input_signature[1]
    if len(takes) == 1:
        x = {next(iter(takes)): next(iter(x.values()))}
    answer = serve(**{name: tf.constant(x[name], spec.dtype) for name, spec in takes.items()})
    return [np.asarray(answer[name]) for name in sorted(answer, key=lambda name: (len(name), name))]


def types(path: Path) -> set[str]:
    """The types of the tensors in a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    return {np.dtype(one["dtype"]).name for one in Interpreter(str(path)).get_tensor_details()}


def keras_file(path: Path, x: Any, custom: dict[str, Any]) -> list[np.ndarray]:
    """The samples through Keras, read anew."""
    import keras

    return answers(keras.saving.load_model(path, custom_objects=custom), x)


def answers(model: Any, x: Any) -> list[np.ndarray]:
    """What a Keras model says, output by output; one that keeps its state between calls begins anew."""
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_states()
    found = model(x, training=False)
    return [np.asarray(one) for one in (found if isinstance(found, list | tuple) else [found])]


def error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The root mean square of the differences as a share of the spread of the expected numbers, the worst output's."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape, f"got shape {one.shape}; expected {other.shape}"
        assert np.isfinite(one).all(), "got NaN or infinity"
        worst = max(worst, float(np.sqrt(((one - other) ** 2).mean()) / (other.std() + 1e-9)))
    return worst
