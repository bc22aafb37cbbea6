from lepton_kit.devices import parse_gpu_loads
from lepton_kit.runtime.resources import EVERY_SECONDS, Resources


def test_what_was_taken_since_the_last_measurement():
    resources = Resources()
    assert resources.measure(100.0, 7.0, [10, 20], gpu=False) is None
    assert resources.measure(100.0 + EVERY_SECONDS / 2, 8.0, [10, 20], gpu=False) is None
    told = resources.measure(100.0 + EVERY_SECONDS, 7.0 + 1.5 * EVERY_SECONDS, [10, 25], gpu=False)
    assert told == {"cores": 1.5, "memory_bytes": 35}
    told = resources.measure(100.0 + 3 * EVERY_SECONDS, 7.0 + 2.5 * EVERY_SECONDS, [5], gpu=False)
    assert told == {"cores": 0.5, "memory_bytes": 5}


def test_a_rest_counts_as_nothing():
    resources = Resources()
    resources.measure(0.0, 0.0, [], gpu=False)
    resources.rest()
    assert resources.measure(1000.0, 50.0, [1], gpu=False) is None
    assert resources.measure(1000.0 + EVERY_SECONDS, 50.0 + EVERY_SECONDS, [1], gpu=False)["cores"] == 1.0


def test_gpus_are_asked_beside_and_told_the_next_time():
    resources = Resources(loads=lambda: [(0.5, 100), (1.0, 200)])
    resources.measure(0.0, 0.0, [], gpu=True)
    assert "gpu" not in resources.measure(EVERY_SECONDS, 0.0, [], gpu=True)
    resources._asking.join(10)
    told = resources.measure(2 * EVERY_SECONDS, 0.0, [], gpu=True)
    assert (told["gpu"], told["gpu_memory_bytes"]) == (0.75, 300)
    assert "gpu" not in resources.measure(3 * EVERY_SECONDS, 0.0, [], gpu=False)


def test_loads_of_gpus_are_read_from_what_the_tool_says():
    assert parse_gpu_loads("37, 1024\n0, 1\n") == [(0.37, 1024 * 2**20), (0.0, 2**20)]
    assert parse_gpu_loads("[N/A], 5\nrubbish\n") == []
