"""Pure functions that decide which recordings, or which last rows of them, are held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def held_groups(
    groups: Sequence[str], labels: Sequence[str], rows: Sequence[int], share: float, seed: int
) -> set[str] | None:
    """Groups to hold out, about ``share`` of the rows; None where a class would be left without a group to train on.

    Every class keeps a group to train on and has one that is held out.

    >>> held = held_groups(["a", "b", "c", "d"], ["x", "x", "y", "y"], [9, 9, 9, 9], 0.3, 0)
    >>> len(held), len({"a", "b"} & held)
    (2, 1)
    """
    classes = sorted(set(labels))
    members: dict[str, set[str]] = {group: set() for group in groups}
    sizes = dict.fromkeys(members, 0)
    for group, label, count in zip(groups, labels, rows, strict=True):
        members[group].add(label)
        sizes[group] += count
    if any(sum(label in kinds for kinds in members.values()) < 2 for label in classes):
        return None
    names = sorted(members)
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    left = {label: sum(label in kinds for kinds in members.values()) for label in classes}
    held: set[str] = set()
    room = share * sum(sizes.values())
    seen: set[str] = set()
    # First a group for each class, then more while there is room.
    for first in (True, False):
        for group in order:
            if group in held or any(left[label] < 2 for label in members[group]):
                continue
            if (first and members[group] <= seen) or (not first and sizes[group] > room):
                continue
            held.add(group)
            seen |= members[group]
            room -= sizes[group]
            for label in members[group]:
                left[label] -= 1
    return held if set(classes) <= seen else None


def cut(rows: int, share: float, length: int) -> int:
    """The first row that is held out of a recording: the last share, but at least a window; ``rows`` for none.

    >>> cut(100, 0.2, 10), cut(25, 0.2, 10), cut(15, 0.2, 10)
    (80, 15, 15)
    """
    held = max(round(rows * share), length)
    return rows - held if share and rows - held >= length else rows
