"""An invisible part of every panel by which its page says why nothing acts: the kernel has ended, or is busy elsewhere."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

TEXT = (
    "The kernel of this panel has ended, so nothing in it acts any more. Runs go on without it: run the cell again to "
    "see and steer them."
)

BUSY = (
    "The kernel is busy, so what was pressed here acts once it is free. To act at once: interrupt the cell, or use a terminal "
    "(lepton stop, pause and scale)."
)


@functools.cache
def _kind() -> type:
    import anywidget
    import traitlets

    here = Path(__file__).parent

    class Farewell(anywidget.AnyWidget):
        _esm = (here / "farewell.js").read_text(encoding="utf-8")
        _css = (here / "farewell.css").read_text(encoding="utf-8")
        text = traitlets.Unicode(TEXT).tag(sync=True)
        busy = traitlets.Unicode(BUSY).tag(sync=True)
        session = traitlets.Unicode().tag(sync=True)

    return Farewell


def _session() -> str:
    """What this kernel signs its messages with, so that a page can tell them from those of the next kernel."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)  # none in a plain IPython
    return str(getattr(getattr(kernel, "session", None), "session", ""))


def farewell() -> Any:
    """The widget, to be put among the children of a panel's frame."""
    made = _kind()(session=_session())
    made.layout.display = "none"
    return made
