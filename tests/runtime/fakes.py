"""An executor without processes: it notes what it is asked, and tests say what its workers would."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_kit.runtime.executor import Ended, HostNews, Loss
from lepton_kit.runtime.places import Ability, Place
from lepton_kit.training.messages import Message


@dataclass
class FakeExecutor:
    offered: list[Place]
    ability: Ability = field(default_factory=lambda: Ability("all", "same"))
    awaits_places: str | None = None
    log: str = ""
    at: dict[int, Place] = field(default_factory=dict)
    sent: list[tuple[int, Message]] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    said: list[tuple[int, Message]] = field(default_factory=list)
    over: list[Ended] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)
    news: list[HostNews] = field(default_factory=list)
    took: list[dict[str, Any]] = field(default_factory=list)
    asked_fresh: int = 0

    def places(self) -> list[Place]:
        return self.offered

    def hosts(self) -> list[HostNews]:
        return self.news

    def start(self, worker: int, place: Place) -> None:
        self.at[worker] = place

    def send(self, worker: int, message: Message) -> bool:
        self.sent.append((worker, message))
        return True

    def kill(self, worker: int) -> None:
        self.killed.append(worker)

    def filenos(self) -> list[int]:
        return []

    def receive(self) -> list[tuple[int, Message]]:
        told, self.said = self.said, []
        return told

    def ended(self) -> list[Ended]:
        over, self.over = self.over, []
        return over

    def losses(self) -> list[Loss]:
        lost, self.lost = self.lost, []
        return lost

    def energy(self, now: float, fresh: bool = False) -> list[dict[str, Any]]:
        self.asked_fresh += fresh
        took, self.took = self.took, []
        return took

    def tend(self, hang_seconds: float) -> None: ...

    def close(self, grace_seconds: float = 2.0) -> None: ...


NOBODY = 2**22 + 1
"""The first number that no process can have (proc(5), pid_max)."""


def zone(root: Path, name: str, kind: str, used: float, wrap: float = 262e9) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{used:.0f}\n")
    (folder / "max_energy_range_uj").write_text(f"{wrap:.0f}\n")
    return folder / "energy_uj"
