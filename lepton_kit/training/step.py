"""The compiled training step: forward and backward on the local shard, one allreduce, one update.

A block runs several steps in one call of TensorFlow. All state changes come after the last allreduce of their step, so
a block that breaks because a peer left ends between two steps, and `Step.position` tells which.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lepton_kit.data.proofs import PROOF_SIZE
from lepton_kit.training.collective import Summing
from lepton_kit.training.embeddings import slices_per_sample
from lepton_kit.training.evaluate import Evaluation
from lepton_kit.training.gather import Cut, Part, gather_slices, gather_structure
from lepton_kit.training.idle import Idle
from lepton_kit.training.inputs import Inputs
from lepton_kit.training.norms import Norms
from lepton_kit.training.routes import is_own, losses_by_output, why_gathered
from lepton_kit.training.scope import call, first, flat, leaf_scope
from lepton_kit.training.slowness import Resting, Slowness
from lepton_kit.training.tally import Tally
from lepton_kit.training.traces import Traces, gains
from lepton_kit.training.updates import as_new_values
from lepton_kit.training.variables import fold_rank, shaped, with_outside

MAX_BLOCK_STEPS = 64


@dataclass(frozen=True)
class Block:
    """Some steps of one rank: arrays with a leading axis of steps, and this rank's part of their batches.

    ``whole`` holds what the whole batches have (x, y, weights), where a step asks for it. A rank without samples has
    ``rows`` 0 and brings one sample along.
    """

    x: Any
    y: Any
    w: Any
    whole: tuple[Any, Any, Any]
    proofs: np.ndarray
    rank: int
    offset: int
    rows: int
    total: int

    @property
    def part(self) -> Part:
        """The rank's part of each batch, as graphs take it."""
        return Part(np.float32(self.rows / self.total), self.rank, self.offset, self.rows, self.total)


