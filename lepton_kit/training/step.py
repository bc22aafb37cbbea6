"""The compiled training step: forward and backward on the local shard, one allreduce, one update.

A block runs several steps in one call of TensorFlow. All state changes come after the allreduce of their step, so a
block that breaks because a peer left ends between two steps, and `Step.iterations` tells which.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import numpy as np

from lepton_kit.training.collective import HorovodCollective

HASH_LIMBS = 5
"""A 40-bit hash per sample travels as five 8-bit limbs, whose float32 sums are exact up to batches of 65,536."""
MAX_BLOCK_STEPS = 64
PROOF_SIZE = HASH_LIMBS + 1
"""What a rank proves per step: the limb sums of what it fed, and how many samples these were."""


def sample_hashes(indices: np.ndarray) -> np.ndarray:
    """A 40-bit hash of every sample index, uint64, same shape (splitmix64's finaliser, Steele et al. 2014).

    >>> int(sample_hashes(np.array([0, 1]))[0])
    246878686639
    """
    z = np.asarray(indices).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) & np.uint64(2**40 - 1)


def proof_of(indices: np.ndarray) -> np.ndarray:
    """Limb sums and count of each row's indices: float32, shape ``(rows, PROOF_SIZE)``."""
    hashes = sample_hashes(indices)
    limbs = [(hashes >> np.uint64(8 * k)) & np.uint64(255) for k in range(HASH_LIMBS)]
    sums = [limb.sum(axis=-1, dtype=np.float32) for limb in limbs]
    return np.stack([*sums, np.full(len(indices), indices.shape[-1], np.float32)], axis=-1)


def proof_values(proofs: np.ndarray) -> tuple[list[int], list[int]]:
    """The sum of hashes and the number of samples of each step that proofs (one a row) stand for.

    >>> proof_values(proof_of(np.array([[0, 1], [2, 3]])))[0][0] == int(sample_hashes(np.arange(2)).sum())
    True
    """
    sums = np.asarray(proofs, np.float64).reshape(-1, PROOF_SIZE).astype(np.uint64)
    hashes = sum(sums[:, k] << np.uint64(8 * k) for k in range(HASH_LIMBS))
    return np.asarray(hashes, np.uint64).tolist(), sums[:, HASH_LIMBS].tolist()


class Step:
    """One compiled Keras model with its optimizer, ready to train and to evaluate on shards.

    ``example`` is a pair (x, y) of one sample each, as numpy arrays or dictionaries of them; it fixes structure,
    types and shapes. Nothing runs until `warm` or the first block.
    """

    def __init__(self, model: Any, collective: HorovodCollective, example: tuple[Any, Any]):
        import tensorflow as tf

        self.model = model
        self.optimizer = model.optimizer
        self._collective = collective
        x, y = (tf.nest.map_structure(lambda a: tf.convert_to_tensor(a)[None], part) for part in example)
        self._float_inputs = _float_inputs(model, x)
        model._symbolic_build(data_batch=(self._as_input(x), y))
        self.optimizer.build(model.trainable_variables)
        self._trained = list(model.trainable_variables)
        self._metric_variables = list(model.metrics_variables)
        self._losses = tf.Variable(tf.zeros([MAX_BLOCK_STEPS]), trainable=False)
        self._proofs = tf.Variable(tf.zeros([MAX_BLOCK_STEPS, PROOF_SIZE]), trainable=False)
        self._float_state = [
            v for v in model.non_trainable_variables if v.dtype.startswith(("float", "bfloat"))
        ]
        self._counters = [v for v in model.non_trainable_variables if v.dtype.startswith(("int", "uint"))]
        signature = [
            tf.nest.map_structure(lambda a: tf.TensorSpec([None, None, *a.shape[1:]], a.dtype), part)
            for part in (x, y)
        ]
        self._rank_signature = [tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.uint32)]
        proof = tf.TensorSpec([None, PROOF_SIZE], tf.float32)
        self._block = tf.function(self._run_block, input_signature=[*signature, proof, *self._rank_signature])
        batch = [
            tf.nest.map_structure(lambda a: tf.TensorSpec([None, *a.shape[1:]], a.dtype), part)
            for part in (x, y)
        ]
        self._evaluate = tf.function(self._evaluate_batch, input_signature=batch)

    @property
    def iterations(self) -> int:
        """Steps that were trained since the start of the run."""
        return int(self.optimizer.iterations.numpy())

    @property
    def reduced_bytes(self) -> int:
        """Bytes that one allreduce of this step carries, with room for the vector of agreement."""
        variables = [*self._trained, *self._float_state, *self._metric_variables]
        return 4 * (sum(int(np.prod(v.shape)) for v in variables) + 1 + PROOF_SIZE) + 8192

    @property
    def state_variables(self) -> list[Any]:
        """All variables that make up the state, in a fixed order (Keras variables)."""
        return [*self.model.variables, *self.optimizer.variables, *self._outside_model()]

    def _outside_model(self) -> list[Any]:
        known = {id(v) for v in self.model.variables}
        return [v for v in self._metric_variables if id(v) not in known]

    def warm(self, x: Any, y: Any) -> None:
        """Trace and optimise the graphs by running a block of no steps on one sample of data."""
        import tensorflow as tf

        none = [
            tf.nest.map_structure(lambda a: np.empty((0, 1, *np.shape(a)), a.dtype), part) for part in (x, y)
        ]
        self._block(*none, np.empty((0, PROOF_SIZE), np.float32), np.float32(1), np.uint32(0))
        self._evaluate.get_concrete_function()

    def train(self, x: Any, y: Any, proofs: np.ndarray, *, scale: float, rank: int) -> None:
        """Train one step per leading index of x and y (shape ``(steps, b_r, ...)``, at most `MAX_BLOCK_STEPS`).

        ``scale`` is ``b_r / B``; 0 for a rank whose shard is empty, which then brings any one sample along. What the
        steps gave is `recorded` then, also if the block broke off.
        """
        self._block(x, y, proofs, np.float32(scale), np.uint32(rank))

    def recorded(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The global loss of the first steps of the last block, and their proofs summed over all ranks."""
        return self._losses.numpy()[:steps], self._proofs.numpy()[:steps]

    def metrics(self) -> dict[str, float]:
        """The compiled metrics over all samples since the last reset."""
        results: dict[str, float] = {}
        for metric in self.model.metrics:
            if metric.name == "loss":
                continue
            value = metric.result()
            items = value.items() if isinstance(value, dict) else [(metric.name, value)]
            results |= {name: float(item) for name, item in items}
        return results

    def reset_metrics(self) -> None:
        self.model.reset_metrics()

    def evaluate(self, x: Any, y: Any, batch: int, total: int) -> dict[str, float]:
        """Loss and metrics over the ranks' shares of a split of ``total`` samples; equal on every rank."""
        import tensorflow as tf

        held = [v.numpy() for v in self._metric_variables]
        sums: list[np.ndarray] | None = None
        loss = 0.0
        count = len(tf.nest.flatten(x)[0])
        for start in range(0, count, batch):
            rows = slice(start, start + batch)
            part = [tf.nest.map_structure(itemgetter(rows), side) for side in (x, y)]
            batch_loss, deltas = self._evaluate(*part)
            loss += float(batch_loss) * min(batch, count - start)
            deltas = [d.numpy().astype(np.float64) for d in deltas]
            sums = deltas if sums is None else [a + b for a, b in zip(sums, deltas, strict=True)]
        sums = sums or [np.zeros(v.shape) for v in self._metric_variables]
        vector = np.concatenate([np.array([loss / total]), *[s.ravel() for s in sums]])
        vector = self._collective.agree(vector.astype(np.float32))
        offset = 1
        for variable in self._metric_variables:
            size = int(np.prod(variable.shape))
            variable.assign(vector[offset : offset + size].reshape(variable.shape))
            offset += size
        results = {"loss": float(vector[0])} | self.metrics()
        for variable, value in zip(self._metric_variables, held, strict=True):
            variable.assign(value)
        return results

    def _as_input(self, x: Any) -> Any:
        import tensorflow as tf

        if isinstance(x, dict):
            return {name: tf.cast(a, self._float_inputs[name] or a.dtype) for name, a in x.items()}
        return tf.cast(x, self._float_inputs[""] or x.dtype)

    def _run_block(self, x: Any, y: Any, proofs: Any, scale: Any, rank: Any) -> None:
        import tensorflow as tf

        steps = tf.shape(proofs)[0]

        def body(i: Any) -> tuple[Any]:
            sample, target = (tf.nest.map_structure(lambda a: a[i], part) for part in (x, y))
            self._train_step(self._as_input(sample), target, proofs[i], scale, rank, i)
            return (i + 1,)

        tf.while_loop(lambda i: i < steps, body, (tf.constant(0),), parallel_iterations=1)

    def _train_step(self, x: Any, y: Any, proof: Any, scale: Any, rank: Any, index: Any) -> None:
        import keras
        import tensorflow as tf

        from lepton_kit.models.layers import counting

        model = self.model
        weights = [tf.convert_to_tensor(v.value) for v in self._trained]
        fed = [_fold_rank(v, rank) for v in self._counters]
        zeros = [tf.zeros_like(v.value) for v in self._metric_variables]
        mapping = [*zip(self._trained, weights, strict=True), *zip(self._counters, fed, strict=True)]
        mapping += zip(self._metric_variables, zeros, strict=True)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with (
                keras.StatelessScope(state_mapping=mapping) as scope,
                counting(tf.cast(scale > 0, "float32")),
            ):
                predicted = model(x, training=True)
                loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=None, training=True)
                model.compute_metrics(x, y, predicted, sample_weight=None)
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)]
        present = [k for k, g in enumerate(gradients) if g is not None]
        counts = [_current(scope, v, value) - value for v, value in zip(self._counters, fed, strict=True)]

        # Means are added up with weight b_r / B, totals as they are. The reads come first so that no rank offers
        # its part of this step before the assignments of the step before are done.
        means = [gradients[k] for k in present] + [_current(scope, v) for v in self._float_state]
        totals = [_current(scope, v) for v in self._metric_variables]
        states = [v.value for v in (*self._float_state, *self._metric_variables, self.optimizer.iterations)]
        before = [tf.identity(state) for state in (*states, self._losses, self._proofs)]
        with tf.control_dependencies(before):
            means = [tf.cast(value, tf.float32) for value in (*means, loss)]
            totals = [tf.cast(value, tf.float32) for value in (*totals, proof)]
            reduced = self._collective.sum(means, totals, scale)
        gradients_sum, state = reduced[: len(present)], reduced[len(present) : len(means) - 1]
        total_loss, metrics, proof_sum = reduced[len(means) - 1], reduced[len(means) : -1], reduced[-1]
        with tf.control_dependencies(reduced):
            for variable, value in zip(self._float_state, state, strict=True):
                variable.assign(tf.cast(value, variable.dtype))
            for variable, count in zip(self._counters, counts, strict=True):
                variable.assign(variable.value + tf.cast(count, variable.dtype))
            for variable, value in zip(self._metric_variables, metrics, strict=True):
                variable.assign(variable.value + tf.cast(value, variable.dtype))
            self._losses.scatter_nd_update([[index]], [total_loss])
            self._proofs.scatter_nd_update([[index]], [proof_sum])
            self.optimizer.apply(gradients_sum, [self._trained[k] for k in present])

    def _evaluate_batch(self, x: Any, y: Any) -> tuple[Any, list[Any]]:
        import keras
        import tensorflow as tf

        zeros = [tf.zeros_like(v.value) for v in self._metric_variables]
        mapping = [(v, tf.convert_to_tensor(v.value)) for v in self._trained]
        mapping += zip(self._metric_variables, zeros, strict=True)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            x = self._as_input(x)
            predicted = self.model(x, training=False)
            loss = self.model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=None, training=False)
            self.model.compute_metrics(x, y, predicted, sample_weight=None)
        return loss, [_current(scope, v) for v in self._metric_variables]


