"""One small Keras network per kind of input; all are exact under sharding (no batch statistics)."""

from __future__ import annotations

from typing import Any

import numpy as np

NAME = "lepton_model"
OUTPUT = {"classification": "logits", "regression": "values"}


def build_network(spec: dict[str, Any], seed: int | None) -> Any:
    """The Keras model of a `LeptonModel` spec; a classification ends in logits. Deterministic for a seed.

    Its layers follow Keras' dtype policy; samples are rescaled and outputs given in float32 under any.
    """
    import keras

    keras.utils.set_random_seed(spec["seed"] if spec.get("seed") is not None else (seed or 0))
    shape = tuple(spec["input_shape"])
    inputs = keras.Input(shape, name="input", dtype="int32" if spec["vocabulary_size"] else "float32")
    body = {1: _dense, 2: _sequence, 3: _image}[len(shape)]
    if spec["vocabulary_size"]:
        features = _text(inputs, spec)
    else:
        features = body(rescale(inputs, spec["input_range"]), spec)
    outputs = keras.layers.Dense(spec["num_classes"], dtype="float32", name=OUTPUT[spec["task"]])(features)
    return keras.Model(inputs, outputs, name=NAME)


def rescale(x: Any, input_range: tuple[float, float] | None) -> Any:
    """Map values from ``input_range`` to about -1..1; None and an empty range leave them as they are."""
    import keras

    if input_range is None or not np.isfinite(input_range).all() or input_range[1] <= input_range[0]:
        return x
    low, high = input_range
    scale = 2.0 / (high - low)
    # In float32: the values of a table may be beyond what half precision can hold.
    return keras.layers.Rescaling(scale, offset=-1.0 - low * scale, dtype="float32", name="rescale")(x)


def _dropout(x: Any, spec: dict[str, Any], name: str) -> Any:
    import keras

    return keras.layers.Dropout(spec["dropout"], name=name)(x) if spec["dropout"] else x


def _dense(x: Any, spec: dict[str, Any]) -> Any:
    import keras

    for i in range(spec["num_layers"]):
        x = keras.layers.Dense(spec["hidden_size"], activation="relu", name=f"dense_{i + 1}")(x)
        x = _dropout(x, spec, f"dropout_{i + 1}")
    return x


def _image(x: Any, spec: dict[str, Any]) -> Any:
    """Convolutions whose filters grow while max pooling halves the picture, then one dense layer."""
    import keras

    first = max(8, spec["hidden_size"] // 4)
    for i in range(max(1, spec["num_layers"] - 1)):
        filters = min(first * 2**i, 4 * spec["hidden_size"])
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{i + 1}")(x)
        if min(x.shape[1:3]) >= 4:
            x = keras.layers.MaxPooling2D(name=f"pool_{i + 1}")(x)
    # A large picture would make the dense layer hold nearly all weights: pool it down to at most 8 x 8.
    extra = min(x.shape[1:3]) // 8
    if extra >= 2:
        x = keras.layers.AveragePooling2D(extra, name="pool_last")(x)
    return _head(keras.layers.Flatten(name="flatten")(x), spec)


def _sequence(x: Any, spec: dict[str, Any]) -> Any:
    """Convolutions over time, or recurrent layers."""
    import keras

    layers = max(1, spec["num_layers"] - 1)
    if spec["cell"] != "conv":
        recurrent = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[spec["cell"]]
        for i in range(layers):
            last = i == layers - 1
            x = recurrent(spec["hidden_size"], return_sequences=not last, name=f"{spec['cell']}_{i + 1}")(x)
        return _head(x, spec)
    for i in range(layers):
        x = keras.layers.Conv1D(
            spec["hidden_size"], 3, padding="same", activation="relu", name=f"conv_{i + 1}"
        )(x)
        if x.shape[1] >= 4:
            x = keras.layers.MaxPooling1D(name=f"pool_{i + 1}")(x)
    extra = x.shape[1] // 8
    if extra >= 2:
        x = keras.layers.AveragePooling1D(extra, name="pool_last")(x)
    return _head(keras.layers.Flatten(name="flatten")(x), spec)


def _text(x: Any, spec: dict[str, Any]) -> Any:
    """Word vectors, convolutions over the words, the strongest answer of each filter (Kim 2014, arXiv:1408.5882)."""
    import keras

    x = keras.layers.Embedding(spec["vocabulary_size"], spec["hidden_size"], name="embedding")(x)
    if spec["cell"] != "conv":
        return _sequence(x, spec)
    for i in range(max(1, spec["num_layers"] - 2)):
        x = keras.layers.Conv1D(
            2 * spec["hidden_size"], 3, padding="same", activation="relu", name=f"conv_{i + 1}"
        )(x)
    return _head(keras.layers.GlobalMaxPooling1D(name="pool_last")(x), spec)


def _head(x: Any, spec: dict[str, Any]) -> Any:
    import keras

    x = keras.layers.Dense(spec["hidden_size"], activation="relu", name="dense")(x)
    return _dropout(x, spec, "dropout")


def read_spec(network: Any) -> dict[str, Any] | None:
    """The spec that `build_network` made this network from, read off its layers; None for any other model."""
    layers = {layer.name: layer for layer in getattr(network, "layers", ())}
    task = next((task for task, name in OUTPUT.items() if name in layers), None)
    if network.name != NAME or task is None:
        return None
    head = layers.get("dense", layers.get("dense_1"))
    if head is None:
        return None
    cell = next((cell for cell in ("gru", "lstm") if f"{cell}_1" in layers), "conv")
    counted = "dense_" if "dense_1" in layers else f"{cell}_"
    count = sum(name.startswith(counted) for name in layers)
    embedding, dropout = layers.get("embedding"), layers.get("dropout", layers.get("dropout_1"))
    span = None
    if "rescale" in layers:
        scale, offset = float(layers["rescale"].scale), float(layers["rescale"].offset)
        low = (-1.0 - offset) / scale
        span = [round(low, 6), round(low + 2.0 / scale, 6)]
    return {
        "kind": "lepton",
        "input_shape": list(network.input_shape[1:]),
        "num_classes": int(network.output_shape[-1]),
        "hidden_size": int(head.units),
        "num_layers": count + (0 if counted == "dense_" else 2 if embedding and cell == "conv" else 1),
        "input_range": span,
        "vocabulary_size": int(embedding.input_dim) if embedding else None,
        "cell": cell,
        "task": task,
        "dropout": float(dropout.rate) if dropout else 0.0,
    }
