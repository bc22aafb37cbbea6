"""The executor of several hosts: one agent on each starts the workers there; a host that is lost comes back by itself."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.rundir import HeldFolder
from lepton_kit.runtime.executor import Ended, HostNews, Loss
from lepton_kit.runtime.hosts.launchers import addresses_of, by_command
from lepton_kit.runtime.hosts.link import HostLink
from lepton_kit.runtime.hosts.mesh import Mesh
from lepton_kit.runtime.hosts.ways import peers_of
from lepton_kit.runtime.places import Ability, Place
from lepton_kit.runtime.spark.places import SparkPlaces
from lepton_kit.training import messages

HELD_UP_SECONDS = 2.0
GATHER_SECONDS = 8.0
"""At the start a host that is reached, and not there yet, is waited for so long."""


class HostsExecutor:
    """Workers on the hosts of a run. Their places are those of the hosts that are there now."""

    ability = Ability(sharing="host", run_folder="fetched")

    def __init__(self, config: RunConfig, folder: Path):
        """Raises `RunError` for a host that has no address."""
        self.log = ""
        self._held = HeldFolder(folder)
        hosts = config.workers.hosts or ()
        run, seconds = folder.name, config.workers.hang_seconds
        spec = config.workers.spark
        self._spark = None if spec is None else SparkPlaces(spec, self._held.shared, hosts)
        opener = by_command if self._spark is None else self._spark.open
        self.links = [HostLink(host, run, self._held.shared, seconds, opener) for host in hosts]
        if self._spark is None:
            for link, peers in zip(self.links, peers_of(hosts, addresses_of(hosts)), strict=True):
                link.peers = peers
        self._told: list[tuple[int, messages.Message]] = []
        self._ended: list[Ended] = []
        self._losses: list[Loss] = []
        self._gathers_until = time.monotonic() + GATHER_SECONDS
        self._known: set[str] = set()
        """Lost hosts of which a loss has told."""
        self._mesh = Mesh(self.links, seconds)
        self._tended = time.monotonic()
        self.tend(seconds)

    # ------------------------------------------------------------------ places and workers

    def places(self) -> Sequence[Place]:
        """The slots of the hosts that are there, in the order of the configuration.

        At first there are none until each host has answered or failed, for some seconds: they are taken in their order.
        """
        on_their_way = any(
            one.state in ("connecting", "asked") or (one.state == "ready" and not one.proven)
            for one in self.links
        )
        if on_their_way and self._spark is None and time.monotonic() < self._gathers_until:
            return []
        self._gathers_until = 0.0
        return [place for link in self.links for place in link.places()]

    def hosts(self) -> Sequence[HostNews]:
        """The hosts of the configuration, in its order."""
        return [HostNews(one.host.name, one.host.slots, one.state, one.doing) for one in self.links]

    @property
    def awaits_places(self) -> str | None:
        """Which hosts are not there; None if all are. Those that can't be used may be mended and the run resumed."""
        tried = [
            one.host.name
            for one in self.links
            if one.state != "refused" and (one.state != "ready" or not one.proven)
        ]
        refused = [link.host.name for link in self.links if link.state == "refused"]
        said = [f"waiting for {', '.join(tried)}"] if tried else []
        said += [f"{', '.join(refused)} can't be used"] if refused else []
        if tried and self._spark is not None and (why := self._spark.waits_for()) is not None:
            said.append(why)
        return "; ".join(said) or None

    def start(self, worker: int, place: Place) -> None:
        """Have a worker started at a place."""
        next(link for link in self.links if link.host.name == place.host).start(worker, place)

    def _link_of(self, worker: int) -> HostLink | None:
        return next((link for link in self.links if worker in link.workers), None)

    def send(self, worker: int, message: messages.Message) -> bool:
        """Tell a worker something; False if it is gone."""
        link = self._link_of(worker)
        return link is not None and link.send(worker, message)

    def kill(self, worker: int) -> None:
        """End a worker at once."""
        if (link := self._link_of(worker)) is not None:
            link.kill(worker)

    # ------------------------------------------------------------------ news

    def filenos(self) -> list[int]:
        """Descriptors that become readable when there are news."""
        of_spark = [] if self._spark is None else self._spark.filenos()
        return [*of_spark, *(number for link in self.links for number in link.filenos())]

    def receive(self) -> list[tuple[int, messages.Message]]:
        """What workers have said, in their order."""
        ready = set(select.select(self.filenos(), [], [], 0.0)[0])
        for link in self.links:
            for news in link.receive(ready):
                match news:
                    case Ended():
                        self._mesh.suspect()
                        self._ended.append(news)
                    case str():
                        self._losses.append(Loss(news))
                    case _:
                        if isinstance(news[1], messages.Detached) and news[1].outcome == "broken":
                            self._mesh.suspect()
                        self._told.append(news)
            self._note_loss(link)
        told, self._told = self._told, []
        return told

    def _note_loss(self, link: HostLink) -> None:
        """One word for a host that is lost, until it is there again, and the end of its workers."""
        if link.state == "ready" and link.proven:
            self._known.discard(link.host.name)
        if link.state not in ("lost", "refused") or link.cause is None:
            return
        for worker in sorted(link.workers):
            self._ended.append(Ended(worker, None, link.cause, excused=True, told=True))
        link.workers.clear()
        if link.host.name not in self._known:
            self._known.add(link.host.name)
            nobody = all(one.state == "refused" for one in self.links)
            self._losses.append(Loss(link.cause, final=nobody, host=link.host.name))

    def ended(self) -> list[Ended]:
        """Workers that have ended since this was asked last."""
        found, self._ended = self._ended, []
        return found

    def losses(self) -> list[Loss]:
        """Hosts that were lost since this was asked last."""
        found, self._losses = self._losses, []
        if self._spark is not None:
            found += self._spark.losses()
        return found

    def energy(self, now: float, fresh: bool = False) -> list[dict[str, Any]]:
        """What the agents have said: each looks by itself, and when a worker leaves its ring."""
        return [{**took, "host": link.host.name} for link in self.links for took in link.taken()]

    def tend(self, hang_seconds: float) -> None:
        """Look after the hosts: one that is silent is lost, one that is lost is tried again."""
        now = time.monotonic()
        held_up, self._tended = now - self._tended, now
        for link in self.links:
            link.tend(now, held_up if held_up > HELD_UP_SECONDS else 0.0)
        if self._spark is not None:
            self._spark.tend(now)
            if self._spark.address is not None:  # as they reach this machine they reach each other
                for link in self.links:
                    link.peers = [self._spark.address]
        self._mesh.tend(now)

    def close(self, grace_seconds: float = 2.0) -> None:
        """End everything on all hosts, as far as they are reached."""
        for link in self.links:
            link.close(grace_seconds)
        if self._spark is not None:
            self._spark.close(grace_seconds)
        self._held.close()
