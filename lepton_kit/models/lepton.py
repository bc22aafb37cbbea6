"""LeptonModel: a network that suits the shape of its input, trained, evaluated and stored with short verbs."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.errors import ConfigError, ModelError, writing

CELLS = ("conv", "gru", "lstm")
TASKS = ("classification", "regression")
FIELDS = (
    "input_shape",
    "num_classes",
    "hidden_size",
    "num_layers",
    "input_range",
    "vocabulary_size",
    "cell",
    "task",
    "dropout",
    "seed",
)


class LeptonModel:
    """A network picked by the rank of its input; for a regression ``num_classes`` is the number of targets.

    ``(n,)`` dense; ``(time, channels)`` convolutional or recurrent (``cell``); ``(height, width, channels)``
    convolutional, from 4 x 4 up; ``(time,)`` of token ids with ``vocabulary_size``. Outputs are logits, shape
    ``(batch, num_classes)``. Keras loads and the weights appear on first use of `network`.

    >>> LeptonModel((28, 28, 1), 10)
    LeptonModel((28, 28, 1), 10, hidden_size=64, num_layers=3)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        hidden_size: int = 64,
        num_layers: int = 3,
        *,
        input_range: Sequence[float] | None = None,
        vocabulary_size: int | None = None,
        cell: str = "conv",
        task: str = "classification",
        dropout: float = 0.0,
        seed: int | None = None,
    ):
        self.input_shape = _shape(input_shape, vocabulary_size)
        self.num_classes = _count("num_classes", num_classes, 2 if task == "classification" else 1)
        self.hidden_size = _count("hidden_size", hidden_size, 1, 65_536)
        self.num_layers = _count("num_layers", num_layers, 1, 1000)
        self.vocabulary_size = (
            None if vocabulary_size is None else _count("vocabulary_size", vocabulary_size, 2)
        )
        if cell not in CELLS:
            raise ConfigError("model.cell", given=cell, rule=f"one of {', '.join(CELLS)}")
        if task not in TASKS:
            raise ConfigError("model.task", given=task, rule=f"one of {', '.join(TASKS)}")
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ConfigError("model.dropout", given=dropout, rule="a share of at least 0, below 1")
        if seed is not None:
            _count("seed", seed, 0)
        self.cell, self.task, self.dropout, self.seed = cell, task, float(dropout), seed
        self.input_range = _range(input_range)
        self._network: Any = None

    def spec(self) -> dict[str, Any]:
        """Plain types that `from_spec` turns into an equal, untrained model."""
        values = {name: getattr(self, name) for name in FIELDS}
        values["input_shape"] = list(self.input_shape)
        values["input_range"] = list(self.input_range) if self.input_range else None
        return {"kind": "lepton", **values}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> LeptonModel:
        """The model of a spec. Raises `ConfigError` for an unknown or missing setting."""
        values = dict(spec)
        if values.pop("kind", "lepton") != "lepton":
            raise ConfigError("model.kind", given=spec["kind"], rule="lepton")
        values.pop("notes", None)
        for name in values:
            if name not in FIELDS:
                raise ConfigError(f"model.{name}", given=values[name], rule=f"one of {', '.join(FIELDS)}")
        for name in FIELDS[:2]:
            if name not in values:
                raise ConfigError(f"model.{name}", given=None, rule="a value: it has no default")
        return cls(**values)

    @property
    def built(self) -> bool:
        """Whether the Keras network, and so its weights, exist already."""
        return self._network is not None

    @property
    def network(self) -> Any:
        """The Keras model, built on first use."""
        if self._network is None:
            from lepton_kit.models.networks import build_network

            spec = self.spec()
            if self.input_range is None and len(self.input_shape) == 3:
                spec["input_range"] = [0.0, 255.0]
            self._network = build_network(spec, self.seed)
        return self._network

    def fitted_to(self, prepared: Any) -> LeptonModel:
        """A copy whose open settings are taken from prepared data. Raises `ModelError` where they don't fit."""
        from lepton_kit.models.fit import check_lepton

        check_lepton(self, prepared)
        fitted = copy.copy(self)
        if self._network is None:
            if self.input_range is None and prepared.vocabulary_size is None and self.vocabulary_size is None:
                fitted.input_range = _range(prepared.value_range)
            if prepared.vocabulary_size is not None and self.vocabulary_size is None:
                fitted.vocabulary_size = prepared.vocabulary_size
        return fitted

    def __call__(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits (or regression values), shape ``(batch, num_classes)``."""
        return self.network(inputs, training=training)

    @property
    def trainable_variables(self) -> list[Any]:
        """The Keras variables that training changes."""
        return list(self.network.trainable_variables)

    @property
    def variables(self) -> list[Any]:
        """All Keras variables."""
        return list(self.network.variables)

    @property
    def weights(self) -> list[Any]:
        """All Keras variables that are weights, trained or not."""
        return list(self.network.weights)

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that training changes."""
        return list(self.network.trainable_weights)

    @property
    def non_trainable_variables(self) -> list[Any]:
        """The variables that training leaves alone."""
        return list(self.network.non_trainable_variables)

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The weights that training leaves alone."""
        return list(self.network.non_trainable_weights)

    @property
    def losses(self) -> list[Any]:
        """What layers add to the loss; a loop of one's own adds it up. Empty, unless the network was changed."""
        return list(self.network.losses)

    @property
    def layers(self) -> list[Any]:
        """The Keras layers, from input to output."""
        return list(self.network.layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """One Keras layer, by its name or its place."""
        return self.network.get_layer(name=name, index=index)

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights."""
        return bool(self.network.trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.network.trainable = value

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights."""
        return list(self.network.get_weights())

    def set_weights(self, weights: Iterable[np.ndarray]) -> None:
        """Replace all weights."""
        self.network.set_weights(list(weights))

    def save_weights(self, path: str | Path, overwrite: bool = True) -> None:
        """Write all weights to a ``.weights.h5`` file of Keras."""
        self.network.save_weights(path, overwrite=overwrite)

    def load_weights(self, path: str | Path) -> None:
        """Read what `save_weights` of an equal model wrote."""
        self.network.load_weights(path)

    def count_params(self) -> int:
        """Number of weights."""
        return int(self.network.count_params())

    def summary(self, **options: Any) -> None:
        """Print the layers; ``options`` are those of Keras' `summary`, such as ``line_length``."""
        self.network.summary(**options)

    def train(
        self,
        data: Any,
        *,
        epochs: int = 5,
        global_batch: int = 128,
        learning_rate: float = 1e-3,
        validation: bool = True,
        verbose: int | str = "auto",
    ) -> dict[str, list[float]]:
        """Train in this process with Adam; the history is {name: one value an epoch}.

        ``data`` is a Dataset, PreparedData, a pair (x, y) or a `tf.data.Dataset` of batches.
        """
        from lepton_kit.models.fit import fit

        return fit(self, data, epochs, global_batch, learning_rate, validation, verbose)

    def evaluate(self, data: Any, *, batch_size: int = 256) -> dict[str, float]:
        """Loss and metrics on the validation split (all data of a pair or where nothing is held out)."""
        from lepton_kit.models.fit import evaluate

        return evaluate(self, data, batch_size)

    def inference(self, x: Any, *, batch_size: int = 256) -> np.ndarray:
        """Class probabilities, float32 ``(n, num_classes)``; for a regression the values.

        ``x`` is an array or a tensor ``(n, …)``, or a `tf.data.Dataset` of batches, alone or with targets.
        """
        from lepton_kit.models.fit import inference

        return inference(self, x, batch_size)

    def save(self, path: str | Path) -> Path:
        """Write the network to a ``.keras`` file, atomically; `load` reads it, and so does Keras."""
        path = Path(path)
        if path.suffix != ".keras":
            raise ModelError(f"{path}: expected a file name that ends in .keras")
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
        with writing("path", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.network.save(temporary)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> LeptonModel:
        """Read what `save` wrote. Raises `ModelError` for another kind of model."""
        from lepton_kit.models.fit import load_network

        result: LeptonModel = load_network(cls, Path(path))
        return result

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if not name.startswith("_"):
            hint = "; .network is its Keras model and has what every Keras model has"
        if name in ("compile", "fit"):
            hint = (
                "; train() and lk.fit need no compile, and lk.launch takes optimizer=, loss= and metrics="
                + hint
            )
        raise AttributeError(f"LeptonModel has no attribute {name!r}{hint}", name=name, obj=self)

    def __repr__(self) -> str:
        shown = [f"hidden_size={self.hidden_size}", f"num_layers={self.num_layers}"]
        if self.vocabulary_size is not None:
            shown.append(f"vocabulary_size={self.vocabulary_size}")
        if self.cell != "conv":
            shown.append(f"cell={self.cell!r}")
        if self.task != "classification":
            shown.append(f"task={self.task!r}")
        return f"LeptonModel({self.input_shape}, {self.num_classes}, {', '.join(shown)})"


def _count(name: str, value: Any, low: int, high: int | None = None) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise ConfigError(f"model.{name}", given=value, rule=f"a whole number of at least {low}")
    if high is not None and value > high:
        raise ConfigError(f"model.{name}", given=value, rule=f"a whole number of at most {high}")
    return int(value)


def _shape(value: Any, vocabulary_size: int | None) -> tuple[int, ...]:
    rule = "1 to 3 whole numbers: (n,), (time, channels) or (height, width, channels)"
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError("model.input_shape", given=value, rule=rule)
    shape = tuple(value)
    if not 1 <= len(shape) <= 3 or not all(isinstance(n, int | np.integer) and n >= 1 for n in shape):
        raise ConfigError("model.input_shape", given=value, rule=rule)
    if vocabulary_size is not None and len(shape) != 1:
        raise ConfigError("model.input_shape", given=value, rule="(sequence length,) with a vocabulary_size")
    return tuple(int(n) for n in shape)


def _range(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        raise ConfigError("model.input_range", given=value, rule="(low, high)") from None
    return low, high
