"""Evaluation over all ranks: sums of parts where losses and metrics add up, else batch by batch as Keras does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.data.structure import first
from lepton_kit.training.gather import Part
from lepton_kit.training.inputs import Inputs
from lepton_kit.training.patched import over_all_ranks, shared_logs
from lepton_kit.training.routes import is_own, losses_by_output
from lepton_kit.training.scope import call, flat
from lepton_kit.training.tally import Tally

LOCAL_BATCH = 256
AHEAD = 16 * LOCAL_BATCH
"""Rows that a source larger than memory may read while those before are evaluated."""


class Evaluation:
    """The compiled evaluation of a `Step`'s model, over the collective of that step."""

    def __init__(self, step: Any, batch: int, example: tuple[Any, Any, Any] | None):
        import tensorflow as tf

        self._step, self._batch = step, batch
        self._inputs = step.inputs if example is None else Inputs(step.model, example)
        self._whole = (
            step.gathered is not None
            or bool(step.sums)
            or bool(losses_by_output(step.model))
            or is_own(step.model, "test_step")
        )
        signature = [self._inputs.signature(steps=False)]
        if self._whole:
            signature.append(Part.signature())
        function: Any = self._whole_batch if self._whole else self._part
        self._function: Any = (
            function if step.eager else tf.function(function, input_signature=signature, autograph=False)
        )

    @property
    def floats(self) -> int:
        """Numbers in the largest sum over ranks."""
        return self._batch * (self._inputs.floats_a_row + self._step.floats_a_row) if self._whole else 0

    def warm(self) -> None:
        """Trace the graph."""
        if not self._step.eager:
            self._function.get_concrete_function()

    def run(self, split: Any, weights: Any, rank: int, tally: Tally | None = None) -> dict[str, float]:
        """See `Step.evaluate`."""
        held = [v.numpy() for v in self._step.metric_variables]
        try:
            evaluate = self._batches if self._whole else self._sums
            return evaluate(split, weights, rank, tally)
        finally:
            for variable, value in zip(self._step.metric_variables, held, strict=True):
                variable.assign(value)

    # ------------------------------------------------------------------ parts that add up

    def _sums(self, split: Any, weights: Any, rank: int, tally: Tally | None) -> dict[str, float]:
        step = self._step
        edges = np.concatenate([[0], np.cumsum(sharding.cut(len(split), weights))])
        sums = [np.zeros(v.shape) for v in step.metric_variables]
        loss = 0.0
        for start in range(edges[rank], edges[rank + 1], LOCAL_BATCH):
            rows = np.arange(start, min(start + LOCAL_BATCH, edges[rank + 1]))
            split.prefetch(np.arange(rows[-1] + 1, min(rows[-1] + 1 + AHEAD, edges[rank + 1])))
            x, y, w = split.rows(rows)
            batch_loss, deltas, seen = self._function(self._inputs.arrays(x, y, w))
            loss += float(batch_loss) * len(rows)
            sums = [total + np.asarray(d, np.float64) for total, d in zip(sums, deltas, strict=True)]
            if tally is not None:
                tally.add(start, first(y), seen.numpy())
        vector = np.concatenate([np.array([loss / len(split)]), *[total.ravel() for total in sums]])
        own = vector.size
        more = np.empty(0) if tally is None else tally.vector
        vector = step.collective.agree(np.concatenate([vector, more]).astype(np.float32))
        if tally is not None:
            tally.take(vector[own:])
        offset = 1
        for variable in step.metric_variables:
            size = int(np.prod(variable.shape))
            variable.assign(vector[offset : offset + size].reshape(variable.shape))
            offset += size
        result: dict[str, float] = {"loss": float(vector[0])} | step.metrics()
        return result

    def _part(self, data: Any) -> tuple[Any, list[Any], Any]:
        import keras
        import tensorflow as tf

        model, variables = self._step.model, self._step.metric_variables
        mapping = [(v, tf.zeros_like(v.value)) for v in variables]
        # Keras' regularizers ask the scope for the weights.
        mapping += [(v, tf.convert_to_tensor(v.value)) for v in model.trainable_variables]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            x, y, w = self._inputs.unpack(data)
            predicted = call(model, x, training=False)
            loss = model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=w, training=False)
            model.compute_metrics(x, y, predicted, sample_weight=w)
        return loss, [scope.get_current_value(v) for v in variables], _plain(tf.nest.flatten(predicted)[0])

    # ------------------------------------------------------------------ batch by batch

    def _batches(self, split: Any, weights: Any, rank: int, tally: Tally | None) -> dict[str, float]:
        model = self._step.model
        model.reset_metrics()
        logs: Any = {}
        for start in range(0, len(split), self._batch):
            total = min(self._batch, len(split) - start)
            edges = np.concatenate([[0], np.cumsum(sharding.cut(total, weights))])
            offset, rows = int(edges[rank]), int(edges[rank + 1] - edges[rank])
            own = start + offset + np.arange(max(rows, 1))
            data = self._inputs.arrays(*split.rows(np.minimum(own, len(split) - 1)))
            logs, seen = self._function(data, Part(np.float32(rows / total), rank, offset, rows, total))
            if tally is not None and rank == 0 and seen:  # every rank sees the predictions of all
                y, predicted, *mask = (one.numpy() for one in seen)
                tally.add(start, y, predicted, *mask)
        return flat(model._get_metrics_result_or_logs(logs))

    def _whole_batch(self, data: Any, part: Part) -> Any:
        step, cut = self._step, part.cut()
        computed: list[tuple[Any, Any]] = []
        with over_all_ranks(step.model, step.collective, cut, sums=step.sums, scalar=True, seen=computed):
            logs = step.model.test_step(self._inputs.packed(data))
        return shared_logs(step.collective, cut, logs), _seen(computed)


def _plain(output: Any) -> Any:
    """An output in a type that numpy has."""
    import tensorflow as tf

    return tf.cast(output, tf.float32)


def _seen(computed: list[tuple[Any, Any]]) -> list[Any]:
    """(targets, predictions), and where they count if there is a mask, of a step that computed one loss of one output."""
    import tensorflow as tf
    from keras.src import backend

    leaves = [tf.nest.flatten(part) for part in computed[0]] if len(computed) == 1 else []
    if [len(one) for one in leaves] != [1, 1] or any(one[0] is None for one in leaves):
        return []
    (y,), (predicted,) = leaves
    mask = backend.get_keras_mask(predicted)
    found = [tf.convert_to_tensor(y), _plain(predicted), *([] if mask is None else [mask])]
    here = tf.executing_eagerly() or all(one.graph is tf.compat.v1.get_default_graph() for one in found)
    return found if here else []  # in a loop of the user's own they are not to be had outside of it
