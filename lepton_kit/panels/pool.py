"""The pool panel: who has what of this machine, or of hosts that are shared, and why, and whose turn it is next."""

from __future__ import annotations

import contextvars
import html
from collections.abc import Sequence
from typing import Any

from lepton_kit.panels.announce import Announcer
from lepton_kit.panels.parts import Markup, Panel, bar, button, card, chip, framed, note, row, set_html, table
from lepton_kit.panels.pump import Pump
from lepton_kit.panels.telling import number
from lepton_kit.rundir.told import duration

LOOK_SECONDS = 2.0
COLUMNS = ["run", "user", "state", "workers", "samples/s, measured", "left (estimated)", "why"]
SHOWN = 40


def shares(rows: Sequence[dict[str, Any]], cores: int | None, what: str = "cores", where: str = "") -> str:
    """A bar of the cores (or slots, of hosts): a piece for each run that has some, and what is free."""
    pieces = [
        (row["workers"], f"{row['run']}: {_workers(row['workers'])}", str(row["workers"]))
        for row in rows
        if row["workers"]
    ]
    free = (cores or 0) - sum(size for size, _, _ in pieces)
    told = ", ".join(title for _, title, _ in pieces) or "no run has a worker"
    told += f"; {free} free" if free > 0 else ""
    if not pieces:
        return ""
    drawn = bar(f"{what}{where}: {told}", pieces)
    said = f"{free} of {cores} {what}{html.escape(where)} free" if free > 0 else ""
    if not free and where:
        said = f"all {cores} {what}{html.escape(where)} are used"
    return Markup(f'<div style="width:{_width(pieces, free):.0f}%">{drawn}</div>') + (
        f'<div class="lk-note">{said}</div>' if said else ""
    )


def _width(pieces: Sequence[tuple[int, str, str]], free: int) -> float:
    used = sum(size for size, _, _ in pieces)
    return 100 * used / (used + max(0, free))


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count != 1)}"


def listing(rows: Sequence[dict[str, Any]], user: str) -> str:
    """A table of the runs; those of ``user`` are marked."""
    lines: list[list[object]] = []
    by_hosts = any(one["hosts"] for one in rows)
    for one in rows[:SHOWN]:
        name, mine = html.escape(one["run"]), one["user"] == user
        lines.append(
            [
                Markup(f"<b>{name}</b>") if mine else name,
                *([one["hosts"] or "this machine"] if by_hosts else []),
                "you" if mine else one["user"],
                chip(one["state"]),
                _change(one),
                number(one["samples_per_second"], 0),
                "–" if one["seconds_left"] is None else duration(one["seconds_left"]),
                one["why"] if mine else _of_another(one["why"]),
            ]
        )
    more = f'<div class="lk-note">and {len(rows) - SHOWN} more</div>' if len(rows) > SHOWN else ""
    columns = [COLUMNS[0], *(["hosts"] if by_hosts else []), *COLUMNS[1:]]
    return table(columns, lines, numbers=tuple(place + by_hosts for place in (3, 4, 5))) + more


def _change(one: dict[str, Any]) -> str:
    has, gets = one["workers"], one["next"]
    return f"{has} → {gets}" if has and gets != has else str(has) if has else "–"


def _of_another(why: str) -> str:
    return (
        why.replace("you are next", "is next")
        .replace("before you", "before it")
        .replace("your turn", "its turn")
    )


def turns(rows: Sequence[dict[str, Any]], user: str) -> list[str]:
    """When the runs of a user that wait are to begin, a sentence each.

    >>> turns([{"run": "a", "user": "me", "workers": 0, "why": "2 before you, about 4 min"}], "me")
    ['a: 2 before you, about 4 min']
    """
    return [f"{one['run']}: {one['why']}" for one in rows if one["user"] == user and not one["workers"]]


class PoolPanel(Panel):
    """The runs that share this machine: who has what, why, and when it is your turn. It looks again every 2 s while there are any."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: Any = None
        self.line, self.mine, self.shares, self.listing = note(), note(), note(), note()
        self.mine.add_class("lk-turns")
        self.heard = Announcer()
        self.look = button("Look again", "read who shares this machine now", "", "refresh", "120px")
        self.look.on_click(lambda _: self.follow())
        self.view = framed(
            card(
                "Sharing this machine", self.line, self.mine, self.shares, self.listing, row(self.look), self.problem,
                self.heard, note="runs with workers=auto share its cores; the others wait in line",
            )
        )  # fmt: skip
        self.view.add_class("lk-pool")
        self._pump = Pump(self._tick, fastest=LOOK_SECONDS, context=contextvars.copy_context())
        self.follow()

    def __repr__(self) -> str:
        return f"<PoolPanel: {self.pool.told() if self.pool is not None else 'unknown'}>"

    def follow(self) -> None:
        """Look now, and then again while runs share the machine."""
        if self.refresh():
            self._pump.start()

    def refresh(self) -> bool:
        """Look at the pool now; True if runs share the machine."""
        import lepton_kit as lk
        from lepton_kit.runtime.pool.share import user_name

        with self.reporting():
            self.pool = lk.pool()
            rows, user = self.pool.rows, user_name()
            set_html(self.line, html.escape(self.pool.told()))
            said = turns(rows, user)
            told = "".join(f"<li>{html.escape(one)}</li>" for one in said[:SHOWN])
            set_html(
                self.mine,
                f'<b>Your turn</b><ul style="margin:2px 0 6px;padding-left:18px">{told}</ul>' if told else "",
            )
            here = " of this machine" if self.pool.slots else ""
            drawn = shares(self.pool.of(""), self.pool.cores, where=here)
            for hosts, slots in self.pool.slots.items():
                drawn += shares(self.pool.of(hosts), slots, "slots", f" of {hosts}")
            set_html(self.shares, drawn)
            set_html(self.listing, listing(rows, user) if rows else "")
            places = "; ".join(one.partition(", about")[0] for one in said[:3])
            self.heard.text = f"{self.pool.told()}. {places}".strip()
            return bool(rows)
        return False

    def close(self) -> None:
        """Look no more, and close the widgets."""
        self._pump.stop()
        super().close()

    def _tick(self) -> bool:
        return self.refresh()
