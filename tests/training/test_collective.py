"""Choosing and sizing the collective."""

import pytest

from lepton_kit.errors import CollectiveError, DeviceError
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.training import collective, native


def test_the_driver_sizes_the_segment_as_the_library_does():
    if not native.available():
        pytest.skip("the native library is not built; `make setup` builds it")
    _, functions = native.load()
    for world_size in (1, 2, 7):
        for slot_bytes in (1, 4096, 900_001):
            assert collective.segment_bytes(world_size, slot_bytes) == functions.lepton_ring_bytes(
                world_size, slot_bytes
            )


@pytest.mark.parametrize(
    ("asked", "device", "built", "expected"),
    [
        ("auto", "cpu", True, "shared_memory"),
        ("auto", "cpu", False, "horovod"),
        ("auto", "gpu", True, "horovod"),
        ("horovod", "cpu", True, "horovod"),
        ("shared_memory", "cpu", True, "shared_memory"),
        ("shared_memory", "cpu", False, "horovod"),
    ],
)
def test_shared_memory_is_used_where_it_can_work(monkeypatch, asked, device, built, expected):
    monkeypatch.setattr(native, "available", lambda: built)
    assert collective.choose(asked, device) == expected


def test_a_failed_compilation_is_told_in_the_compilers_words(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match="did not compile"):
        native.build(compiler="false")
    assert not native.available()


def test_only_errors_of_the_collective_count_as_a_lost_peer():
    assert collective.is_collective_failure(CollectiveError("x"))
    assert collective.is_collective_failure(RuntimeError("AbortedError: LeptonRing: a rank has left"))
    assert not collective.is_collective_failure(ValueError("shapes differ"))


def test_a_ring_that_has_lost_a_member_already_is_not_waited_for():
    """Horovod would wait for the lost one, and end this process, with the state that it holds."""
    ring = collective.HorovodCollective()
    (member,) = on_this_machine(1, ("127.0.0.1", 1))
    ring.break_off(member.generation)
    with pytest.raises(CollectiveError, match="generation 1 has lost a member before it formed"):
        ring.join(member)
