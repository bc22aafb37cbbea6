"""The hosts that runs may use together: looks at them before a run does."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lepton_kit.config import RunSettings
from lepton_kit.data.large.index import files_of
from lepton_kit.data.prepared import PreparedData
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import HostSpec, keep_hosts, known_hosts, read_hosts
from lepton_kit.runtime.hosts.findings import Checked, Found, Wanted
from lepton_kit.runtime.hosts.installing import Packages, install
from lepton_kit.runtime.hosts.launchers import addresses_of
from lepton_kit.runtime.hosts.preflight import clean, look
from lepton_kit.runtime.hosts.slurm import settled

PATIENCE = 60.0
LAUNCH_PATIENCE = 30.0


class Cluster:
    """Hosts that runs may use together.

    ``hosts`` is what ``launch`` takes: names with slots, a list of mappings, a YAML file, or ``"slurm"``; without it
    the known hosts, which `add` and `remove` change. Raises `ConfigError`, or `RunError` for ``"slurm"`` outside an
    allocation.

    >>> Cluster(["localhost/a:2", "localhost/b"]).slots
    3
    """

    def __init__(self, hosts: Any = None):
        given = [one.model_dump() for one in known_hosts()] if hosts is None else read_hosts(hosts)
        settings = RunSettings.from_dict({"workers": {"hosts": given or None}})
        self.hosts: Sequence[HostSpec] = settled(settings).workers.hosts or ()

    def __repr__(self) -> str:
        return f"Cluster({', '.join(f'{host.name}:{host.slots}' for host in self.hosts)})"

    def add(self) -> None:
        """Have these hosts be known from now on, to panels and ``lepton hosts``; of a name that is known the new one counts."""
        kept = [one for one in known_hosts() if one.name not in {host.name for host in self.hosts}]
        keep_hosts([*kept, *self.hosts])

    def remove(self) -> None:
        """Forget these hosts. Raises `ConfigError` for one that is not known."""
        names, known = {host.name for host in self.hosts}, known_hosts()
        if unknown := names - {one.name for one in known}:
            told = ", ".join(one.name for one in known) or "no host"
            raise ConfigError("hosts", given=", ".join(sorted(unknown)), rule=f"known ones: {told}")
        keep_hosts([one for one in known if one.name not in names])

    def install(
        self, packages: Packages = "index", progress: Callable[[str], None] = print
    ) -> dict[str, str]:
        """Put the locked environment on each host, over ssh; host -> what was done.

        ``packages`` come from the ``index`` that each host reaches, or are sent from ``here`` (hosts of the same
        processor and Python, which need no network of their own). What is there is not done again, what was
        interrupted goes on. ``progress`` is told each line. Raises `RunError` that says what failed on which host.
        """
        if packages not in get_args(Packages):
            raise ConfigError("packages", given=packages, rule=" or ".join(get_args(Packages)))
        done: dict[str, str] = {}
        problems = []
        with ThreadPoolExecutor(max_workers=len(self.hosts) or 1) as pool:
            under_way = {host.name: pool.submit(install, host, packages, progress) for host in self.hosts}
            for name, one in under_way.items():
                try:
                    done[name] = one.result()
                except RunError as failure:
                    problems.append(str(failure))
        if problems:
            raise RunError("; ".join(problems))
        return done

    def clean(self, patience: float = PATIENCE) -> dict[str, str]:
        """Remove from each host what no run needs there; host -> what that was. What a run that is served holds stays."""
        found = {}
        with tempfile.TemporaryDirectory(prefix="lepton-clean-") as folder:
            deadline = time.monotonic() + patience
            for name, one in clean(self.hosts, addresses_of(self.hosts), Path(folder), deadline).items():
                if isinstance(one, str):
                    found[name] = one
                else:
                    found[name] = f"{one.bytes / 1e6:,.1f} MB are free now; runs that are served: {one.runs}"
        return found

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

    def look(self, patience: float = LAUNCH_PATIENCE) -> Checked:
        """The same without the transfer between hosts, in less time."""
        return self._look(Wanted(), patience, transfer=False)

    def check_for(self, prepared: PreparedData, workers: int, each: int) -> Checked:
        """The same in short, for a launch of so many workers, each of which takes ``each`` bytes of memory."""
        taken, left = {}, workers
        for host in self.hosts:
            taken[host.name] = min(host.slots, left)
            left -= taken[host.name]
        if prepared.folder is not None:
            sent = sum(file.stat().st_size for file in prepared.folder.iterdir() if file.is_file())
        else:
            arrays = [
                array for _, split in prepared.splits() if split is not None for *_, array in split.arrays()
            ]
            sent = sum(np.asarray(array).nbytes for array in arrays)
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
    from lepton_kit.client.given_data import as_dataset
    from lepton_kit.config import RunConfig
    from lepton_kit.data import Dataset

    if isinstance(data, str | Path) and str(data).endswith((".yaml", ".yml")):
        dataset = Dataset.from_spec(RunConfig.load(data).data, Path(data).resolve().parent)
    else:
        dataset = as_dataset(data)
    return files_of(dataset.prepare().folder)
