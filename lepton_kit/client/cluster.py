"""Looks at hosts before a run uses them: whether each is reached, computes the same, and reaches the others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.config import RunSettings
from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec, read_hosts
from lepton_kit.runtime.hosts.executor import peers_of
from lepton_kit.runtime.hosts.preflight import Found, look
from lepton_kit.runtime.hosts.slurm import settled

PATIENCE = 30.0


@dataclass(frozen=True)
class Checked:
    """What was found of each host; shows as a table."""

    hosts: tuple[Found, ...]

    @property
    def problems(self) -> list[str]:
        """Why a run can't use them, one sentence a host; none if it can."""
        return [one.problem for one in self.hosts if one.problem is not None]

    def table(self) -> Any:
        """A data frame with one row a host: slots, state, cores, memory, GPUs, clock, interface."""
        import pandas

        return pandas.DataFrame([one.row() for one in self.hosts]).set_index("host")

    def __str__(self) -> str:
        return str(self.table().to_string())

    def _repr_html_(self) -> str:
        return str(self.table()._repr_html_())


class Cluster:
    """Hosts that runs may use together.

    ``hosts`` is what ``launch`` takes: names with slots, a list of mappings, a YAML file, or ``"slurm"``. Raises
    `ConfigError`, or `RunError` for ``"slurm"`` outside an allocation.

    >>> Cluster(["localhost/a:2", "localhost/b"]).slots
    3
    """

    def __init__(self, hosts: Any):
        settings = RunSettings.from_dict({"workers": {"hosts": read_hosts(hosts)}})
        self.hosts: Sequence[HostSpec] = settled(settings).workers.hosts or ()

    @property
    def slots(self) -> int:
        """Room for workers on all hosts together."""
        return sum(host.slots for host in self.hosts)

    def check(self, patience: float = PATIENCE) -> Checked:
        """Reach all hosts at once and ask each what it is, for at most ``patience`` seconds. Starts no worker."""
        try:
            peers = peers_of(self.hosts)
        except RunError as failure:
            named = str(failure).partition(":")[0]
            found = [Found(host, problem=str(failure) if host.name == named else None) for host in self.hosts]
            return Checked(tuple(found))
        with tempfile.TemporaryDirectory(prefix="lepton-check-") as folder:
            deadline = time.monotonic() + patience
            return Checked(tuple(look(self.hosts, peers, Path(folder), deadline)))
