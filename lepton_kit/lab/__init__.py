"""JupyterLab's sidebar of runs and its launcher card: the files of the page, and the part of the server that they ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "lepton_kit.lab"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the address of the list of runs to a Jupyter server."""
    from lepton_kit.lab.handler import handlers

    server.web_app.add_handlers(".*$", handlers(server.web_app.settings["base_url"], Path(server.root_dir)))
