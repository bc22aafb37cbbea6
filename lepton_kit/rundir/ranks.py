"""Where the time of each rank goes, from a run's log, and which one holds the others up, and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

WINDOW_SECONDS = 5.0
"""Reports of so many last seconds count."""
SLOWER = 1.25
"""A rank that takes so many times as long as the median of the others holds them up …"""
HELD_UP = 0.1
"""… if they wait for it for this part of the time at least."""
STOLEN, THROTTLED, FAULTS, SHORT, HEATS = 0.2, 0.05, 50.0, 0.1, 0.2
"""From here on cores that others take (part of the time), a quota (the same), memory (pages a second, or part of the time) and
heat (times a second) are a cause: so much more than the other ranks have of it."""
LINK_SLOWER = 1.5
"""Sums over a network that take so many times as long as they did, and `HELD_UP` of the time, are a slow link …"""
LINK_PART = 0.5
"""… and so are those that take this part of the time, if they have done so since the ring formed."""
CALM_REPORTS = 3
"""So many reports in a row in which nobody comes late end it."""
MOMENT_SECONDS, MOMENTS = 5.0, 60
"""The past is kept in pieces of so many seconds of training, and of the last five minutes."""
Cause = Literal["empty", "data", "stolen", "throttled", "memory", "heat", "larger part", "device"]


@dataclass(frozen=True)
class RankTime:
    """One rank over the last seconds: parts of the time (0 to 1), and its speed while it computes.

    ``other`` is what is left: callbacks, validation, the loop itself. ``seconds`` are of reading and computing, a step;
    ``samples`` its part of the steps' batches.
    """

    rank: int
    data: float
    computing: float
    communicating: float
    waiting: float
    other: float
    samples_per_second: float
    seconds: float
    samples: float


@dataclass
class Moment:
    """A piece of the past of one ring: what part of its ``seconds`` each rank worked (reads and computes), waited, or neither."""

    seconds: float
    worked: list[float]
    waited: list[float]

    def add(self, event: Mapping[str, Any]) -> None:
        """A ``steps`` event more, of as many ranks."""
        self.seconds += event["seconds"]
        for rank, waited in enumerate(event["waited"]):
            self.worked[rank] += event["data"][rank] + event["busy"][rank]
            self.waited[rank] += waited


class Past:
    """Something that takes time, smoothed over reports, beside the least that it has been; ``since`` when it costs something."""

    def __init__(self) -> None:
        self.now, self.least, self.since = 0.0, float("inf"), 0
        self._part = 0.0
        self._count = 0

    def note(self, seconds: float, part: float, step: int) -> None:
        """What it took in the report that begins at this step, and what part of the time."""
        calm = not self.grown(LINK_SLOWER) or self._part <= HELD_UP
        self._count += 1
        self.now += (seconds - self.now) / min(self._count, 5)
        self._part += (part - self._part) / min(self._count, 5)
        if self._count >= CALM_REPORTS:
            self.least = min(self.least, self.now)
        self.since = step if calm else self.since

    @property
    def steady(self) -> bool:
        """Whether enough of it has been seen."""
        return 0 < self.least < float("inf")

    def grown(self, times: float) -> bool:
        """Whether it takes so many times as long as the least."""
        return self.steady and self.now > times * self.least


@dataclass(frozen=True)
class Straggler:
    """A rank that the others wait for: ``factor`` times as slow as their median, since ``since``; without it ``gain`` more."""

    rank: int
    factor: float
    since: int
    cause: Cause
    stolen: float
    gain: float
    became: bool
    """Whether it was as fast as others before; else it has been so since the ring formed."""

    def __str__(self) -> str:
        """One sentence.

        >>> str(Straggler(2, 3.1, 400, "stolen", 0.68, 0.41, True))
        'rank 2 takes 3.1 × as long as the median of the others since step 400 (68 % of its core is taken by other processes); without it +41 %'
        """
        why = {
            "empty": "too slow to be given samples, it is late with its update all the same: scale it away",
            "data": "it waits for its data",
            "stolen": f"{self.stolen:.0%} of its core is taken by other processes",
            "throttled": "the quota of its control group is used up",
            "memory": "memory is short: it waits for pages to be freed, or fetched from the disk",
            "heat": "its processor slows itself down for heat",
            "larger part": "its part of each batch is larger than what it is faster",
            "device": "it computes more slowly than before" if self.became else "a slower device",
        }[self.cause]
        since = f"since step {self.since}" if self.became else "since this ring formed"
        return (
            f"rank {self.rank} takes {self.factor:.1f} × as long as the median of the others {since} ({why}); "
            f"without it {self.gain:+.0%}".replace("%", " %")
        )


@dataclass(frozen=True)
class SlowLink:
    """Sums between hosts that take ``part`` of the time, ``factor`` times as long as they did in this ring; ``gain`` if they did not.

    Where they did not become slower (``became``), the gain is that of sums which take no time.
    """

    part: float
    factor: float
    since: int
    gain: float
    became: bool

    def __str__(self) -> str:
        """One sentence.

        >>> str(SlowLink(0.4, 3.0, 400, 0.41, True))
        'adding up between the hosts takes 3.0 × as long as before since step 400 (a slow link); without that +41 %'
        >>> str(SlowLink(0.6, 1.0, 0, 1.5, False))
        'adding up between the hosts takes 60 % of the time since this ring formed (a link too slow for this model and batch); without that at most +150 %'
        """
        if self.became:
            about = (
                f"{self.factor:.1f} × as long as before since step {self.since} (a slow link); without that"
            )
        else:
            about = f"{self.part:.0%} of the time since this ring formed (a link too slow for this model and batch); without that at most"
        return f"adding up between the hosts takes {about} {self.gain:+.0%}".replace("%", " %")


class Ranks:
    """Reads ``steps`` and ``resources`` events of one generation after the other."""

    def __init__(self) -> None:
        self.moments: deque[Moment] = deque(maxlen=MOMENTS)
        """The last minutes, oldest first; the last one is not whole yet."""
        self.begin(0)

    def begin(self, step: int, over_network: bool = False) -> None:
        """A ring forms anew: what was known of ranks is of others now."""
        self._over_network = over_network
        self._link = Past()
        self._reports: deque[Mapping[str, Any]] = deque()
        self._seconds = 0.0
        self._loads: dict[int, Mapping[str, float | None]] = {}
        self._formed, self._anew = step, True
        self._slow: tuple[int, int] | None = None
        """(rank, step) of the one that came last in the last reports, and since when."""
        self._calm = 0
        self._paces: dict[int, list[float]] = {}
        """Of each rank: reports, seconds a sample smoothed over them, and the least that this has been."""

    def report(self, event: Mapping[str, Any]) -> None:
        """A ``steps`` event; one of an older version does not tell enough. Takes microseconds: logs are long."""
        if "data" not in event:
            return
        self._reports.append(event)
        self._seconds += event["seconds"]
        if self._anew or self.moments[-1].seconds >= MOMENT_SECONDS:
            nothing = [0.0] * len(event["busy"])
            self.moments.append(Moment(0.0, nothing, nothing.copy()))
            self._anew = False
        self.moments[-1].add(event)
        while self._seconds - self._reports[0]["seconds"] > WINDOW_SECONDS:
            self._seconds -= self._reports.popleft()["seconds"]
        steps = event["last"] - event["first"]
        if self._over_network and steps > 0:
            together = event.get("communicated", 0.0)
            self._link.note(together / steps, together / max(event["seconds"], 1e-9), int(event["first"]))
        taken = [data + busy for data, busy in zip(event["data"], event["busy"], strict=True)]
        for rank, (seconds, samples) in enumerate(zip(taken, event["samples"], strict=True)):
            if samples > 0 and seconds > 0:
                self._note_pace(rank, seconds / samples)
        last = max(range(len(taken)), key=taken.__getitem__)
        others = taken[:last] + taken[last + 1 :]
        if not others or taken[last] <= SLOWER * median(others):
            self._calm += 1
            if self._calm >= CALM_REPORTS:
                self._slow = None
            return
        self._calm = 0
        if self._slow is None or self._slow[0] != last:
            self._slow = (last, int(event["first"]))

    def _note_pace(self, rank: int, seconds: float) -> None:
        pace = self._paces.setdefault(rank, [0, seconds, float("inf")])
        pace[0] += 1
        pace[1] += 0.2 * (seconds - pace[1])
        if pace[0] >= CALM_REPORTS:
            pace[2] = min(pace[2], pace[1])

    def load(self, event: Mapping[str, Any]) -> None:
        """A ``resources`` event."""
        for rank, row in event.get("ranks", {}).items():
            if rank.isdigit():
                self._loads[int(rank)] = row

    def times(self) -> list[RankTime]:
        """Where the time of each rank went over the last seconds; empty before the first report."""
        if not self._reports:
            return []
        wall = sum(one["seconds"] for one in self._reports)
        steps = sum(one["last"] - one["first"] for one in self._reports)
        together = sum(one.get("communicated", 0.0) for one in self._reports)
        rows = []
        for rank in range(len(self._reports[-1]["busy"])):
            data, busy, waited, samples = (
                sum(one[name][rank] for one in self._reports)
                for name in ("data", "busy", "waited", "samples")
            )
            whole = max(wall, data + busy + waited + together, 1e-9)
            rows.append(
                RankTime(
                    rank=rank,
                    data=data / whole,
                    computing=busy / whole,
                    communicating=together / whole,
                    waiting=waited / whole,
                    other=1.0 - (data + busy + waited + together) / whole,
                    samples_per_second=samples / busy if busy > 0 else float("nan"),
                    seconds=(data + busy) / max(1, steps),
                    samples=samples / max(1, steps),
                )
            )
        return rows

    def loads(self) -> dict[int, Mapping[str, float | None]]:
        """Of each rank, as the last measurement has it: cores, and the parts that others or a quota took of them."""
        return dict(self._loads)

    def straggler(self) -> Straggler | None:
        """The rank that holds the others up, if one does."""
        rows = self.times()
        slow = _slowest(rows)
        if slow is None:
            return None
        others = [row for row in rows if row.rank != slow.rank]
        usual = median(row.seconds for row in others)
        rest = slow.seconds * (1.0 / max(slow.data + slow.computing, 1e-9) - 1.0)  # a step's time beside
        _, pace, least = self._paces.get(slow.rank, [0, 0.0, float("inf")])
        became = pace > SLOWER * least
        since = self._slow[1] if became and self._slow and self._slow[0] == slow.rank else self._formed
        load = self._loads.get(slow.rank, {})
        return Straggler(
            rank=slow.rank,
            factor=slow.seconds / usual if usual > 0 else float("inf"),
            since=since,
            cause=_cause(slow, others, self._beyond(slow.rank)),
            stolen=load.get("stolen") or 0.0,
            gain=(slow.seconds + rest) / (usual + rest) - 1.0,
            became=became,
        )

    def slow_link(self) -> SlowLink | None:
        """Where ranks sum over a network: that it takes longer than it did in this ring and costs something, or half of the time.

        All of them wait for the same sums, so which link it is is not known from here: `Cluster.check` measures each.
        """
        rows, link = self.times(), self._link
        if not rows or not self._over_network:
            return None
        part, became = rows[0].communicating, link.grown(LINK_SLOWER)
        if part <= (HELD_UP if became else LINK_PART) or not link.steady:
            return None
        lost = part * (1.0 - link.least / link.now) if became else part
        since = link.since if became else self._formed
        return SlowLink(part, link.now / link.least, since, lost / max(1.0 - lost, 1e-9), became)

    def told(self) -> str | None:
        """What holds the run up, in a sentence: a rank, or a link that has become slow and costs more; None if nothing does.

        A link that was slow from the start is told of where no rank is: what it costs is known as a bound alone.
        """
        rank, link = self.straggler(), self.slow_link()
        if rank is not None and (link is None or not link.became or link.gain < rank.gain):
            return str(rank)
        return None if link is None else str(link)

    def _beyond(self, rank: int) -> dict[str, float]:
        """By how much more than the median of the others a rank is hindered: what hinders all makes nobody the slowest."""
        found = {}
        for name in ("stolen", "throttled", "faults", "short", "heats"):
            others = [row.get(name) or 0.0 for other, row in self._loads.items() if other != rank]
            found[name] = (self._loads.get(rank, {}).get(name) or 0.0) - median(others or [0.0])
        return found


def _slowest(rows: Sequence[RankTime]) -> RankTime | None:
    """The rank that takes longest for its part, if that costs the others something."""
    if len(rows) < 2:
        return None
    slow = max(rows, key=lambda row: row.seconds)
    others = [row for row in rows if row.rank != slow.rank]
    late = slow.seconds > SLOWER * median(row.seconds for row in others)
    return slow if late and median(row.waiting for row in others) > HELD_UP else None


def _cause(slow: RankTime, others: Sequence[RankTime], beyond: Mapping[str, float]) -> Cause:
    """The first of the causes whose sign is there."""
    if slow.samples == 0:
        return "empty"
    share = slow.data / max(slow.data + slow.computing, 1e-9)
    if share > 0.5:
        return "data"
    if beyond["throttled"] > THROTTLED:
        return "throttled"
    if beyond["stolen"] > STOLEN:
        return "stolen"
    if beyond["faults"] > FAULTS or beyond["short"] > SHORT:
        return "memory"
    if beyond["heats"] > HEATS:
        return "heat"
    speeds = [row.samples_per_second for row in others]
    if slow.samples_per_second > median(speeds) / SLOWER:
        return "larger part"
    return "device"
