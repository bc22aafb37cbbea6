"""What is fed to a model: structures of arrays as flat lists of tensors, in the types that the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.errors import ModelError


@dataclass(frozen=True)
class Outputs:
    """What a model gives for two samples: whether an output is masked, numbers a sample, and the kinds of add_loss."""

    masked: bool
    floats_a_row: int
    sums: tuple[int, ...]
    """Positions, among the losses that layers add, of those that are sums over samples and not means."""


class Inputs:
    """The structure and types of (x, y, weights), fixed by an example of two samples."""

    def __init__(self, model: Any, example: tuple[Any, Any, Any]):
        import tensorflow as tf

        self._structure = example
        tensors = [tf.convert_to_tensor(leaf) for leaf in self.arrays(*example)]
        self._shapes, self._types = [t.shape[1:] for t in tensors], [t.dtype for t in tensors]
        self._example = tensors
        self._casts = _casts(model, example[0])
        self.weighted = example[2] is not None

    def __len__(self) -> int:
        """Samples in the example."""
        return int(self._example[0].shape[0])

    @staticmethod
    def arrays(x: Any, y: Any, w: Any) -> tuple[Any, ...]:
        """The arrays in a fixed order, without what is None."""
        import tensorflow as tf

        return tuple(leaf for leaf in tf.nest.flatten([x, y, w]) if leaf is not None)

    def unpack(self, leaves: Any) -> tuple[Any, Any, Any]:
        """(x, y, weights) in the user's structure, inputs in the model's types."""
        import tensorflow as tf

        left = iter(leaves)
        filled = [None if part is None else next(left) for part in tf.nest.flatten(list(self._structure))]
        x, y, w = tf.nest.pack_sequence_as(list(self._structure), filled)
        return self.cast(x), y, w

    def cast(self, x: Any) -> Any:
        """Inputs in the model's types."""
        import tensorflow as tf

        flat = [
            part if wanted is None else tf.cast(part, wanted)
            for part, wanted in zip(tf.nest.flatten(x), self._casts, strict=True)
        ]
        return tf.nest.pack_sequence_as(x, flat)

    def packed(self, leaves: Any) -> Any:
        """The data as Keras gives it to a `train_step`."""
        import keras

        return keras.utils.pack_x_y_sample_weight(*self.unpack(leaves))

    def signature(self, *, steps: bool, rows: int | None = None) -> tuple[Any, ...]:
        """TensorSpecs of a batch, or of blocks of batches, of so many samples each; None: of any number."""
        import tensorflow as tf

        lead = [None, rows] if steps else [rows]
        return tuple(
            tf.TensorSpec([*lead, *shape], kind)
            for shape, kind in zip(self._shapes, self._types, strict=True)
        )

    def nothing(self, rows: int = 1) -> tuple[np.ndarray, ...]:
        """Arrays of a block without steps, of so many samples each."""
        kinds = [object if kind == "string" else kind.as_numpy_dtype for kind in self._types]
        return tuple(
            np.empty((0, rows, *shape), kind) for shape, kind in zip(self._shapes, kinds, strict=True)
        )

    def sample(self, rows: int) -> tuple[Any, ...]:
        """The first rows of the example."""
        return tuple(tensor[:rows] for tensor in self._example)

    @property
    def floats_a_row(self) -> int:
        """Numbers in one sample with its target and weight."""
        return sum(int(np.prod(shape)) for shape in self._shapes)

    def build(self, model: Any) -> None:
        """Have Keras build the compiled loss and the metrics, which it does on the first batch."""
        x, y, w = self.unpack(self._example)
        try:
            model._symbolic_build(data_batch=(x, y, w))
        except RuntimeError:  # a call that only real numbers can go through
            predicted = model(x)
            model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=w, training=False)
            model.compute_metrics(x, y, predicted, sample_weight=w)
            model.reset_metrics()

    def outputs(self, model: Any) -> Outputs:
        """Look at what two samples give. Raises `ModelError` for an output without a row per sample."""
        import tensorflow as tf
        from keras.src import backend

        predicted, losses = self._predict(model, slice(0, 2))
        floats, masked = 0, False
        for output in tf.nest.flatten(predicted):
            if output is None:
                continue
            output = tf.convert_to_tensor(output) if not tf.is_tensor(output) else output
            mask = backend.get_keras_mask(output)
            masked = masked or mask is not None
            if not output.shape.rank or output.shape[0] != 2:
                raise ModelError(
                    f"model {model.name!r}: an output has the shape {tuple(output.shape)} for 2 samples; expected "
                    "one row a sample"
                )
            floats += int(np.prod(output.shape[1:])) + (0 if mask is None else int(np.prod(mask.shape[1:])))
        parts = [self._predict(model, slice(k, k + 1))[1] for k in range(2)] if losses else []
        return Outputs(masked, floats, _sums(losses, parts))

    def _predict(self, model: Any, rows: slice) -> tuple[Any, list[float]]:
        import keras

        x, _, _ = self.unpack([tensor[rows] for tensor in self._example])
        with keras.StatelessScope(collect_losses=True) as scope:
            predicted = model(x, training=True) if model._call_has_training_arg else model(x)
        return predicted, [float(np.sum(loss)) for loss in scope.losses]


def _sums(whole: list[float], parts: list[list[float]]) -> tuple[int, ...]:
    """Which losses of two samples are nearer to the sum than to the mean of those of each alone.

    >>> _sums([4.0, 1.5], [[1.0, 1.0], [3.0, 2.0]])
    (0,)
    """
    found = []
    for k, value in enumerate(whole):
        total = sum(part[k] for part in parts)
        if abs(value - total) < abs(value - total / 2):
            found.append(k)
    return tuple(found)


def _casts(model: Any, x: Any) -> list[str | None]:
    """The type each input is cast to: the model's own where it declares one, float32 for bytes, else none."""
    import tensorflow as tf

    declared = _declared(model, x)
    found = []
    for part, wanted in zip(tf.nest.flatten(x), declared, strict=True):
        kind = np.asarray(part).dtype
        if wanted is None and kind.name in ("uint8", "float64", "float16"):
            wanted = "float32"
        found.append(wanted if wanted not in (kind.name, "string") else None)
    return found


def _declared(model: Any, x: Any) -> list[str | None]:
    import tensorflow as tf

    nothing: list[str | None] = [None] * len(tf.nest.flatten(x))
    try:
        specs = model.input
    except (AttributeError, ValueError):
        return nothing  # a subclassed model declares no inputs
    if isinstance(x, dict):
        named = specs if isinstance(specs, dict) else {spec.name: spec for spec in tf.nest.flatten(specs)}
        ordered = [named.get(name) for name in sorted(x)]  # the order in which dictionaries are flattened
    else:
        ordered = tf.nest.flatten(specs)
    if len(ordered) != len(nothing):
        return nothing
    kinds = [getattr(spec, "dtype", None) for spec in ordered]
    return [kind if isinstance(kind, str) else None for kind in kinds]
