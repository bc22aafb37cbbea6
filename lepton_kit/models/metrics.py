"""Balanced accuracy as a Keras metric, for classes of very different size. Importing this module loads Keras."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="lepton_kit")
class BalancedAccuracy(keras.metrics.Metric):
    """The mean over the classes of the share of their samples that is answered right (the mean recall).

    Targets are class numbers, shape ``(n,)`` or ``(n, 1)``; predictions have a unit a class, or one unit for the second
    of two classes, which answers above ``threshold`` (0 for logits). A classifier that always says the same class has
    ``1 / num_classes``, however frequent that class is. Classes without samples do not count. It keeps two sums a
    class, so parts of a batch add up to the whole.

    >>> metric = BalancedAccuracy(2)
    >>> metric.update_state([0, 0, 0, 1], [[2.0, 1.0]] * 4)
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self, num_classes: int, threshold: float = 0.0, name: str = "balanced_accuracy", dtype: Any = None
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes, self.threshold = num_classes, threshold
        self.right = self.add_variable((num_classes,), "zeros", name="right")
        self.total = self.add_variable((num_classes,), "zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count further samples, each with its weight."""
        ops = keras.ops
        scores = ops.convert_to_tensor(y_pred)
        told = (
            ops.argmax(scores, axis=-1)
            if scores.shape[-1] != 1
            else ops.cast(ops.reshape(scores, (-1,)) > self.threshold, "int32")
        )
        truth = ops.reshape(ops.cast(ops.convert_to_tensor(y_true), "int32"), (-1,))
        weight = ops.cast(ops.one_hot(truth, self.num_classes), self.dtype)
        if sample_weight is not None:
            weight *= ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
        hit = ops.cast(ops.equal(ops.reshape(ops.cast(told, "int32"), (-1,)), truth), self.dtype)
        self.right.assign_add(ops.sum(weight * hit[:, None], axis=0))
        self.total.assign_add(ops.sum(weight, axis=0))

    def result(self) -> Any:
        """The mean over the classes that have samples; 0 without any."""
        ops = keras.ops
        there = ops.cast(self.total > 0, self.dtype)
        recall = self.right / ops.maximum(self.total, keras.config.epsilon())
        return ops.sum(recall * there) / ops.maximum(ops.sum(there), 1.0)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the metric again from."""
        return {**super().get_config(), "num_classes": self.num_classes, "threshold": self.threshold}


def without(model: Any) -> None:
    """Take this package's metrics out of what a model is compiled with, so that Keras alone can read its file."""
    given = getattr(getattr(model, "_compile_metrics", None), "_user_metrics", None)
    if not isinstance(given, list) or not any(isinstance(one, BalancedAccuracy) for one in given):
        return
    settings = {**model._compile_config.config, "optimizer": model.optimizer, "loss": model.loss}
    settings["metrics"] = [one for one in given if not isinstance(one, BalancedAccuracy)]
    model.compile(**settings)
