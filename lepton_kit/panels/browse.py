"""A folder to walk through in the page, with the mouse or the arrow keys."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from lepton_kit.panels.parts import button, column, note, on_change, row, set_html
from lepton_kit.panels.paths import names_in, shown

UP = "../"
MOST = 2000


class Browse:
    """The names of a folder. A chosen file is told at once to ``on_chosen(path)``; a folder by its button."""

    def __init__(self, on_chosen: Callable[[str], None]):
        self.folder = Path.cwd()
        self._on_chosen = on_chosen
        self._filling = False
        self.place = note("")
        self.names = widgets.Select(
            options=[],
            rows=8,
            layout=widgets.Layout(width="98%", max_width="460px"),
            tooltip="files and folders",
        )
        self.names.add_class("lk-browse")
        self.open = button("Open folder", "show what is in the chosen folder")
        self.use = button("Use folder", "take the chosen folder, or this one if none is chosen")
        self.view = column(self.place, self.names, row(self.open, self.use), gap="4px")
        self.view.layout.display = "none"
        self.open.on_click(lambda _: self._enter())
        self.use.on_click(lambda _: on_chosen(shown(self.chosen or self.folder)))
        on_change(self.names, self._picked)

    @property
    def chosen(self) -> Path | None:
        """What the list points at; None while it points at nothing."""
        name = self.names.value
        return None if name is None else self.folder.parent if name == UP else self.folder / name

    def toggle(self, visible: bool) -> None:
        """Show or hide; what is shown is what the folder holds now."""
        self.view.layout.display = "" if visible else "none"
        if visible:
            self.show(self.folder)

    def show(self, folder: Path) -> None:
        """Show the names of a folder."""
        self.folder = folder
        self._filling = True
        try:
            found = names_in(folder)
            self.names.options = [UP, *found[:MOST]]
            self.names.value = None
        finally:
            self._filling = False
        more = f", the first {MOST:,} of {len(found):,}" if len(found) > MOST else ""
        set_html(self.place, f"in <code>{html.escape(shown(folder))}</code>{more}")
        self.open.disabled = True

    def _enter(self) -> None:
        if self.chosen is not None and self.chosen.is_dir():
            self.show(self.chosen.resolve())

    def _picked(self, name: str | None) -> None:
        if self._filling:
            return
        is_folder = name is not None and name.endswith("/")
        self.open.disabled = not is_folder
        if name is not None and not is_folder:
            self._on_chosen(shown(self.folder / name))