def _current(scope: Any, variable: Any, default: Any = None) -> Any:
    value = scope.get_current_value(variable)
    if value is None:
        return variable.value if default is None else default
    return value


def _fold_rank(variable: Any, rank: Any) -> Any:
    """A generator's state with the rank mixed in, so that ranks draw different noise; other counters as they are."""
    import tensorflow as tf

    value = tf.convert_to_tensor(variable.value)
    if variable.dtype == "uint32" and tuple(variable.shape) == (2,):
        return tf.stack(
            [tf.bitwise.bitwise_xor(value[0], rank * tf.constant(0x9E3779B9, tf.uint32)), value[1]]
        )
    return value


def _float_inputs(model: Any, x: Any) -> dict[str, str | None]:
    """The type each input is cast to: the model's own where it declares one, float32 for bytes, else none."""
    declared = {}
    try:
        specs = model.input if isinstance(model.input, dict) else {"": model.input}
        declared = {name: spec.dtype for name, spec in specs.items()}
    except (AttributeError, ValueError):
        pass  # a subclassed model declares no inputs
    parts = x if isinstance(x, dict) else {"": x}
    types = {}
    for name, part in parts.items():
        wanted = declared.get(name)
        if not isinstance(wanted, str):
            wanted = "float32" if part.dtype.name in ("uint8", "float64", "float16") else None
        types[name] = wanted if wanted != part.dtype.name else None
    return types
