"""What rank 0 wants of all ranks at the next commit: the driver's commands, one after another, as one state."""

from __future__ import annotations

from dataclasses import dataclass

from lepton_kit.training import messages

TRAIN, REFORM, PAUSE, STOP = range(4)


@dataclass
class Desired:
    """Starts as the driver says when a generation forms. A ``learning_rate`` of 0 leaves the rate as it is.

    >>> desired = Desired(TRAIN, learning_rate=0.0, durable_step=0, log_seconds=1.0)
    >>> desired.obey(messages.Pause(generation=1))
    >>> desired.action == PAUSE
    True
    """

    action: int
    learning_rate: float
    durable_step: int
    log_seconds: float
    weights: tuple[float, ...] = ()
    """Speeds by which batches are to be cut from now on; empty: as before."""
    gain: float = 0.0

    def obey(self, command: messages.Command) -> None:
        """Take up one command."""
        match command:
            case messages.Reform():
                self.action = REFORM
            case messages.Stop():
                self.action = STOP
            case messages.Pause() if self.action == TRAIN:
                self.action = PAUSE
            case messages.Resume() if self.action == PAUSE:
                self.action = TRAIN
            case messages.Weigh(weights=weights, gain=gain):
                self.weights, self.gain = tuple(weights), gain
            case messages.Durable(step=step):
                self.durable_step = step
            case messages.Set(log_seconds=seconds, learning_rate=rate):
                self.log_seconds = seconds or self.log_seconds
                self.learning_rate = rate or self.learning_rate


def desired_at(join: messages.Join) -> Desired:
    """What is wanted when a generation forms."""
    action = PAUSE if join.paused else TRAIN
    return Desired(action, join.learning_rate or 0.0, join.durable_step, join.log_seconds)
