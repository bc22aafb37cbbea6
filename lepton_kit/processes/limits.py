"""Words for what the system says where a user may have no more processes and threads."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

from lepton_kit.machine.devices import cgroup_files

SIGNS = ("can't start new thread", "[Errno 11] Resource temporarily unavailable", "pthread_create() failed")
"""What Python says of a thread, the system of a fork, and TensorFlow of a thread, in the log of the process that ends by it."""
TAIL_BYTES = 1 << 13


def told(failure: BaseException) -> str | None:
    """Why a process or thread could not be started, if the reason is that there may be no more; else None.

    >>> told(RuntimeError("no model")) is None
    True
    """
    refused = isinstance(failure, OSError) and failure.errno == errno.EAGAIN
    if refused or (isinstance(failure, RuntimeError) and SIGNS[0] in str(failure)):
        return words()
    return None


def told_in(*logs: Path) -> str | None:
    """The same, if the end of one of these logs says so."""
    for log in logs:
        try:
            with open(log, "rb") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            continue
        if any(sign in text for sign in SIGNS):
            return words()
    return None


def words() -> str:
    """That there may be no more, and what is allowed."""
    return f"no more processes or threads can be started ({_allowed()}): end others of this user, or raise the limit"


def _allowed() -> str:
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    found = [] if most == resource.RLIM_INFINITY else [f"ulimit -u allows this user {most}"]
    groups = [int(one) for one in cgroup_files("pids.max") if one.strip().isdigit()]
    found += [f"pids.max of the control group is {min(groups)}"] if groups else []
    return "; ".join(found) or "the system has as many as it allows"
