"""Why a process ended, in one line."""

from __future__ import annotations

import signal
from pathlib import Path

from lepton_kit.machine.devices import cgroup_texts


def describe(code: int | None, said: str | None, memory_short: bool) -> str:
    """One line on the end of a process.

    ``code`` is its exit code (negative: the signal), ``said`` what it told or was known of it, ``memory_short`` whether
    the kernel's out-of-memory killer has struck meanwhile.

    >>> describe(-9, None, False)
    'killed by signal 9 (SIGKILL)'
    >>> describe(-9, None, True)
    'out of memory: killed by the kernel (signal 9)'
    """
    if said:
        return said
    if code is None:
        return "ended without an exit code"
    if code == -signal.SIGKILL and memory_short:
        return "out of memory: killed by the kernel (signal 9)"
    if code < 0:
        try:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exited with code {code}"


def memory_kills() -> int:
    """How often the kernel's out-of-memory killer has struck on this machine or in this process's control groups.

    From ``oom_kill`` in /proc/vmstat and in the groups' memory.events (version 2) or memory.oom_control (version 1).
    """
    texts = []
    try:
        texts.append(Path("/proc/vmstat").read_text(encoding="ascii"))
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for name in ("memory.events", "memory.oom_control"):
        texts += cgroup_texts(Path("/sys/fs/cgroup"), lines, (name,))
    return sum(count_kills(text) for text in texts)


def count_kills(text: str) -> int:
    """The number after ``oom_kill`` in one such file.

    >>> count_kills("oom 3\\noom_kill 2\\noom_group_kill 0"), count_kills("nothing")
    (2, 0)
    """
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return 0
