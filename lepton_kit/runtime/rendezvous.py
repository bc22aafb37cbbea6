"""The rendezvous server by which Horovod's ranks find each other: on loopback, for this user's processes alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from horovod.runner.common.util.hosts import SlotInfo
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

from lepton_kit.runtime.owners import is_mine
from lepton_kit.training.collective import Membership

POLL_SECONDS = 0.05
"""How long the server's thread may take to see that it is to end; the library's 0.5 s would hold up the end of every run."""


class _Handler(RendezvousHandler):
    def do_GET(self) -> None:
        if self.server.refusing:
            self.send_status_code(503)
        else:
            super().do_GET()


class _Server(RendezvousHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of five that wait a sixth tries again a second later
    refusing = False

    def verify_request(self, request: Any, client_address: tuple[str, int]) -> bool:
        return is_mine(client_address, request.getsockname())

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a worker that was killed in mid-request is no news


class Rendezvous:
    """Horovod's key-value server with one generation's keys at a time."""

    def __init__(self, host: str = "127.0.0.1"):
        self._server = _Server((host, 0), _Handler, False)
        self.address = (host, int(self._server.server_address[1]))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True, name="rendezvous"
        )
        self._thread.start()

    def begin(self, members: Iterable[Membership]) -> None:
        """Forget all keys and expect the ranks of a new generation that have a seat."""
        self._server.refusing = False
        self._server.init(
            [
                SlotInfo(
                    one.host,
                    one.seat.rank,
                    one.seat.local_rank,
                    one.seat.cross_rank,
                    one.seat.size,
                    one.seat.local_size,
                    one.seat.cross_size,
                )
                for one in members
                if one.seat is not None
            ]
        )

    def refuse(self) -> None:
        """Answer no more questions of this generation: who waits for a lost rank's address gives up after 1.5 s."""
        self._server.refusing = True

    def close(self) -> None:
        """Stop to serve."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
