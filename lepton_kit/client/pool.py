"""Who has what of this machine, or of hosts: the runs with ``workers="auto"`` that share, and those that wait in line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.client.in_text import in_text
from lepton_kit.errors import ConfigError
from lepton_kit.machine.devices import memory, usable_cores
from lepton_kit.rundir import Status
from lepton_kit.rundir.line import place_told
from lepton_kit.runtime.pool.folder import POOL, PoolFolder, folder_named
from lepton_kit.runtime.pool.members import Entry, capacity, everyone, grants, this_machine

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("run", "hosts", "user", "state", "workers", "next", "least", "most", "samples_per_second", "seconds_left",
           "share", "priority", "why")  # fmt: skip
READ_SECONDS = 0.5


@dataclass(frozen=True)
class Pool:
    """The runs that shared a machine, or a set of hosts, at one moment; those with workers first, then the line. Shows as a table.

    ``rows`` is one mapping a run. ``cores`` are those that the runs of this machine share (None where none does), ``slots`` those
    of each set of hosts, by its name.
    """

    folder: Path | None
    cores: int | None
    rows: Sequence[dict[str, Any]] = ()
    slots: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Pool: {self.told()}>"

    def __str__(self) -> str:
        return in_text(self.table(), max_colwidth=60) if self.rows else self.told()

    def _repr_html_(self) -> str:
        return str(self.table().to_html(notebook=True)) if self.rows else f"<p>{self.told()}</p>"

    def told(self) -> str:
        """The pool in a sentence."""
        if self.folder is None:
            return "runs of this machine don't share it: LEPTON_POOL is off"
        if not self.rows:
            return "no run shares this machine now"
        said = [_told([row for row in self.rows if not row["hosts"]], self.cores, "core", "")]
        for hosts, slots in self.slots.items():
            said.append(_told(self.of(hosts), slots, "slot", f" of {hosts}"))
        return "; ".join(one for one in said if one)

    def of(self, hosts: str) -> list[dict[str, Any]]:
        """The rows of the runs that share these hosts, named as in ``slots``; of this machine those of ``""``."""
        return [row for row in self.rows if row["hosts"] == hosts]

    def table(self) -> pd.DataFrame:
        """One row a run: hosts that it shares (empty: this machine), user, state, workers now and next, least and most, samples/s, seconds left, share, priority, why.

        ``seconds_left`` is estimated from its speed; it and samples/s are NaN where nothing was measured yet.
        """
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(COLUMNS)).set_index("run")


def pool() -> Pool:
    """The runs that share this machine now, or a set of hosts, of all users. Starts nothing.

    The folder in which they find each other is ``$LEPTON_POOL``, else one in shared memory; see docs/pool.md.

    >>> pool().table().columns[0]
    'hosts'
    """
    path = folder_named()
    if path is None or not path.exists():
        return Pool(path, None)
    if not path.is_dir():
        raise ConfigError(POOL, given=str(path), rule="a folder; or 'off', to share with nobody")
    members = _read(path)
    if not members:
        return Pool(path, None)
    here, now = this_machine(), time.time()
    rows, slots, cores = [], {}, None
    for group in sorted({one.machine for one in members}, key=lambda name: (name != here, name)):
        those = [one for one in members if one.machine == group]
        if group == here:
            shared = capacity(those, usable_cores(), memory()[1])
            cores = shared.workers
        else:
            shared = capacity(those, 1, None)
            slots[group] = shared.workers
        found = grants(those, shared, now)
        those.sort(key=lambda one: (one.held == 0, found[one.run].before or 0, one.arrived, one.run))
        rows += [_row(one, found[one.run], "" if group == here else group) for one in those]
    return Pool(path, cores, rows, slots)


def _told(rows: Sequence[dict[str, Any]], there: int | None, what: str, where: str) -> str:
    """A group of runs in words; nothing of none."""
    if not rows:
        return ""
    training = sum(1 for row in rows if row["workers"])
    workers = sum(row["workers"] for row in rows)
    return (
        f"{training} run{'s' * (training != 1)} with {workers} worker{'s' * (workers != 1)} on {there} "
        f"{what}{'s' * (there != 1)}{where}, {len(rows) - training} in line"
    )


def _read(path: Path) -> list[Entry]:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Exception):  # a pool of others, or a busy one, is read as it is
            stack.enter_context(PoolFolder(path).locked(READ_SECONDS))
        here = this_machine()
        return [one for one in everyone(path) if one.machine == here or ":" in one.machine]


def _row(one: Entry, grant: Any, hosts: str) -> dict[str, Any]:
    rate = one.speeds.get(one.held) if one.held else None
    left = one.left / rate if one.left is not None and rate else None
    why = grant.why
    if not one.held and grant.workers:
        why = "your turn, as soon as others have given back what they have too much"
    elif not one.held:
        known = grant.wait_seconds if one.wait_seconds is None else one.wait_seconds
        why = place_told(grant.before or 0, known, why if why.startswith("waits") else "waits in line")
    elif one.state != Status.RUNNING:
        why = "is paused, and keeps its least" if one.state == Status.PAUSED else "starts, or ends"
    return {
        "run": one.run,
        "hosts": hosts,
        "user": one.user,
        "state": one.state,
        "workers": one.held,
        "next": grant.workers,
        "least": one.least,
        "most": one.most,
        "samples_per_second": None if rate is None else round(rate, 1),
        "seconds_left": None if left is None else round(left, 1),
        "share": one.share,
        "priority": one.priority,
        "why": why,
    }
