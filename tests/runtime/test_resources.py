import threading

from lepton_kit.runtime.places import Place
from lepton_kit.runtime.resources import EVERY_SECONDS, Resources
from lepton_kit.runtime.roster import Member
from lepton_kit.training.messages import Alive


def members(*memory: int, device: str = "cpu", **alive: float) -> list[Member]:
    return [
        Member(k, Place("here", k, device, 1), rank=k, alive=Alive(memory_bytes=size, cpu_seconds=alive.get("cpu", 0.0),
               delayed_seconds=alive.get("delayed"), faults=int(alive.get("faults", 0)), throttled_seconds=alive.get("throttled"),
               short_seconds=alive.get("short"), heats=alive.get("heats")))
        for k, size in enumerate(memory)
    ]  # fmt: skip


def test_what_was_taken_since_the_last_measurement():
    resources = Resources()
    assert resources.measure(100.0, 7.0, members(10, 20)) is None
    assert resources.measure(100.0 + EVERY_SECONDS / 2, 8.0, members(10, 20)) is None
    told = resources.measure(100.0 + EVERY_SECONDS, 7.0 + 1.5 * EVERY_SECONDS, members(10, 25))
    assert (told["cores"], told["memory_bytes"]) == (1.5, 35)
    told = resources.measure(100.0 + 3 * EVERY_SECONDS, 7.0 + 2.5 * EVERY_SECONDS, members(5))
    assert (told["cores"], told["memory_bytes"]) == (0.5, 5)


def test_what_kept_each_rank_from_computing():
    resources = Resources()
    resources.measure(
        0.0, 0.0, members(1, cpu=1.0, delayed=0.0, faults=10, throttled=2.0, short=1.0, heats=4)
    )
    told = resources.measure(
        EVERY_SECONDS,
        1.0,
        members(1, 1, cpu=2.0, delayed=3.0, faults=60, throttled=3.0, short=3.5, heats=9),
    )
    expected = {"cores": 0.2, "stolen": 0.75, "throttled": 0.2, "faults": 10.0, "short": 0.5, "heats": 1.0}
    assert told["ranks"] == {"0": expected}, "of one that has come meanwhile nothing is known yet"
    told = resources.measure(2 * EVERY_SECONDS, 1.0, members(1, cpu=3.0, faults=60))
    unknown = {"stolen": None, "throttled": None, "short": None, "heats": None}
    assert told["ranks"]["0"] == {"cores": 0.2, "faults": 0.0, **unknown}


def test_a_rest_counts_as_nothing():
    resources = Resources()
    resources.measure(0.0, 0.0, [])
    resources.rest()
    assert resources.measure(1000.0, 50.0, members(1)) is None
    assert resources.measure(1000.0 + EVERY_SECONDS, 50.0 + EVERY_SECONDS, members(1))["cores"] == 1.0


def test_gpus_are_asked_beside_and_told_the_next_time():
    resources = Resources(loads=lambda: [(0.5, 100), (1.0, 200)])
    resources.measure(0.0, 0.0, members(1, device="gpu"))
    assert "gpu" not in resources.measure(EVERY_SECONDS, 0.0, members(1, device="gpu"))
    resources._asking.join(10)
    told = resources.measure(2 * EVERY_SECONDS, 0.0, members(1, device="gpu"))
    assert (told["gpu"], told["gpu_memory_bytes"]) == (0.75, 300)
    assert "gpu" not in resources.measure(3 * EVERY_SECONDS, 0.0, members(1))


def test_figures_of_workers_stay_within_what_can_be():
    resources = Resources()
    waiting = members(9, 9)[1:]
    waiting[0].rank = None
    before = [*members(1, cpu=9.0, delayed=5.0, faults=3, throttled=0.0, short=0.0, heats=7), *waiting]
    resources.measure(0.0, 9.0, before)
    now = [*members(1, cpu=8.0, delayed=4.0, throttled=90.0, short=80.0, heats=3), *waiting]
    told = resources.measure(EVERY_SECONDS, 8.0, now)
    assert told["cores"] == 0.0  # one was replaced by one that has just begun
    nothing = {"cores": 0.0, "stolen": None, "throttled": 1.0, "faults": 0.0, "short": 1.0, "heats": 0.0}
    assert told["ranks"] == {"0": nothing}
    told = resources.measure(EVERY_SECONDS + 10.0, 8.0 + 12.34567, members(1, cpu=8.0 + 1 / 3, delayed=4.5))
    assert told["cores"] == 1.235
    assert (told["ranks"]["0"]["cores"], told["ranks"]["0"]["stolen"]) == (0.033, 0.6)


def test_a_gpu_that_is_slow_to_answer_is_asked_once_at_a_time():
    go, asked = threading.Event(), []

    def loads() -> list[tuple[float, int]]:
        asked.append(1)
        go.wait(60)
        return [(0.25, 7)]

    resources = Resources(loads=loads)
    for turn in range(4):
        resources.measure(turn * EVERY_SECONDS, 0.0, members(1, device="gpu"))
    assert len(asked) == 1
    go.set()
    resources._asking.join(60)
    assert resources.measure(4 * EVERY_SECONDS, 0.0, members(1, device="gpu"))["gpu"] == 0.25
    resources._asking.join(60)
    assert len(asked) == 2
