"""Who takes which core, from texts of /proc."""

from __future__ import annotations

from pathlib import Path

from lepton_kit.machine import busy


def proc(
    root: Path, cores: dict[int, tuple[int, int]], threads: dict[tuple[int, int], tuple[str, int, int]]
) -> Path:
    """``cores``: core -> ticks (busy, idle); ``threads``: (process, thread) -> (name, ticks, core)."""
    root.mkdir()
    lines = ["cpu  1 2 3 4 5 6 7 8 9 10"]
    lines += [f"cpu{core} {used} 0 0 {idle} 0 0 0 0 0 0" for core, (used, idle) in cores.items()]
    (root / "stat").write_text("\n".join([*lines, "intr 5"]) + "\n")
    (root / "meminfo").write_text("no process\n")
    for (pid, thread), (name, ticks, core) in threads.items():
        folder = root / str(pid) / "task" / str(thread)
        folder.mkdir(parents=True)
        (root / str(pid) / "comm").write_text(f"{name}\n")
        fields = ["R", *["0"] * 10, str(ticks - 1), "1", *["0"] * 23, str(core), "0", "0"]
        (folder / "stat").write_text(f"{thread} ({name}) {' '.join(fields)}\n")
    return root


def test_threads_count_where_they_were_seen_last(tmp_path: Path):
    before = busy.look(
        proc(tmp_path / "a", {0: (10, 90), 1: (0, 100)}, {(7, 7): ("a ) b", 5, 0), (9, 11): ("idle", 1, 1)})
    )
    after = busy.look(
        proc(
            tmp_path / "b",
            {0: (90, 110), 1: (1, 199)},
            {(7, 7): ("a ) b", 85, 0), (9, 11): ("idle", 2, 1), (8, 8): ("new", 50, 0)},
        )
    )
    shares, takers = busy.between(before, after)
    assert shares == {0: 0.8, 1: 0.01}
    assert takers == {0: [busy.Taker(7, "a ) b", 0.8)]}


def test_no_core_is_taken_more_than_once(tmp_path: Path):
    """A thread that moves brings its ticks from another core."""
    before = busy.Look({0: (0, 0)}, {1: (0, 0, 1, "a"), 2: (0, 1, 2, "b")})
    _, takers = busy.between(before, busy.Look({0: (100, 100)}, {1: (100, 0, 1, "a"), 2: (50, 0, 2, "b")}))
    assert [(one.name, one.share) for one in takers[0]] == [("a", 0.67), ("b", 0.33)]


def test_waiting_is_not_work_and_what_others_took_of_the_machine_is(tmp_path: Path):
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu3 1 2 4 8 16 32 64 128 256 512\ncpufreq 1 1 1 1 1 1 1 1\ncpu4 1 2 3 4 5 6 7\n"
    )
    # user, nice, system, irq, softirq and steal; idle and iowait are in the whole alone, guests are in user already
    assert busy.look(tmp_path).cores == {3: (1 + 2 + 4 + 32 + 64 + 128, 255)}


def test_the_greediest_come_first_and_those_who_take_hardly_anything_are_left_out():
    def look(*ticks: int) -> busy.Look:
        threads = {
            k: (one, 0, pid, name) for k, (one, (pid, name)) in enumerate(zip(ticks, who, strict=True))
        }
        return busy.Look({0: (ticks[0], 1000)} if sum(ticks) else {0: (0, 0)}, threads)

    who = [(5, "e"), (3, "c"), (4, "d"), (2, "b"), (1, "a"), (5, "e")]
    _, takers = busy.between(look(*[0] * 6), look(100, 50, 200, 49, 200, 150))
    assert takers == {
        0: [
            busy.Taker(5, "e", 0.25),
            busy.Taker(1, "a", 0.2),
            busy.Taker(4, "d", 0.2),
            busy.Taker(3, "c", 0.05),
        ]
    }


def test_counters_that_were_set_back_or_stand_still_tell_no_share_below_nothing():
    before = busy.Look({0: (50, 100), 1: (5, 100)}, {1: (9, 0, 1, "a")})
    after = busy.Look({0: (40, 200), 1: (5, 100), 2: (3, 4)}, {1: (4, 0, 1, "a")})
    assert busy.between(before, after) == ({0: 0.0, 2: 0.75}, {})
    assert busy.between(before, busy.Look({0: (250, 200)}, {}))[0] == {0: 1.0}


def test_a_system_without_proc_tells_nothing(tmp_path: Path):
    assert busy.now(0.0, tmp_path / "nothing") == ({}, {})
