"""Shows texts of code side by side, each with buttons that copy it and save it as a file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from lepton_kit.errors import ModelError

CSS = """
.lk-codes pre.lk-code{max-height:420px;overflow:auto}
.lk-codes .lk-code-head{display:flex;align-items:center;gap:6px;margin-bottom:3px}
.lk-codes .lk-code-head span{flex:1 1 auto}
.lk-codes .lk-code-head button{font:inherit;font-size:11px;padding:1px 8px;border-radius:4px;cursor:pointer;
 color:var(--jp-ui-font-color1,#333);background:var(--jp-layout-color2,#eee);border:1px solid var(--jp-border-color2,#ccc)}
"""


@functools.cache
def _kind() -> type:
    import anywidget
    import traitlets

    class Code(anywidget.AnyWidget):
        _esm = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
        _css = CSS
        blocks: Any = traitlets.List().tag(sync=True)

    return Code


class CodeBox:
    """The widget; `show` takes triples (title, text, name of a file to save it as), `hide` takes them away."""

    def __init__(self) -> None:
        self.widget: Any = _kind()()
        self.widget.layout.display, self.widget.layout.margin = "none", "6px 0 0 0"

    @property
    def shown(self) -> bool:
        """Whether the code is to be seen."""
        return bool(self.widget.layout.display != "none")

    @property
    def texts(self) -> dict[str, str]:
        """The texts that are shown, by their titles."""
        return {block["title"]: block["text"] for block in self.widget.blocks} if self.shown else {}

    def show(self, blocks: list[tuple[str, str, str]]) -> None:
        """Show these texts."""
        made = [{"title": title, "text": text.strip() + "\n", "file": file} for title, text, file in blocks]
        if self.widget.blocks != made:
            self.widget.blocks = made
        self.widget.layout.display = ""

    def hide(self) -> None:
        """Show nothing."""
        self.widget.layout.display = "none"


def code_of(model: Any, data: Any, settings: dict[str, Any]) -> tuple[str, str]:
    """The YAML file and the Python that make the run which `lepton_kit.launch` would start with these arguments."""
    from lepton_kit.client.launch import plan
    from lepton_kit.client.script import as_python
    from lepton_kit.models import LeptonModel

    if not isinstance(model, LeptonModel):
        raise ModelError("a model that lives in this notebook's memory has a file once its run has started")
    planned = plan(model, data, **settings)
    config = planned.settings.of(planned.trained.spec(), planned.dataset.spec())
    return config.to_yaml(), as_python(config)
