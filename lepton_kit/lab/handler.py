"""The address at which the sidebar asks a Jupyter server for runs: reading only, for users whom the server knows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from lepton_kit.errors import ConfigError
from lepton_kit.lab.listing import Listing

ADDRESS = ("lepton", "api", "runs")


class RunsHandler(APIHandler):
    """``GET …/lepton/api/runs?beside=FOLDER`` answers with what `Listing.read` finds."""

    def initialize(self, listing: Listing) -> None:
        """Keep what is shared by all requests."""
        self.listing = listing

    @web.authenticated
    async def get(self) -> None:
        """Answer from a thread: a folder of thousands of runs must not hold up the server."""
        beside = self.get_query_argument("beside", "")
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, self.listing.read, beside)
        except ConfigError as failure:
            raise web.HTTPError(400, str(failure)) from None
        self.finish(json.dumps({"folders": found}))


def handlers(base_url: str, root: Path) -> list[Any]:
    """What a server adds to its addresses."""
    return [(url_path_join(base_url, *ADDRESS), RunsHandler, {"listing": Listing(root)})]
