"""Which cores the workers of a run are pinned to, where the run leaves that to the kit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from lepton_kit.machine.topology import Core


def choose_cores(
    machine: Sequence[Core], held: Collection[int], workers: int, each: int
) -> list[tuple[int, ...]] | None:
    """Cores for so many workers, ``each`` of them; None if there are not enough.

    No core is given twice, none that others hold (``held``), none that this process may not use. Physical cores of which
    nothing is held come first, one core of each; only where these do not suffice both hyper-threads are given, to one worker
    where it can be. A worker's cores lie in one NUMA node where one has room; workers go to the node with most room left.

    >>> four = [Core(n, (n % 2, n % 2 + 2)) for n in range(4)]
    >>> choose_cores(four, (), 2, 1), choose_cores(four, (), 2, 2), choose_cores(four, {0}, 4, 1)
    ([(0,), (1,)], [(0, 2), (1, 3)], None)
    """
    free = [core for core in machine if core.usable and core.number not in held]
    own = [core for core in free if not any(one in held for one in core.siblings)]
    whole = list({core.siblings: core for core in reversed(own)}.values())
    pool = whole if len(whole) >= workers * each else free
    untouched = {core.number for core in own}
    rooms: dict[tuple[bool, int], list[int]] = defaultdict(list)
    for core in sorted(pool, key=lambda one: (one.siblings, one.number)):
        rooms[core.number not in untouched, core.node].append(core.number)
    if sum(map(len, rooms.values())) < workers * each:
        return None
    found = []
    for _ in range(workers):
        with_room = [place for place, left in rooms.items() if len(left) >= each]
        if with_room:
            best = min(with_room, key=lambda place: (place[0], -len(rooms[place]), place))
            found.append(_take(rooms, [best], each))
        else:
            found.append(_take(rooms, sorted(rooms), each))
    return found


def _take(
    rooms: dict[tuple[bool, int], list[int]], places: Iterable[tuple[bool, int]], count: int
) -> tuple[int, ...]:
    taken: list[int] = []
    for place in places:
        missing = count - len(taken)
        taken += rooms[place][:missing]
        del rooms[place][:missing]
    return tuple(sorted(taken))
