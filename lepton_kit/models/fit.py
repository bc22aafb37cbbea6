"""What a LeptonModel does with data in this process: fit checks, training, evaluation, inference, loading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data import Dataset, PreparedData
from lepton_kit.data.elements import Elements, is_stream, source_of
from lepton_kit.data.structure import form
from lepton_kit.errors import DataError, ModelError


def check_lepton(model: Any, prepared: PreparedData) -> None:
    """Raise `ModelError` that names both shapes, or the label range, where model and data don't fit."""
    shape = prepared.sample_shape
    if isinstance(shape, dict):
        raise ModelError(f"LeptonModel takes one input; the data have {len(shape)}: {', '.join(shape)}")
    if tuple(shape) != model.input_shape:
        raise ModelError(
            f"the model expects samples of shape {model.input_shape}; the data have {tuple(shape)}"
        )
    for split in (prepared.train, prepared.validation):
        if split is not None:
            _check_targets(model, prepared, split.y)
    if (
        model.vocabulary_size
        and prepared.vocabulary_size
        and prepared.vocabulary_size > model.vocabulary_size
    ):
        raise ModelError(
            f"the model's vocabulary_size is {model.vocabulary_size}; the data have {prepared.vocabulary_size} words"
        )


def _check_targets(model: Any, prepared: PreparedData, y: Any) -> None:
    if not isinstance(y, np.ndarray):
        given = "the data have none" if y is None else f"the data have targets for {len(y)}"
        raise ModelError(f"LeptonModel has one output; {given}")
    target, classes = y.shape[1:], model.num_classes
    if model.task == "regression":
        if prepared.class_names is not None:
            raise ModelError("the model is a regression, but the data's task is classification")
        if target not in ((), (classes,)) or (target == () and classes != 1):
            raise ModelError(f"the model gives {classes} values a sample; the targets have shape {target}")
        return
    if target == (classes,):
        if not ((y == 0) | (y == 1)).all():
            raise ModelError(
                f"the model has {classes} classes; targets of shape {target} must be 0 or 1, one for each class"
            )
        return
    if target not in ((), (1,)):
        raise ModelError(f"the model gives {classes} values a sample; the targets have shape {target}")
    if y.dtype.kind == "f":
        raise ModelError("the model classifies, but the data's task is regression; give task='regression'")
    _check_labels(model, prepared, y)


def _check_labels(model: Any, prepared: PreparedData, y: np.ndarray) -> None:
    classes, names = model.num_classes, prepared.class_names
    low, high = (int(y.min()), int(y.max())) if len(y) else (0, 0)
    if low < 0:
        raise ModelError(f"y: label {low} is out of range; the model's labels are 0 to {classes - 1}")
    high = max(high, (prepared.num_classes or 1) - 1)
    if high >= classes:
        large = high > max(1000, len(prepared.train)) and names is None
        hint = f": whole numbers up to {high} are no class labels; for a regression give task='regression'"
        raise ModelError(
            f"the model has {classes} classes (labels 0 to {classes - 1}); the data have labels up to {high}"
            + (hint if large else "")
        )
    if y is prepared.train.y and low == int(y.max()):
        raise ModelError(f"y: one class only ({names[low] if names else low}); expected at least two")


def fit(
    model: Any, data: Any, epochs: int, batch: int, learning_rate: float, validation: bool, verbose: Any
) -> dict[str, list[float]]:
    """Train with Keras' own loop; see `LeptonModel.train`."""
    import keras

    prepared = _prepared(data)
    if prepared is not None:
        fitted = model.fitted_to(prepared)
        model.input_range, model.vocabulary_size = fitted.input_range, fitted.vocabulary_size
    _compile(model, keras.optimizers.Adam(learning_rate), prepared)
    if prepared is None:
        history = model.network.fit(data, epochs=epochs, verbose=verbose)
    else:
        held = prepared.validation if validation else None
        history = model.network.fit(
            np.asarray(prepared.train.x),
            np.asarray(prepared.train.y),
            epochs=epochs,
            batch_size=batch,
            validation_data=(np.asarray(held.x), np.asarray(held.y)) if held else None,
            verbose=verbose,
        )
    return {name: [float(v) for v in values] for name, values in history.history.items()}


