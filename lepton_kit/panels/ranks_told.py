"""Where the time of each rank goes, as bars, as a strip of the last minutes, and in words: pure functions from a view to HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from lepton_kit.panels.parts import table
from lepton_kit.rundir.ranks import Moment, RankTime
from lepton_kit.rundir.view import RunView

RANKS_SHOWN = 16
"""More ranks than these have no bar of their own; the slowest ones have."""
LEVELS = 8
"""Shades of the strip."""
PARTS = {
    "data": ("data", "#c2740c", "waits for the samples of its part of the batch"),
    "computing": ("compute", "#3d85c6", "computes"),
    "communicating": ("communicate", "#8a5fbf", "adds up with the others"),
    "waiting": ("wait", "repeating-linear-gradient(45deg,#8b949e 0 3px,#8b949e55 3px 6px)", "waits for the slowest rank"),
    "other": ("other", "transparent", "callbacks, validation, the loop"),
}  # fmt: skip
STYLE = """<style>
.lk-ranks{display:grid;grid-template-columns:max-content minmax(60px,1fr) max-content;gap:3px 10px;align-items:center;
 font-size:12px;color:var(--jp-ui-font-color1);margin:4px 0}
.lk-ranks .lk-rank-digits{text-align:right;font-variant-numeric:tabular-nums}
.lk-ranks .lk-rank-bar{display:flex;height:14px;border-radius:3px;overflow:hidden;border:1px solid var(--jp-border-color2)}
.lk-ranks .lk-rank-strip{height:14px;border-radius:3px;border:1px solid var(--jp-border-color2)}
.lk-ranks .lk-rank-slow{font-weight:600;color:var(--jp-ui-font-color0)}
.lk-ranks .lk-rank-times{display:flex;justify-content:space-between;color:var(--jp-ui-font-color2);font-size:11px}
.lk-keys{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:12px;color:var(--jp-ui-font-color2);margin:2px 0}
.lk-keys i{display:inline-block;width:12px;height:10px;border-radius:2px;margin-right:5px;border:1px solid var(--jp-border-color2)}
.lk-heading{font-weight:600;font-size:12px;color:var(--jp-ui-font-color1);margin-top:8px}
.lk-straggler{margin:6px 0 2px;padding:6px 10px;border-left:3px solid #c2740c;border-radius:3px;font-size:13px;
 background:color-mix(in srgb,#c2740c 12%,transparent);color:var(--jp-ui-font-color1)}
</style>"""


def bars(view: RunView) -> str:
    """The sentence on who holds the others up, and a stacked bar per rank; nothing before the first report.

    Of a run that has ended: how it was when it ended.
    """
    rows = view.ranks.times()
    if not rows:
        return ""
    slow = view.ranks.straggler()
    named = None if slow is None else slow.rank
    said = view.ranks.told()
    told = (
        ""
        if said is None
        else f'<div class="lk-straggler">{html.escape(_sentence(f"at the end {said}" if view.done else said))}</div>'
    )
    shown = _shown(rows)
    lines = "".join(_bar(row, row.rank == named) for row in shown)
    more = len(rows) - len(shown)
    tail = f'<div class="lk-note">and {more} more ranks, faster than these</div>' if more else ""
    words, when = _words(rows), "went, the last seconds" if view.done else "goes, last seconds"
    return (
        f'{told}<div class="lk-heading">Where the time of each rank {when}</div>{_keys()}'
        f'<div class="lk-ranks">{lines}</div>{tail}{words}'
    )


def strip(view: RunView) -> str:
    """Rank × time over the last minutes of training: the stronger, the more of its time a rank worked."""
    moments = [*view.ranks.moments][:-1]  # the last one still grows, and would be sent anew with each report
    if len(moments) < 2 or max(len(one.worked) for one in moments) < 2:
        return ""
    count = max(len(one.worked) for one in moments)
    lines = "".join(_track(rank, moments) for rank in range(min(count, RANKS_SHOWN)))
    before = _ago(sum(one.seconds for one in moments))
    ago, end, waits = ("before", "the end", "waited") if view.done else ("ago", "now", "waits")
    return (
        f'<div class="lk-heading">Who worked when: strong blue is at work, faint {waits} for others</div>'
        f'<div class="lk-ranks">{lines}<span></span><div class="lk-rank-times"><span>{before} of training {ago}</span>'
        f"<span>{end}</span></div><span></span></div>"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _shown(rows: Sequence[RankTime]) -> list[RankTime]:
    slowest = sorted(rows, key=lambda row: -row.seconds)[:RANKS_SHOWN]
    return sorted(slowest, key=lambda row: row.rank)


def _bar(row: RankTime, slow: bool) -> str:
    parts = [(PARTS[name], getattr(row, name)) for name in PARTS]
    told = ", ".join(f"{name} {share:.0%}" for (name, _, _), share in parts)
    pieces = "".join(
        f'<div style="flex:{share:.3f};background:{colour}" title="{name} {share:.0%}"></div>'
        for (name, colour, _), share in parts
        if share >= 0.001
    )
    rate = (
        f"{row.samples_per_second:,.0f} samples/s"
        if row.samples_per_second == row.samples_per_second
        else "–"
    )
    kind = ' class="lk-rank-slow"' if slow else ""
    return (
        f'<span{kind}>rank {row.rank}</span><div class="lk-rank-bar" role="img" aria-label="rank {row.rank}: {told}">'
        f'{pieces}</div><span class="lk-rank-digits">{rate}</span>'
    )


def _keys() -> str:
    keys = "".join(
        f'<span title="{html.escape(long)}"><i style="background:{colour}"></i>{name}</span>'
        for name, colour, long in PARTS.values()
    )
    return f'<div class="lk-keys">{keys}</div>'


def _words(rows: Sequence[RankTime]) -> str:
    lines: list[list[object]] = [
        [row.rank, *(f"{getattr(row, name):.0%}" for name in PARTS), f"{row.samples_per_second:,.0f}"]
        for row in rows
    ]
    names = ["rank", *(name for name, _, _ in PARTS.values()), "samples/s while it computes"]
    found = table(names, lines, numbers=tuple(range(len(names))))
    return f'<details class="lk-words"><summary>The bars in figures</summary>{found}</details>'


def _track(rank: int, moments: Sequence[Moment]) -> str:
    """A line of the strip: one gradient with hard ends, so that it is one element however long the past is."""
    shades: list[int | None] = [
        round(LEVELS * min(1.0, one.worked[rank] / one.seconds)) if rank < len(one.worked) else None
        for one in moments
    ]
    stops, width = [], 100 / len(shades)
    begin = 0
    for place in range(1, len(shades) + 1):
        if place == len(shades) or shades[place] != shades[begin]:
            shade = shades[begin]
            colour = (
                "transparent" if shade is None else f"rgba(61,133,198,{0.08 + 0.92 * shade / LEVELS:.2f})"
            )
            stops.append(f"{colour} {begin * width:.1f}% {place * width:.1f}%")
            begin = place
    there = [one for one in moments if rank < len(one.worked)]
    whole = sum(one.seconds for one in there)
    waited = sum(one.waited[rank] for one in there) / whole if whole else 0.0
    return (
        f'<span>rank {rank}</span><div class="lk-rank-strip" role="img" aria-label="rank {rank} waited {waited:.0%} of this time" '
        f'style="background:linear-gradient(90deg,{",".join(stops)})"></div>'
        f'<span class="lk-rank-digits">waited {waited:.0%}</span>'
    )


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
