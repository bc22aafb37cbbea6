"""A description of data as the panel shows it: the class counts as a bar, then what `describe` says."""

from __future__ import annotations

import html
from typing import Any

from lepton_kit.data.describe.description import STYLE
from lepton_kit.panels.parts import Markup, bar

NAMED = 12


def class_bar(counts: dict[str, int]) -> Markup:
    """How many samples to train on there are of each class, as one bar; empty for other tasks."""
    if not counts:
        return Markup("")
    pieces = [
        (count, f"{name}: {count} samples", str(name) if len(counts) <= NAMED else "")
        for name, count in counts.items()
    ]
    return bar(f"samples of each class: {list(counts.values())[:50]}", pieces)


def described(description: Any, where: str | None = None) -> str:
    """Bar and description as HTML; of data that are not ready, the label of the field ``where`` it is said why."""
    told = description.to_html(brief=True)
    waits = f"<div class='lk-wrong'><b>Not ready</b>: see {html.escape(where)}</div>" if where else ""
    return f"{STYLE}{class_bar(description.classes)}<div class='lk-described'>{waits}{told}</div>"
