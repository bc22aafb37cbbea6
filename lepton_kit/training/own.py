"""The step of a model that brings its own `train_step`, or has to run eagerly: one step a block, undone if it breaks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lepton_kit.data.proofs import PROOF_SIZE
from lepton_kit.errors import CollectiveError
from lepton_kit.training.collective import is_collective_failure
from lepton_kit.training.evaluate import Evaluation
from lepton_kit.training.gather import Part
from lepton_kit.training.idle import Idle, Listed
from lepton_kit.training.patched import mean_of_ranks, optimizers_of, over_all_ranks, shared_logs
from lepton_kit.training.routes import is_own
from lepton_kit.training.scope import first, flat
from lepton_kit.training.step import Block, Step
from lepton_kit.training.traces import NotApart, Traces
from lepton_kit.training.updates import as_new_values
from lepton_kit.training.variables import fold_rank, is_seed, with_outside


class OwnStep(Step):
    """Runs the model's `train_step` with optimizers, losses and metrics that span all ranks; see `patched`."""

    max_steps = 1

    def _build(self) -> None:
        import tensorflow as tf

        model, inputs = self.model, self.inputs
        self.eager = bool(getattr(model, "run_eagerly", False))
        self.gathered = f"{type(model).__name__} has its own train_step"
        self.needs_whole, self.sums = False, ()
        self.floats_a_row = inputs.floats_a_row
        if not is_own(model, "train_step"):
            inputs.build(model)
            self.gathered = "the model runs eagerly"
            self.floats_a_row = inputs.outputs(model).floats_a_row
        signature = [inputs.signature(steps=False), tf.TensorSpec([PROOF_SIZE], tf.float32), Part.signature()]
        self._sums: list[list[str]] = []
        idle = partial(self._one, idle=True)
        self._traces = Traces(self._one, lambda rows: signature, fixed=False, idle=idle)
        self._logs: dict[str, Any] = {}
        self._record = (np.zeros(1, np.float32), np.zeros((1, PROOF_SIZE), np.float32))
        if self.eager:
            for optimizer in optimizers_of(model):
                if not optimizer.built:
                    optimizer.build(model.trainable_variables)
        else:
            self._traces.warm()  # what it creates is created now
        self.metric_variables = list(model.metrics_variables)
        self._kept = [v for v in self.state_variables if v is not self._position]
        self._before = [np.array(v.numpy()) for v in self._kept]
        self.evaluation = Evaluation(self, self._validation_batch, self._held_example)

    @property
    def reduced_bytes(self) -> int:
        """Most bytes that one sum over the ranks may need."""
        floats = sum(int(np.prod(v.shape)) for v in self.model.variables)
        whole = self._batch * (self.inputs.floats_a_row + self.floats_a_row)
        return 4 * max(floats, whole, self.evaluation.floats) + 8192

    @property
    def state_variables(self) -> list[Any]:
        """All variables that belong to the state: of model, optimizers and what they reach."""
        found = [*self.model.variables]
        for optimizer in optimizers_of(self.model):
            found += optimizer.variables
        return with_outside(self.model, found, self._position)

    def warm(self) -> None:
        """Trace what will be needed, before it is."""
        if not self.eager:
            self._traces.warm(self._sizes)
        if self._held_example is not None:  # a model without any may have no way to be evaluated
            self.evaluation.warm()

    def train(self, block: Block) -> None:
        """Train one step; if a peer leaves in its midst, everything is as it was before."""
        for k, variable in enumerate(self._kept):
            self._before[k][...] = variable.numpy()
        data = self.inputs.arrays(*(first(part) for part in (block.x, block.y, block.w)))
        run = self._one if self.eager else self._traces.of(block.rows)
        try:
            loss, proof, logs = run(data, block.proofs[0], block.part)
        except Exception as failure:
            for variable, value in zip(self._kept, self._before, strict=True):
                variable.assign(value)
            if is_collective_failure(failure):
                raise CollectiveError(str(failure).splitlines()[0]) from None
            raise
        self._record = (np.array([float(loss)], np.float32), np.asarray(proof)[None])
        self._logs = logs
        self._position.assign_add(1)

    try_once = train

    def recorded(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each of the last steps, shape ``(steps,)``, and the proofs of what they were fed."""
        return self._record[0][:steps], self._record[1][:steps]

    @property
    def tells_loss(self) -> bool:
        """Whether the model's own step reports a loss."""
        return not is_own(self.model, "train_step") or "loss" in self.metrics()

    def metrics(self) -> dict[str, float]:
        """The model's metrics since the last reset, or what its last step has returned, as Keras chooses."""
        return flat(self.model._get_metrics_result_or_logs(self._logs)) if self._logs else {}

    def _one(self, data: Any, proof: Any, part: Part, *, idle: bool = False) -> Any:
        import tensorflow as tf

        from lepton_kit.models.layers import counting

        model = self.model
        cut = part.cut(idle=idle)
        ring = Listed(Idle(self.collective) if idle else self.collective)
        seeds = [v for v in model.non_trainable_variables if is_seed(v)]
        for seed in seeds:
            seed.assign(fold_rank(seed, part.rank))
        counted = tf.cast(cut.scale > 0, tf.float32)
        spanning = over_all_ranks(model, ring, cut, norms=self.norms)
        renewing = as_new_values(optimizers_of(model))
        with spanning, counting(counted, collective=ring), renewing:
            logs = model.train_step(self.inputs.packed(data))
        self.norms.count(cut.scale)
        for seed in seeds:
            seed.assign(fold_rank(seed, part.rank))  # twice is none
        state = [v for v in model.non_trainable_variables if v.dtype.startswith(("float", "bfloat"))]
        for variable, value in zip(state, mean_of_ranks(ring, cut, [v.value for v in state]), strict=True):
            variable.assign(value)
        flat_logs = shared_logs(ring, cut, logs if isinstance(logs, dict) else {"loss": logs})
        first_log = next(iter(tf.nest.flatten(flat_logs)), tf.constant(0.0))
        loss = tf.reduce_mean(flat_logs.get("loss", first_log))
        (summed,) = ring.sum([], [tf.convert_to_tensor(proof)], tf.constant(1.0))
        if idle and ring.sums != self._sums:
            raise NotApart("a train_step that does something else when it is traced again")
        self._sums = ring.sums
        return loss, summed, flat_logs
