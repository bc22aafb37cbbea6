"""What keeps a panel moving: one daemon thread that ticks, and calls that wait until a slider rests."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

SLOWEST_SECONDS = 10.0
CPU_SHARE = 0.03
"""A tick that cost c seconds of processor time is followed by a pause of at least c / CPU_SHARE, so that the
kernel spends no more than this share of one core on a panel however many points or ranks there are."""
TRIES = 3
"""Ticks that must fail one after another before a panel gives up its run."""

log = logging.getLogger(__name__)


def pause_after(cost: float, fastest: float) -> float:
    """Seconds to wait after a tick that took ``cost`` seconds of processor time.

    >>> pause_after(0.002, fastest=0.5), pause_after(0.03, fastest=0.5)
    (0.5, 1.0)
    """
    return min(SLOWEST_SECONDS, max(fastest, cost / CPU_SHARE))


class Pump:
    """Calls ``tick`` from one daemon thread until it answers False, or `stop` is called.

    The thread runs inside the context of the cell that made it: messages sent from a bare thread lose their way
    after a page reload (ipykernel 7.4 with subshells, seen 2026-11). It never prints. A tick that fails is tried
    again, for much of what goes wrong passes, such as a library that a cell is importing or a file server that does
    not answer; when `TRIES` fail in a row the thread ends, and the last failure is kept in ``failure``.
    """

    def __init__(
        self, tick: Callable[[], bool], *, fastest: float = 0.5, context: contextvars.Context | None = None
    ):
        self._tick = tick
        self._fastest = fastest
        self._context = context if context is not None else contextvars.copy_context()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.ticks = 0
        self.failure: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether the thread ticks."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to tick; a pump that already ticks goes on."""
        if self.running:
            return
        self._ended.clear()
        self._thread = threading.Thread(
            target=self._context.copy().run, args=(self._loop,), name="lepton-pump", daemon=True
        )
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; from inside a tick only the wish is noted."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _loop(self) -> None:
        failed = 0
        while not self._ended.is_set():
            before = time.thread_time()
            try:
                alive, failed = self._tick(), 0
            except Exception as failure:
                alive, failed = True, failed + 1
                if failed == TRIES:
                    self.failure = failure
                    log.warning("a panel stopped following its run: %s", failure, exc_info=True)
                    return
            self.ticks += 1
            if not alive:
                return
            self._ended.wait(pause_after(time.thread_time() - before, self._fastest))


class Debounced:
    """Calls ``function`` with the last value once no new one has come for ``seconds``."""

    def __init__(self, function: Callable[[Any], None], seconds: float):
        self._function = function
        self._seconds = seconds
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._value: Any = None

    @property
    def waiting(self) -> bool:
        """Whether a call is due."""
        return self._timer is not None

    def __call__(self, value: Any) -> None:
        """Call with this value once no newer one has come for a while."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._value = value
            self._timer = threading.Timer(self._seconds, self._context.copy().run, args=(self.flush,))
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Call now what would be called later; nothing if nothing waits."""
        with self._lock:
            if self._timer is None:
                return
            self._timer.cancel()
            self._timer = None
            value = self._value
        self._function(value)

    def cancel(self) -> None:
        """Drop the call that is due."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
