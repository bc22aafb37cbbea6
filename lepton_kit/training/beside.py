"""What a process does beside training: in a thread that takes what training leaves of the cores."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable


def begin(act: Callable[[], None], nicer: int) -> threading.Thread:
    """Do this in a thread whose nice value is so much higher; it does not keep the process from ending.

    Its share of a core is smaller by a factor of 1.25 for each (sched(7)).
    """

    def lowered() -> None:
        with contextlib.suppress(OSError, AttributeError):  # Linux: this thread alone
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + nicer)
        act()

    thread = threading.Thread(target=lowered, daemon=True)
    thread.start()
    return thread
