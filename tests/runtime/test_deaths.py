"""Why a process ended, in words."""

from __future__ import annotations

import pytest

from lepton_kit.runtime import deaths
from lepton_kit.runtime.deaths import count_kills, describe, memory_kills


@pytest.mark.parametrize(
    ("code", "said", "short", "words"),
    [
        (-9, None, False, "killed by signal 9 (SIGKILL)"),
        (-9, None, True, "out of memory: killed by the kernel (signal 9)"),
        (-6, None, True, "killed by signal 6 (SIGABRT)"),
        (-63, None, False, "killed by signal 63"),
        (3, None, True, "exited with code 3"),
        (0, None, False, "exited with code 0"),
        (None, None, False, "ended without an exit code"),
        (-9, "hung: nothing heard for 15 s; killed", True, "hung: nothing heard for 15 s; killed"),
    ],
)
def test_the_end_of_a_process_in_words(code: int | None, said: str | None, short: bool, words: str):
    assert describe(code, said, short) == words


def test_the_kernels_counters_of_both_kinds_are_read():
    assert count_kills("low 0\noom 5\noom_kill 4\noom_group_kill 1\n") == 4
    assert count_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n") == 7


def test_the_groups_of_this_process_are_asked(monkeypatch: pytest.MonkeyPatch):
    before = memory_kills()
    monkeypatch.setattr(
        deaths,
        "cgroup_texts",
        lambda mount, lines, names: ["oom_kill 3"] if names == ("memory.events",) else [],
    )
    with_group = memory_kills()
    monkeypatch.setattr(deaths, "cgroup_texts", lambda *_: [])
    assert with_group == memory_kills() + 3
    assert before >= memory_kills()
