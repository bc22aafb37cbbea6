"""`PruningCallback`: the pruning hook for plain ``model.fit``. Importing this module loads Keras."""

from __future__ import annotations

from typing import Any

import keras

from lepton_kit.compression.pruning.magnitude import PruningHook
from lepton_kit.config import PruningConfig
from lepton_kit.errors import CompressionError


class PruningCallback(keras.callbacks.Callback):
    """Prune while ``model.fit`` trains; `history` holds what each update gave.

    Parameters
    ----------
    config : what to prune and when.
    total_steps : optimizer steps of the whole fit; needed only where Keras can't tell (data of unknown length).

    With ``steps_per_execution`` above 1 an update that falls inside an execution happens at its end.
    """

    def __init__(self, config: PruningConfig, total_steps: int | None = None):
        super().__init__()
        self.config = config
        self.total_steps = total_steps
        self.history: list[dict[str, Any]] = []
        self.hook: PruningHook | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the schedule and prune at step 0 if it asks for that. Raises `CompressionError` for data of unknown length."""
        total = self.total_steps
        if total is None:
            steps, epochs = self.params.get("steps"), self.params.get("epochs")
            if not steps or not epochs:
                raise CompressionError(
                    "PruningCallback.total_steps: got None, and Keras does not know the length of this data; "
                    "expected the number of optimizer steps"
                )
            total = steps * epochs
        self.hook = PruningHook(self.config, total)
        self.hook.attach(self.model)
        self.model.make_train_function(force=True)  # an earlier fit may have traced it without the masks
        self._step = self._done = 0
        self._due = self.hook.next_boundary(0)
        self._update_if_due()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the epoch's batches from zero."""
        self._done = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Prune where the schedule has a boundary."""
        self._step += batch + 1 - self._done
        self._done = batch + 1
        self._update_if_due()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Prune to the final sparsity and let the model train without masks again."""
        if self.hook is not None:
            self.hook.finish()
        self.model.train_function = None  # the traced one still reads the masks

    def _update_if_due(self) -> None:
        if self.hook is not None and self._due is not None and self._step >= self._due:
            self.history.append({"step": self._step, **self.hook.update(self._step)})
            self._due = self.hook.next_boundary(self._step + 1)
