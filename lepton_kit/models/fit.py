"""What a LeptonModel does with data in this process: fit checks, training, evaluation, inference, loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data import Dataset, PreparedData
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
    if model.task == "classification":
        if prepared.task != "classification":
            raise ModelError(
                f"the model classifies, but the data's task is {prepared.task}; give task='regression'"
            )
        if prepared.num_classes is not None and prepared.num_classes > model.num_classes:
            raise ModelError(
                f"the model has {model.num_classes} classes (labels 0 to {model.num_classes - 1}); "
                f"the data have labels up to {prepared.num_classes - 1}"
            )
    else:
        if prepared.task != "regression":
            raise ModelError(f"the model is a regression, but the data's task is {prepared.task}")
        assert isinstance(prepared.train.y, np.ndarray)
        target = prepared.train.y.shape[1:]
        if target not in ((), (model.num_classes,)) or (target == () and model.num_classes != 1):
            raise ModelError(
                f"the model gives {model.num_classes} values a sample; the targets have shape {target}"
            )
    if (
        model.vocabulary_size
        and prepared.vocabulary_size
        and prepared.vocabulary_size > model.vocabulary_size
    ):
        raise ModelError(
            f"the model's vocabulary_size is {model.vocabulary_size}; the data have {prepared.vocabulary_size} words"
        )


def fit(
    model: Any, data: Any, epochs: int, batch: int, learning_rate: float, validation: bool, verbose: Any
) -> dict[str, list[float]]:
    """Train with Keras' own loop; see `LeptonModel.train`."""
    import keras

    prepared = _prepared(data)
    if prepared is not None:
        fitted = model.fitted_to(prepared)
        model.input_range, model.vocabulary_size = fitted.input_range, fitted.vocabulary_size
    _compile(model, keras.optimizers.Adam(learning_rate))
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
    _compile(model, getattr(model.network, "optimizer", None) or "adam")
    if prepared is None:
        result = model.network.evaluate(data, verbose=0, return_dict=True)
    else:
        check_lepton(model, prepared)
        split = prepared.validation or prepared.train
        result = model.network.evaluate(
            np.asarray(split.x), np.asarray(split.y), batch_size=batch, verbose=0, return_dict=True
        )
    return {name: float(value) for name, value in result.items()}


def inference(model: Any, x: Any, batch: int) -> np.ndarray:
    """See `LeptonModel.inference`."""
    import keras

    x = np.asarray(x)
    if x.shape[1:] != model.input_shape:
        raise ModelError(
            f"the model expects samples of shape {model.input_shape}; got an array of shape {x.shape}"
        )
    outputs = [np.asarray(model(x[i : i + batch], training=False)) for i in range(0, len(x), batch)]
    joined = np.concatenate(outputs) if outputs else np.zeros((0, model.num_classes), np.float32)
    if model.task == "regression":
        return joined
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(joined, axis=-1)))


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


def _compile(model: Any, optimizer: Any) -> None:
    import keras

    if model.task == "classification":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.network.compile(optimizer, loss, metrics=["accuracy"])
    else:
        model.network.compile(optimizer, "mse", metrics=["mae"])


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
