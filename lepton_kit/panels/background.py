"""Work that takes seconds, done beside the notebook: the panel stays usable, the newest request wins."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any


class Background:
    """Runs ``work(request)`` in a daemon thread, then ``show(result, failure)`` unless a newer request came.

    >>> job = Background(lambda number: number + 1, lambda result, failure: None)
    >>> job.start(1)
    >>> job.result()
    2
    """

    def __init__(self, work: Callable[[Any], Any], show: Callable[[Any, BaseException | None], None]):
        self._work = work
        self._show = show
        self._context = contextvars.copy_context()
        self._lock = threading.RLock()
        self._newest = 0
        self._done = threading.Event()
        self._done.set()
        self._thread: threading.Thread | None = None
        self._outcome: tuple[Any, BaseException | None] = (None, None)

    @property
    def busy(self) -> bool:
        """Whether it works now."""
        return not self._done.is_set()

    def start(self, request: Any = None) -> None:
        """Begin; an older request that still runs is not shown any more."""
        with self._lock:
            self._newest += 1
            self._done.clear()
            self._thread = threading.Thread(
                target=self._context.copy().run, args=(self._go, self._newest, request), daemon=True,
                name="lepton-background",
            )  # fmt: skip
            self._thread.start()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the newest request; returns what it returned or raises what it raised."""
        if not self._done.wait(timeout):
            raise TimeoutError("still at work")
        value, failure = self._outcome
        if failure is not None:
            raise failure
        return value

    def settled(self, timeout: float | None = None) -> None:
        """Wait until the newest request is done and shown, whatever came of it."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def join(self, timeout: float = 5.0) -> None:
        """Wait for the thread and show nothing more."""
        with self._lock:
            self._newest += 1
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _go(self, number: int, request: Any) -> None:
        try:
            outcome: tuple[Any, BaseException | None] = (self._work(request), None)
        except Exception as failure:
            outcome = (None, failure)
        with self._lock:
            if number != self._newest:
                return
            self._outcome = outcome
            self._done.set()
            self._show(*outcome)
