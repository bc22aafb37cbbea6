"""A place in the line of those who wait for a share of a machine, in words."""

from __future__ import annotations


def place_told(before: int, wait_seconds: float | None, why: str = "waits in line") -> str:
    """A place in line in words.

    >>> place_told(2, 250.0), place_told(0, None), place_told(0, 20.0, "waits for memory")
    ('2 before you, about 4 min', 'you are next', 'you are next, about 20 s; waits for memory')
    """
    told = f"{before} before you" if before else "you are next"
    if wait_seconds is not None:
        rounded = max(1, round(wait_seconds))
        words = f"{rounded} s" if rounded < 90 else f"{round(rounded / 60)} min"
        told += f", about {words if rounded < 7200 else f'{round(rounded / 3600)} h'}"
    return told if why == "waits in line" else f"{told}; {why}"