class Step:
    """One compiled Keras model with its optimizer, ready to train and to evaluate on shards.

    ``example`` is (x, y, w) of two samples, as structures of numpy arrays; it fixes structure, types and shapes.
    ``batch`` is the global batch, ``validation_batch`` that of evaluations, ``held`` two samples of those; ``sizes`` are
    expected numbers of own samples a step. Nothing runs until `warm` or the first block.
    """

    max_steps = MAX_BLOCK_STEPS
    eager = False

    def __init__(
        self,
        model: Any,
        collective: Summing,
        example: tuple[Any, Any, Any],
        *,
        batch: int,
        validation_batch: int | None = None,
        held: tuple[Any, Any, Any] | None = None,
        exact_embeddings: bool = True,
        sizes: Collection[int] = (),
    ):
        import tensorflow as tf

        self.model = model
        self.optimizer = model.optimizer
        self.collective = collective
        self._batch, self._validation_batch = batch, validation_batch or batch
        self._held_example = held
        self._exact_embeddings, self._sizes = exact_embeddings, sizes
        self.inputs = Inputs(model, example)
        self.slowness = Slowness()
        """Of the worker whose step it is."""
        self._position = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._losses = tf.Variable(tf.zeros([MAX_BLOCK_STEPS]), trainable=False)
        self._proofs = tf.Variable(tf.zeros([MAX_BLOCK_STEPS, PROOF_SIZE]), trainable=False)
        self.norms = Norms()
        self._build()

    def _build(self) -> None:

        model, inputs = self.model, self.inputs
        inputs.build(model)
        outputs = inputs.outputs(model)
        self.gathered = why_gathered(model, masked=outputs.masked, weighted=inputs.weighted)
        """Why predictions are gathered; None where the ranks' means add up."""
        self.needs_whole = self.gathered is not None
        self.sums = outputs.sums
        self.floats_a_row = outputs.floats_a_row
        if not self.optimizer.built:  # Keras' LossScaleOptimizer would make its variables again
            self.optimizer.build(model.trainable_variables)
        self._trained = list(model.trainable_variables)
        self.metric_variables = list(model.metrics_variables)
        # Of several outputs Keras tracks the mean of the batches' losses: a mean over ranks, not a sum.
        batch_means = {id(v) for metric in losses_by_output(model) for v in metric.variables}
        self._batch_means = [k for k, v in enumerate(self.metric_variables) if id(v) in batch_means]
        self._float_state = [
            v for v in model.non_trainable_variables if v.dtype.startswith(("float", "bfloat"))
        ]
        self._counters = [v for v in model.non_trainable_variables if v.dtype.startswith(("int", "uint"))]
        self._slices = slices_per_sample(model, inputs) if self._exact_embeddings else {}
        self._block = Traces(
            self._run_block,
            self._signature,
            fixed=gains(model),
            idle=partial(self._run_block, idle=True),
        )
        self._slowed: Traces | None = None
        self.evaluation = Evaluation(self, self._validation_batch, self._held_example)

    # ------------------------------------------------------------------ what the loop asks

    @property
    def position(self) -> int:
        """Steps that were trained since the start of the run."""
        return int(self._position.numpy())

    @property
    def reduced_bytes(self) -> int:
        """Bytes that the largest allreduce of this step carries, with room for the vector of agreement."""
        sums = [*self._trained, *self._float_state, *self.metric_variables]
        floats = sum(int(np.prod(v.shape)) for v in sums) + 1 + PROOF_SIZE
        for k, each in self._slices.items():
            floats += each * self._batch * (1 + int(np.prod(self._trained[k].shape[1:])))
        gathered = self._batch * self.floats_a_row if self.needs_whole else 0
        return 4 * max(floats, gathered, self.evaluation.floats) + 8192

    @property
    def state_variables(self) -> list[Any]:
        """All variables that make up the state, in a fixed order: the model's first, then the optimizer's."""
        return with_outside(self.model, [*self.model.variables, *self.optimizer.variables], self._position)

    def warm(self) -> None:
        """Trace and optimise the graphs by running a block of no steps."""
        inputs = self.inputs
        whole = inputs.nothing() if self.needs_whole else ()
        rest = (whole, np.empty((0, PROOF_SIZE), np.float32), Part(np.float32(1), 0, 0, 1, 1))
        self._block.warm(self._sizes, lambda rows: (inputs.nothing(rows), *rest))
        self.evaluation.warm()

    def renew(self) -> None:
        """Trace again, since what is fixed while tracing has changed: a setting of the optimizer, say."""
        self._build()
        self.warm()

    def train(self, block: Block) -> None:
        """Train the steps of a block (at most `max_steps`). What they gave is `recorded` then, also if it broke off."""
        start = time.perf_counter()
        graph = self._graphs().of(block.rows)
        self.slowness.excuse(time.perf_counter() - start)
        graph(
            self.inputs.arrays(block.x, block.y, block.w),
            self.inputs.arrays(*block.whole) if self.needs_whole else (),
            block.proofs,
            block.part,
        )

    def _graphs(self) -> Traces:
        """The graphs of a block; a slowed worker rests within its steps, and has graphs of its own for that."""
        if self.slowness.factor == 1.0:
            return self._block
        if self._slowed is None:
            rests = partial(self._run_block, rests=True)
            idle = partial(self._run_block, rests=True, idle=True)
            self._slowed = Traces(rests, self._signature, fixed=False, idle=idle)
            self._slowed.warm()
        return self._slowed

    def try_once(self, block: Block) -> None:
        """Train the one step of a block as Python goes, without a graph."""
        data = self.inputs.arrays(*(first(part) for part in (block.x, block.y, block.w)))
        whole = self.inputs.arrays(*(first(part) for part in block.whole)) if self.needs_whole else ()
        cut, rank = block.part.cut(), np.int32(block.rank)
        self._train_step(self.collective, data, whole, block.proofs[0], cut, rank, 0)

    def recorded(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The global loss of the first steps of the last block, and their proofs summed over all ranks."""
        return self._losses.numpy()[:steps], self._proofs.numpy()[:steps]

    def finish(self) -> None:
        """The weights of the end: of an optimizer that averages them the average."""
        if self.optimizer is not None:
            self.optimizer.finalize_variable_values(self.model.trainable_variables)

    @property
    def tells_loss(self) -> bool:
        """Whether the loss is among the figures of an epoch; an own step may return others alone."""
        return True

    def metrics(self) -> dict[str, float]:
        """The compiled metrics over all samples since the last reset, without the loss."""
        results = {name: value for name, value in self.model.get_metrics_result().items() if name != "loss"}
        return flat(results)

    def reset_metrics(self) -> None:
        """Begin the metrics anew."""
        self.model.reset_metrics()

    def evaluate(self, split: Any, weights: Any, rank: int, tally: Tally | None = None) -> dict[str, float]:
        """Loss and metrics over a split, cut over the ranks by their weights; equal on every rank.

        A ``tally`` has seen all predictions then, on rank 0.
        """
        return self.evaluation.run(split, weights, rank, tally)

    # ------------------------------------------------------------------ inside the graph

    def _signature(self, rows: int | None) -> list[Any]:
        import tensorflow as tf

        data = self.inputs.signature(steps=True, rows=rows)
        whole = self.inputs.signature(steps=True) if self.needs_whole else ()
        return [data, whole, tf.TensorSpec([None, PROOF_SIZE], tf.float32), Part.signature()]

    def _run_block(
        self, data: Any, whole: Any, proofs: Any, part: Part, *, idle: bool = False, rests: bool = False
    ) -> None:
        import tensorflow as tf

        steps = tf.shape(proofs)[0]
        cut = part.cut(idle=idle)

        def body(i: Any) -> tuple[Any]:
            own, all_rows = (tf.nest.map_structure(lambda a: a[i], rows) for rows in (data, whole))
            ring = Resting(self.collective, self.slowness) if rests else self.collective
            ring = Idle(ring) if idle else ring
            self._train_step(ring, own, all_rows, proofs[i], cut, part.rank, i)
            return (i + 1,)

        tf.while_loop(lambda i: i < steps, body, (tf.constant(0),), parallel_iterations=1)

    def _train_step(
        self, ring: Summing, data: Any, whole: Any, proof: Any, cut: Cut, rank: Any, index: Any
    ) -> None:
        import tensorflow as tf

        states = [v.value for v in (*self._float_state, *self.metric_variables)]
        before = [tf.identity(v) for v in (*states, self._position, self._losses, self._proofs)]
        # The reads come first so that no rank offers its part of this step before the assignments of the step
        # before are done.
        with tf.control_dependencies(before):
            found = self._forward_backward(ring, data, whole, cut, rank)
        gradients, slices = found.gradients, found.slices
        with tf.control_dependencies(before):
            tracked = [] if self.gathered else [found.metrics[k] for k in self._batch_means]
            means = [*found.float_state, *found.assigned, found.loss, *tracked]
            means = [tf.cast(value, tf.float32) for value in means]
            totals = [*(() if self.gathered else found.metrics), proof]
            reduced = ring.sum(
                means,
                [tf.cast(value, tf.float32) for value in totals],
                cut.scale,
                [tf.cast(value, tf.float32) for value in gradients.values()],
            )
            every = {k: gather_slices(ring, cut, value, self._slices[k]) for k, value in slices.items()}
        sizes = [len(found.float_state), len(found.assigned), 1, len(tracked), len(totals) - 1, 1]
        ends = np.cumsum([*sizes, len(gradients)])
        parts = (reduced[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True))
        state, assigned, (loss,), tracked, metrics, (proof,), dense = parts
        update = dict(zip(gradients, dense, strict=True)) | every
        own = [] if cut.idle else [*gradients.values(), *slices.values()]
        self.norms.note(own, [*update.values()], cut.scale, self.optimizer, position=before[-3])
        metrics = list(found.metrics) if self.gathered else metrics
        for k, value in zip(self._batch_means, tracked, strict=False):
            metrics[k] = value
        seen = found.metrics if self.gathered else []
        with tf.control_dependencies([*reduced, *(s.values for s in every.values()), *seen]):
            for variable, value in zip(self._float_state, state, strict=True):
                variable.assign(tf.cast(value, variable.dtype))
            for variable, value in zip(self._counters, found.counters, strict=True):
                variable.assign(value)
            for variable, value in zip(self.metric_variables, metrics, strict=True):
                value = tf.cast(value, variable.dtype)
                variable.assign(value if self.gathered else variable.value + value)
            for k, value in zip(found.changed, assigned, strict=True):
                self._trained[k].assign(tf.cast(value, self._trained[k].dtype))
            self._losses.scatter_nd_update([[index]], [loss])
            self._proofs.scatter_nd_update([[index]], [proof])
            self._position.assign_add(1)
            order = sorted(update)
            with as_new_values([self.optimizer]):
                self.optimizer.apply([update[k] for k in order], [self._trained[k] for k in order])

    def _forward_backward(self, ring: Summing, data: Any, whole: Any, cut: Cut, rank: Any) -> _Found:
        """This rank's loss and gradients, both scaled by its share, and the state that its samples lead to."""
        import tensorflow as tf

        from lepton_kit.models.layers import counting

        model = self.model
        weights = [tf.convert_to_tensor(v.value) for v in self._trained]
        fed = [fold_rank(v, rank) for v in self._counters]
        # Where the ranks' parts add up each starts at zero; where every rank sees all samples it goes on.
        metrics = [
            tf.convert_to_tensor(v.value) if self.gathered else tf.zeros_like(v.value)
            for v in self.metric_variables
        ]
        mapping = [*zip(self._trained, weights, strict=True), *zip(self._counters, fed, strict=True)]
        mapping += zip(self.metric_variables, metrics, strict=True)
        x, y, w = self.inputs.unpack(data)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            counted = tf.cast(cut.scale > 0, "float32")
            spans_ranks = counting(counted, scaled=True, collective=ring)
            with leaf_scope(tape, mapping) as scope, spans_ranks:
                predicted = call(model, x, training=True)
                if self.gathered:
                    predicted = gather_structure(ring, cut, predicted)
                    x, y, w = self.inputs.unpack(whole)
                loss = model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=w, training=True)
                model.compute_metrics(x, y, predicted, sample_weight=w)
                for k in self.sums:  # a sum over samples counts whole, not by the rank's share
                    loss += scope.losses[k] * (tf.math.divide_no_nan(1.0, cut.scale) - 1.0)
            # Scaled before the gradients are taken, so that half precision meets the numbers of one process.
            objective = self.optimizer.scale_loss(loss) * tf.cast(cut.scale, loss.dtype)
        leaves = scope.leaves(self._trained, weights)
        found = tape.gradient(objective, leaves)
        gradients: dict[int, Any] = {}
        slices: dict[int, Any] = {}
        for k, parts in enumerate(found):
            parts = [part for part in parts if part is not None]
            if k in self._slices:
                slices[k] = parts[0]
            elif parts:
                gradients[k] = shaped(
                    self._trained[k], tf.add_n([tf.convert_to_tensor(part) for part in parts])
                )
        counters = [
            tf.cast(v.value + tf.cast(scope.value(v) - value, v.dtype), v.dtype)
            for v, value in zip(self._counters, fed, strict=True)
        ]
        changed = [k for k, parts in enumerate(leaves) if len(parts) > 1]
        return _Found(
            tf.reduce_mean(loss),
            gradients,
            slices,
            [shaped(v, scope.value(v)) for v in self._float_state],
            counters,
            [shaped(v, scope.value(v)) for v in self.metric_variables],
            changed,
            [shaped(self._trained[k], scope.value(self._trained[k])) for k in changed],
        )


@dataclass
class _Found:
    loss: Any
    gradients: dict[int, Any]
    slices: dict[int, Any]
    float_state: list[Any]
    counters: list[Any]
    metrics: list[Any]
    changed: list[int]
    assigned: list[Any]


def has_own_step(model: Any) -> bool:
    """Whether the model brings its own training step or figures of it, or has to run eagerly."""
    return (
        is_own(model, "train_step")
        or is_own(model, "compute_metrics")
        or bool(getattr(model, "run_eagerly", False))
    )