def evaluate(model: Any, data: Any, batch: int) -> dict[str, float]:
    """See `LeptonModel.evaluate`."""
    prepared = _prepared(data)
    if prepared is not None:
        check_lepton(model, prepared)
    _compile(model, getattr(model.network, "optimizer", None) or "adam", prepared)
    if prepared is None:
        result = model.network.evaluate(data, verbose=0, return_dict=True)
    else:
        split = prepared.validation or prepared.train
        result = model.network.evaluate(
            np.asarray(split.x), np.asarray(split.y), batch_size=batch, verbose=0, return_dict=True
        )
    return {name: float(value) for name, value in result.items()}


def inference(model: Any, x: Any, batch: int) -> np.ndarray:
    """See `LeptonModel.inference`."""
    import keras

    outputs = []
    for part in _inputs(x):
        if part.shape[1:] != model.input_shape:
            raise ModelError(
                f"the model expects samples of shape {model.input_shape}; got an array of shape {part.shape}"
            )
        outputs += [
            np.asarray(model(part[i : i + batch], training=False)) for i in range(0, len(part), batch)
        ]
    joined = np.concatenate(outputs) if outputs else np.zeros((0, model.num_classes), np.float32)
    if model.task == "regression":
        return joined
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(joined, axis=-1)))


def _inputs(x: Any) -> Iterator[np.ndarray]:
    """The samples as one array, or batch by batch where they come so."""
    if not is_stream(x):
        yield np.asarray(x)
        return
    elements = Elements(batched=True)
    for place, element in enumerate(source_of(x).read()):
        inputs = elements.rows(element, place)[0].x
        if not isinstance(inputs, np.ndarray):
            raise ModelError(f"LeptonModel takes one input; element {place} has {form(inputs)}")
        yield inputs


def load_network(cls: Any, path: Path) -> Any:
    """See `LeptonModel.load`."""
    import keras

    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as failure:
        raise ModelError(f"{path}: Keras cannot read it ({str(failure).splitlines()[0]})") from None
    return adopt(cls, network, path)


def adopt(cls: Any, network: Any, path: Path | None = None) -> Any:
    """A LeptonModel around a network that `build_network` made. Raises `ModelError` for any other."""
    from lepton_kit.models.networks import read_spec

    spec = read_spec(network)
    if spec is None:
        raise ModelError(
            f"{path or network.name}: not a LeptonModel's network; keras.models.load_model reads it"
        )
    model = cls.from_spec(spec)
    model._network = network
    return model


def _compile(model: Any, optimizer: Any, prepared: PreparedData | None) -> None:
    import keras

    from lepton_kit.models.targets import Target, default_objects

    if model.task == "regression":
        loss, metrics = keras.losses.MeanSquaredError(), ["mae"]
    elif prepared is None:
        loss, metrics = keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]
    else:
        y = prepared.train.y
        assert isinstance(y, np.ndarray)
        loss, metrics, _ = default_objects(Target(None, (model.num_classes,), "linear", None, y))
    model.network.compile(optimizer, loss, metrics=metrics)


def _prepared(data: Any) -> PreparedData | None:
    if isinstance(data, PreparedData):
        return data
    if isinstance(data, Dataset):
        return data.prepare()
    if isinstance(data, tuple) and len(data) == 2:
        from lepton_kit.data import arrays

        return arrays(*data, validation_split=0.0).prepare()
    if hasattr(data, "element_spec"):
        return None
    raise DataError(
        f"data: a {type(data).__name__}; expected a Dataset, PreparedData, (x, y) or tf.data.Dataset"
    )
