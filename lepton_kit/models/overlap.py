"""The Dice coefficient of masks as a Keras metric. Importing this module loads Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from lepton_kit.errors import ModelError


@keras.saving.register_keras_serializable(package="lepton_kit")
class Dice(keras.metrics.Metric):
    r"""The Dice coefficient (Dice 1945, doi:10.2307/1932409) over all places of all samples: twice what both mark,
    divided by what each of them marks.

    $$D = 2\,|A \cap B|\,/\,(|A| + |B|)$$

    Of one unit (a probability, ``threshold`` 0.5; 0.0 for logits) it is that of the foreground, with targets 0 and 1.
    Of several units it is the mean over the classes that occur, of the largest unit against class numbers or one-hot
    targets; of two units that of the second. Sums are kept, so the value does not depend on how samples are cut into
    batches: it is the ``dice`` of `lepton_kit.compress` and of the model card. Where nothing is marked it is 1.
    Sample weights are not taken. ``units`` is the number of units of the output.

    >>> metric = Dice()
    >>> metric.update_state([[[0], [1], [1]]], [[[0.2], [0.9], [0.4]]])
    >>> round(float(metric.result()), 4)
    0.6667
    """

    def __init__(self, units: int = 1, threshold: float = 0.5, name: str = "dice", dtype: Any = None):
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise ModelError(f"units: got {units!r}; expected the number of units of the output, at least 1")
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"
        self.units, self.threshold = units, float(threshold)
        # Whole numbers: float32 sums would stop growing at 16 million places.
        self.both = self.add_variable((max(units, 2),), "zeros", dtype="int64", name="both")
        self.marked = self.add_variable((max(units, 2),), "zeros", dtype="int64", name="marked")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the places of a batch."""
        y_pred, y_true = ops.convert_to_tensor(y_pred), ops.convert_to_tensor(y_true)
        if y_pred.shape[-1] != self.units:
            raise ModelError(
                f"metric {self.name!r}: the output has {y_pred.shape[-1]} units; made for units={self.units}"
            )
        if self.units == 1:
            told = ops.reshape(ops.cast(ops.cast(y_pred, "float32") > self.threshold, "int32"), (-1,))
            true = ops.reshape(ops.cast(ops.cast(y_true, "float32") > 0.5, "int32"), (-1,))
        else:
            told = ops.reshape(ops.argmax(y_pred, axis=-1), (-1,))
            one_hot = len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == self.units
            true = ops.reshape(ops.argmax(y_true, axis=-1) if one_hot else ops.cast(y_true, "int32"), (-1,))
        classes = ops.arange(max(self.units, 2), dtype="int32")
        told = ops.cast(told, "int32")[:, None] == classes
        true = ops.cast(true, "int32")[:, None] == classes
        self.both.assign_add(ops.sum(ops.cast(ops.logical_and(told, true), "int64"), axis=0))
        self.marked.assign_add(ops.sum(ops.cast(told, "int64") + ops.cast(true, "int64"), axis=0))

    def result(self) -> Any:
        """The coefficient, between 0 and 1."""
        marked = ops.cast(self.marked, "float32")
        each = 2.0 * ops.cast(self.both, "float32") / ops.maximum(marked, 1.0)
        there = ops.cast(marked > 0, "float32")
        if self.units <= 2:
            return ops.where(there[1] > 0, each[1], 1.0)
        return ops.sum(each * there) / ops.maximum(ops.sum(there), 1.0)

    def get_config(self) -> dict[str, Any]:
        """What a copy is made from."""
        return {**super().get_config(), "units": self.units, "threshold": self.threshold}
