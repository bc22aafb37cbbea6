"""Arrays as models take them: one, a dictionary name -> array, or a tuple of arrays; each function keeps that form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = np.ndarray | dict[str, np.ndarray] | tuple[np.ndarray, ...]
Key = str | int | None


def items(value: Any) -> list[tuple[Key, Any]]:
    """(key, part) of every part: the key is a name, a place in a tuple, or None for a plain value.

    >>> items({"a": 1, "b": 2}), items((3,)), items(4), items(None)
    ([('a', 1), ('b', 2)], [(0, 3)], [(None, 4)], [])
    """
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, tuple) else [(None, value)]


def joined(parts: Mapping[Any, Any]) -> Any:
    """The value of which `items` gives these parts.

    >>> joined({0: 3}), joined({None: 4}), joined({"a": 1}), joined({})
    ((3,), 4, {'a': 1}, None)
    """
    if not parts:
        return None
    if None in parts:
        return parts[None]
    if all(isinstance(key, int) for key in parts):
        return tuple(parts[place] for place in sorted(parts))
    return dict(parts)


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """The same form with ``function`` applied to every part; None stays None.

    >>> mapped((1, 2), lambda part: -part)
    (-1, -2)
    """
    return joined({key: function(part) for key, part in items(value)})


def named(value: Any, name: str) -> dict[str, Any]:
    """Every part under the name that an error calls it by.

    >>> list(named({"a": 1}, "x")), list(named((1, 2), "y")), list(named(1, "x"))
    (["x['a']"], ['y[0]', 'y[1]'], ['x'])
    """
    return {label(name, key): part for key, part in items(value)}


def label(name: str, key: Key) -> str:
    """``x``, ``x['a']`` or ``x[0]``."""
    return name if key is None else f"{name}[{key!r}]"


def first(value: Any) -> Any:
    """The first part."""
    return items(value)[0][1]


def form(value: Any) -> str:
    """The form in words, for errors.

    >>> form({"a": 1}), form((1, 2)), form(1), form(None)
    ("a dictionary of 'a'", 'a tuple of 2', 'one array', 'nothing')
    """
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a dictionary of " + ", ".join(map(repr, value))
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else "one array"
