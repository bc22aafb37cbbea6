"""The states of a run, as its log, its readers and its panels name them."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a run does; equal to its name as text.

    >>> Status("paused") == "paused", Status.FAILED.is_final, Status.INTERRUPTED.is_final, Status("later")
    (True, True, False, 'unknown')
    """

    CREATED = "created"
    """Its folder is there, and no driver has taken it yet."""
    QUEUED = "queued"
    """It waits, without workers: in line for its share of the machine, or as a job that will start its driver."""
    STARTING = "starting"
    """Its workers start, or prepare their data."""
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHED = "finished"
    """It trained to its end."""
    STOPPED = "stopped"
    """It was asked to end before its end."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """It may go on from its last checkpoint: its machine or its job ended, what it ran on was taken away, or its driver has
    gone without a last word."""
    AWAY = "away"
    """Its driver is on another host, and nobody here follows it."""
    UNKNOWN = "unknown"
    """What another version or a damaged folder says."""

    @property
    def is_final(self) -> bool:
        """The run itself has said that it has no process any more."""
        return self in (Status.FINISHED, Status.STOPPED, Status.FAILED)

    @property
    def is_over(self) -> bool:
        """No process of the run is left, whether it said so or not."""
        return self.is_final or self is Status.INTERRUPTED

    @property
    def is_active(self) -> bool:
        """A driver has the run, or is about to."""
        return self in ACTIVE

    def __repr__(self) -> str:
        return repr(self.value)

    @classmethod
    def _missing_(cls, value: object) -> Status:
        return cls.UNKNOWN


ACTIVE = (
    Status.QUEUED,
    Status.AWAY,
    Status.CREATED,
    Status.STARTING,
    Status.RUNNING,
    Status.PAUSED,
    Status.STOPPING,
)
