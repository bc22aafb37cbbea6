"""Says in words what has changed, to screen readers alone, once they have finished what they are reading."""

from __future__ import annotations

import anywidget
import traitlets

_ESM = """
export default {
  render({ model, el }) {
    const region = document.createElement("div");
    region.setAttribute("role", "status");
    region.className = "lk-heard";
    const say = () => { region.textContent = model.get("text"); };
    model.on("change:text", say);
    el.append(region);
    say();
    return () => model.off("change:text", say);
  },
};
"""


class Announcer(anywidget.AnyWidget):
    """A polite live region: it is there before its text changes, as screen readers need it, and nobody sees it."""

    _esm = _ESM
    text = traitlets.Unicode("").tag(sync=True)
