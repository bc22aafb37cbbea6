"""The hosts that runs may use together: looks at them before a run does."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lepton_kit.config import RunSettings
from lepton_kit.data.large.index import files_of
from lepton_kit.data.prepared import PreparedData
from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec, read_hosts
from lepton_kit.runtime.hosts.findings import Checked, Found, Wanted
from lepton_kit.runtime.hosts.launchers import addresses_of
from lepton_kit.runtime.hosts.preflight import look

PATIENCE = 60.0
LAUNCH_PATIENCE = 30.0


class Cluster:
    """Hosts that runs may use together.

    ``hosts`` is what ``launch`` takes: names with slots, a list of mappings, or a YAML file. Raises `ConfigError`.

    >>> Cluster(["localhost/a:2", "localhost/b"]).slots
    3
    """

    def __init__(self, hosts: Any):
        self.hosts: Sequence[HostSpec] = (
            RunSettings.from_dict({"workers": {"hosts": read_hosts(hosts)}}).workers.hosts or ()
        )

    @property
    def slots(self) -> int:
        """Room for workers on all hosts together."""
        return sum(host.slots for host in self.hosts)

    def check(self, data: Any = None, *, patience: float = PATIENCE) -> Checked:
        """Look at all hosts at once, and at the way from each to each, for at most ``patience`` seconds.

        ``data`` (what ``launch`` takes, or the YAML file of a run) are looked for on each host, if they are read by
        index from files outside the run. Starts no worker. Raises `ConfigError` or `DataError` for what is wrong here.
        """
        return self._look(Wanted(files=_files(data)), patience, transfer=True)

    def check_for(self, prepared: PreparedData, workers: int, each: int) -> Checked:
        """The same in short, for a launch of so many workers, each of which takes ``each`` bytes of memory."""
        taken, left = {}, workers
        for host in self.hosts:
            taken[host.name] = min(host.slots, left)
            left -= taken[host.name]
        sent = 0
        if prepared.folder is not None:
            sent = sum(file.stat().st_size for file in prepared.folder.iterdir() if file.is_file())
        wanted = Wanted(files_of(prepared.folder), sent, each, taken)
        return self._look(wanted, LAUNCH_PATIENCE, transfer=False)

    def _look(self, wanted: Wanted, patience: float, *, transfer: bool) -> Checked:
        try:
            with tempfile.TemporaryDirectory(prefix="lepton-check-") as folder:
                deadline = time.monotonic() + patience
                addresses = addresses_of(self.hosts)
                return look(self.hosts, addresses, Path(folder), wanted, deadline, transfer=transfer)
        except RunError as failure:
            named = str(failure).partition(":")[0]
            found = [Found(host, problem=str(failure) if host.name == named else None) for host in self.hosts]
            return Checked(tuple(found))


def _files(data: Any) -> Any:
    """The files outside that these data read by index."""
    if data is None:
        return []
    from lepton_kit.client.launch import as_dataset
    from lepton_kit.config import RunConfig
    from lepton_kit.data import Dataset

    if isinstance(data, str | Path) and str(data).endswith((".yaml", ".yml")):
        dataset = Dataset.from_spec(RunConfig.load(data).data, Path(data).resolve().parent)
    else:
        dataset = as_dataset(data)
    return files_of(dataset.prepare().folder)
