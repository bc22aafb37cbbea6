"""What readers rely on in an event: the fields of its kind and their types, so that a foreign line harms nothing."""

from __future__ import annotations

from typing import Any

WRONG = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What applying an event raises whose fields are not those of its kind."""

NORMS = 6
"""Numbers in a row of a report's norms of gradients."""
NOTHING: frozenset[type] = frozenset({type(None)})
WHOLE: frozenset[type] = frozenset({int})
NUMBER: frozenset[type] = frozenset({int, float})
TEXT: frozenset[type] = frozenset({str})
LIST: frozenset[type] = frozenset({list, tuple})
MAPPING: frozenset[type] = frozenset({dict})

FIELDS: dict[str, dict[str, frozenset[type]]] = {
    "status": {"status": TEXT, "cause": TEXT | NOTHING},
    "queue": {"before": WHOLE, "wait_seconds": NUMBER | NOTHING, "why": TEXT},
    "plan": {"total_steps": WHOLE | NOTHING, "steps_per_epoch": WHOLE | NOTHING},
    "workers": {"wanted": WHOLE, "workers": LIST},
    "hosts": {"hosts": LIST},
    "generation": {"step": WHOLE, "ranks": LIST},
    "steps": {
        **{"first": WHOLE, "last": WHOLE, "seconds": NUMBER, "world_size": WHOLE},
        **{"loss": LIST, "samples": LIST, "busy": LIST, "metrics": MAPPING},
    },
    "weights": {"step": WHOLE, "weights": LIST, "gain": NUMBER},
    "gained": {"promised": NUMBER, "measured": NUMBER},
    "epoch": {"epoch": WHOLE, "step": WHOLE, "metrics": MAPPING, "validation": MAPPING | NOTHING},
    "predictions": {
        **{
            "epoch": WHOLE,
            "step": WHOLE,
            "form": TEXT,
            "why": TEXT | NOTHING,
            "counted": WHOLE,
            "right": WHOLE,
        },
        **{"names": LIST, "others": WHOLE, "counts": LIST, "points": LIST, "examples": LIST},
    },
    "compression": {"step": WHOLE, "sparsity": MAPPING, "total": NUMBER},
    "checkpoint": {"step": WHOLE},
    "resources": {
        **{"step": WHOLE, "cores": NUMBER, "memory_bytes": NUMBER},
        **{"gpu": NUMBER | NOTHING, "gpu_memory_bytes": NUMBER | NOTHING},
    },
    "energy": {"joules": NUMBER | NOTHING, "why": TEXT | NOTHING},
    "request": {"verb": TEXT},
    "incident": {"what": TEXT},
    "warning": {"text": TEXT},
    "output": {"text": TEXT},
    "progress": {"text": TEXT},
}
ITEMS: dict[tuple[str, str], frozenset[type]] = {
    ("workers", "workers"): MAPPING,
    ("hosts", "hosts"): MAPPING,
    ("generation", "ranks"): WHOLE,
    ("weights", "weights"): NUMBER,
    ("steps", "loss"): NUMBER | NOTHING,
    ("steps", "samples"): NUMBER,
    ("steps", "busy"): NUMBER,
    ("steps", "metrics"): NUMBER | NOTHING,
    ("compression", "sparsity"): NUMBER,
    ("predictions", "names"): TEXT,
    ("predictions", "examples"): MAPPING,
}
"""What a list, or a mapping's values, consist of."""


def check(event: dict[str, Any]) -> None:
    """Raise one of `WRONG` unless an event has what readers need of its kind; a kind that is unknown needs nothing.

    >>> check({"time": 1.0, "kind": "checkpoint", "step": 7})
    """
    kind = event["kind"]
    for name, types in {"time": NUMBER, **FIELDS.get(kind, {})}.items():
        value: Any = event.get(name)
        if type(value) not in types and not (isinstance(value, str) and str in types):  # an enumeration's
            raise TypeError(f"{kind}.{name}: {value!r:.80}")
        items = ITEMS.get((kind, name))
        if items is not None:
            found = value.values() if isinstance(value, dict) else value
            if not set(map(type, found)) <= items:
                raise TypeError(f"{kind}.{name}: {value!r:.80}")
    if kind == "steps":
        _check_times(event)
        if type(event.get("accumulated", 1)) is not int:
            raise TypeError(f"steps.accumulated: {event['accumulated']!r:.80}")
        for row in event.get("norms", ()):
            if len(row) != NORMS or not set(map(type, row)) <= NUMBER:
                raise TypeError(f"steps.norms: {row!r:.80}")
        count = event["last"] - event["first"]
        if count < 1 or len(event["loss"]) != count or len(event["samples"]) != len(event["busy"]):
            raise ValueError("steps, losses or ranks do not agree in number")
    if kind == "energy":
        _check_energy(event)
    if kind == "resources":
        for row in event.get("ranks", {}).values():
            if not set(map(type, row.values())) <= NUMBER | NOTHING:
                raise TypeError(f"resources.ranks: {row!r:.80}")
    for row in event["hosts"] if kind == "hosts" else ():
        if not isinstance(row.get("host"), str) or not isinstance(row.get("state"), str):
            raise TypeError(f"hosts: {row!r:.80}")
    if kind == "workers":
        for row in event["workers"]:
            if type(row.get("worker")) is not int or not isinstance(row.get("state"), str):
                raise TypeError(f"workers: {row!r:.80}")


def _check_times(event: dict[str, Any]) -> None:
    """Where the time of each rank went, which older versions did not tell."""
    for name in ("data", "waited") if "data" in event else ():
        found = event[name]
        if len(found) != len(event["busy"]) or not set(map(type, found)) <= NUMBER:
            raise TypeError(f"steps.{name}: {found!r:.80}")
    if type(event.get("communicated", 0)) not in NUMBER:
        raise TypeError(f"steps.communicated: {event['communicated']!r:.80}")


def _check_energy(event: dict[str, Any]) -> None:
    """The interval and the tag, which older versions did not tell."""
    types = {
        **dict.fromkeys(("low", "high", "idle", "seconds"), NUMBER),
        "origin": TEXT,
        "host": TEXT,
        "of": LIST,
    }
    for name, allowed in types.items():
        if name in event and type(event[name]) not in allowed:
            raise TypeError(f"energy.{name}: {event[name]!r:.80}")
