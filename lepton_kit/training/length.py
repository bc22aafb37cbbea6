"""How long a run is: batches in a pass over the data, steps in an epoch, steps in all; pure."""

from __future__ import annotations

from dataclasses import dataclass

from lepton_kit.config import RunConfig
from lepton_kit.data import sharding


@dataclass(frozen=True)
class Length:
    """Steps are counted from the start of the run, epochs here from 0; people's epochs begin at ``first_epoch``."""

    samples: int
    steps_per_epoch: int
    total_steps: int
    first_epoch: int = 0

    @property
    def first_step(self) -> int:
        """Where in the order of the data the run begins: a run that goes on from another feeds what that had not."""
        return self.first_epoch * self.steps_per_epoch

    def completed_epochs(self, position: int, stopped: bool = False) -> int:
        """Epochs behind a position; the end of the run, or a callback's stop, completes the epoch that it cuts off.

        >>> [Length(10, 4, 6).completed_epochs(p) for p in (3, 4, 5, 6)]
        [0, 1, 1, 2]
        """
        whole, within = divmod(position, self.steps_per_epoch)
        return whole + (1 if within and (stopped or position >= self.total_steps) else 0)


def length_of(config: RunConfig, samples: int) -> Length:
    """The length of a run on so many training samples.

    With ``steps_per_epoch`` an epoch is that many steps, and the next one goes on where the data stand, as Keras does.
    """
    training = config.training
    each = training.steps_per_epoch or sharding.steps_per_epoch(samples, training.global_batch)
    steps = (training.epochs - training.initial_epoch) * each
    return Length(samples, each, min(steps, training.max_steps or steps), training.initial_epoch)
