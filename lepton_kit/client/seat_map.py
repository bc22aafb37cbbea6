"""A picture of who sits where: NUMA nodes with their cores, GPUs, and the workers on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from lepton_kit.drawing import BLUE, GREEN, GREY, ORANGE, VIOLET, WIDTH, Picture, line, svg, words
from lepton_kit.machine.nvml import Gpu
from lepton_kit.machine.topology import Core, tell_cores
from lepton_kit.planning.seating import Room

COLOURS = (BLUE, ORANGE, GREEN, VIOLET)
CELL, HEIGHT, GAP = 36, 34, 6
MARGIN, HEAD = 8, 18
GPU_WIDTH = 190
MOST_WORDS = 16
"""Workers that are told one by one in the words of a picture."""


@dataclass(frozen=True)
class Sitter:
    """A worker in the picture: ``label`` is short, such as 2; ``cores`` is empty where it may run on all."""

    label: str
    cores: tuple[int, ...] = ()
    gpu: int | None = None


def seat_map(
    room: Room, sitters: Sequence[Sitter] = (), busy: Mapping[int, float] | None = None, ink: str = GREY
) -> Picture:
    """The cores of a machine by NUMA node, hyper-threads of a physical core together, with the workers pinned to them.

    ``busy``: core -> the share of it that is taken now. ``ink`` is the colour of text. Cores that this process may not use,
    or that another run holds, are crossed out.
    """
    drawn, y = [], 0.0
    nodes = sorted({core.node for core in room.cores})
    for node in nodes:
        title = f"NUMA node {node}" if len(nodes) > 1 else "cores"
        part, y = _node(
            title, [core for core in room.cores if core.node == node], room, sitters, busy or {}, ink, y
        )
        drawn += part
    if room.gpus:
        part, y = _gpus(room.gpus, sitters, ink, y)
        drawn += part
    free = [one.label for one in sitters if not one.cores and one.gpu is None]
    if free:
        drawn.append(words(MARGIN, y + 14, f"on any core: {_workers(free)}", colour=ink))
        y += HEAD + 4
    text = told(room, sitters)
    return Picture(svg(drawn, y + 4, text, _width(room, bool(free))), text)


def _width(room: Room, words_below: bool) -> float:
    """As wide as the widest row, which never exceeds `WIDTH`."""
    nodes: dict[int, dict[tuple[int, ...], int]] = {}
    for core in room.cores:
        groups = nodes.setdefault(core.node, {})
        groups[core.siblings] = groups.get(core.siblings, 0) + 1
    rows = [sum(CELL * count + GAP for count in groups.values()) for groups in nodes.values()]
    rows += [len(room.gpus) * (GPU_WIDTH + GAP), WIDTH // 2 if words_below else 0]
    return min(float(WIDTH), max(CELL * 3, *rows) + 2 * MARGIN)


def told(room: Room, sitters: Sequence[Sitter]) -> str:
    """The picture in words.

    >>> told(Room([Core(0, (0,)), Core(1, (1,))]), [Sitter("0", (1,)), Sitter("1")])
    '2 cores, no GPU. Worker 0 on core 1; worker 1 on any core.'
    """
    gpus = len(room.gpus)
    nodes = len({core.node for core in room.cores})
    many = f" in {nodes} NUMA nodes" if nodes > 1 else ""
    shown = f"{len(room.cores)} core{'s' * (len(room.cores) != 1)}{many}, "
    shown += f"{gpus or 'no'} GPU{'s' * (gpus > 1)}"
    where = [f"worker {one.label} on {_where(one)}" for one in sitters[:MOST_WORDS]]
    if len(sitters) > MOST_WORDS:
        where.append(f"{len(sitters) - MOST_WORDS} more")
    text = "; ".join(where)
    held = f" Held by runs: {tell_cores(room.held)}." if room.held else ""
    return f"{shown}.{f' {text[0].upper()}{text[1:]}.' if text else ''}{held}"


def _where(one: Sitter) -> str:
    places = [] if one.gpu is None else [f"GPU {one.gpu}"]
    if one.cores:
        places.append(f"core{'s' * (len(one.cores) != 1)} {tell_cores(one.cores)}")
    return " and ".join(places) or "any core"


def _node(
    title: str,
    cores: Sequence[Core],
    room: Room,
    sitters: Sequence[Sitter],
    busy: Mapping[int, float],
    ink: str,
    y: float,
) -> tuple[list[str], float]:
    drawn = [words(MARGIN, y + 13, title, colour=ink)]
    x, y = float(MARGIN), y + HEAD
    numbers = {core.number: core for core in cores}
    for group in dict.fromkeys(core.siblings for core in cores):
        here = [numbers[one] for one in group if one in numbers]
        width = CELL * len(here)
        if x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + HEIGHT + GAP
        for k, core in enumerate(here):
            drawn += _cell(core, x + k * CELL, y, room, sitters, busy.get(core.number), ink)
        drawn.append(_frame(x, y, width, HEIGHT, GREY, 1.5))
        x += width + GAP
    return drawn, y + HEIGHT + GAP


def _cell(
    core: Core, x: float, y: float, room: Room, sitters: Sequence[Sitter], busy: float | None, ink: str
) -> Iterable[str]:
    here = [k for k, one in enumerate(sitters) if core.number in one.cores]
    title = f"core {core.number}"
    if not core.usable:
        title += ", not for this process"
    elif core.number in room.held:
        title += f", held by {room.held[core.number]}"
    if here:
        title += f", {_workers([sitters[k].label for k in here])}"
    if busy is not None:
        title += f", {busy:.0%} busy now"
    yield f"<g><title>{escape(title)}</title>"
    yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{CELL}" height="{HEIGHT}" fill="transparent"/>'
    if busy:
        tall = busy * (HEIGHT - 8)
        yield f'<rect x="{x + CELL - 9:.1f}" y="{y + HEIGHT - 4 - tall:.1f}" width="4" height="{tall:.1f}" fill="{GREY}"/>'
    if here:
        colour = COLOURS[here[0] % len(COLOURS)]
        yield _frame(x + 2, y + 2, CELL - 4, HEIGHT - 4, colour, 3)
        label = ",".join(sitters[k].label for k in here)
        shown = f"w{label}" if len(label) < 4 else f"{len(here)} w"
        yield words(x + CELL / 2 - 1, y + 26, shown, "middle", ink, ' font-weight="bold"')
    elif not core.usable or core.number in room.held:
        yield line(x + 5, y + HEIGHT - 5, x + CELL - 7, y + 5, GREY)
    yield words(x + 5, y + 13, str(core.number), colour=ink, more=' font-size="10"')
    yield "</g>"


def _gpus(gpus: Sequence[Gpu], sitters: Sequence[Sitter], ink: str, y: float) -> tuple[list[str], float]:
    drawn = [words(MARGIN, y + 13, "GPUs", colour=ink)]
    x, y = float(MARGIN), y + HEAD
    for gpu in gpus:
        if x + GPU_WIDTH > WIDTH - MARGIN:
            x, y = float(MARGIN), y + HEIGHT + GAP
        here = [k for k, one in enumerate(sitters) if one.gpu == gpu.number]
        colour = COLOURS[here[0] % len(COLOURS)] if here else GREY
        name = gpu.name if len(gpu.name) < 26 else f"{gpu.name[:24]}…"
        drawn.append(f"<g><title>{escape(f'GPU {gpu.number}: {gpu.name}')}</title>")
        drawn.append(_frame(x, y, GPU_WIDTH, HEIGHT, colour, 3 if here else 1.5))
        drawn.append(words(x + 7, y + 14, f"{gpu.number} · {name}", colour=ink, more=' font-size="10"'))
        label = _workers([sitters[k].label for k in here]) if here else _memory(gpu)
        drawn += [words(x + 7, y + 28, label, colour=ink, more=' font-weight="bold"' if here else ""), "</g>"]
        x += GPU_WIDTH + GAP
    return drawn, y + HEIGHT + GAP


def _memory(gpu: Gpu) -> str:
    return "" if gpu.free_bytes is None else f"{gpu.free_bytes / 1e9:.1f} GB free"


def _workers(labels: Sequence[str]) -> str:
    """Workers by their labels, in words.

    >>> _workers(["0"]), _workers(["0", "1", "2"])
    ('worker 0', 'workers 0, 1, 2')
    """
    return f"worker{'s' * (len(labels) != 1)} {', '.join(labels)}"


def _frame(x: float, y: float, width: float, height: float, colour: str, thick: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4" fill="none" '
        f'stroke="{colour}" stroke-width="{thick:g}"/>'
    )
