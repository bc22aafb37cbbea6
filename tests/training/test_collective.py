"""Choosing and sizing the collective, and sums of more than fits into a slot."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from lepton_kit.errors import CollectiveError, DeviceError
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.runtime.rendezvous import Rendezvous
from lepton_kit.training import choice, collective, native
from tests.training.ring_rank import Case


def test_the_driver_sizes_the_segment_as_the_library_does():
    if not native.available():
        pytest.skip("the native library is not built; `make setup` builds it")
    _, functions = native.load()
    for world_size in (1, 2, 7):
        for slot_bytes in (1, 4096, 900_001, native.PIECE_BYTES + 1):
            assert collective.segment_bytes(world_size, slot_bytes) == functions.lepton_ring_bytes(
                world_size, slot_bytes
            )


@pytest.mark.parametrize(
    ("asked", "devices", "built", "nccl", "expected", "staged"),
    [
        ("auto", "cpu", True, True, "shared_memory", False),
        ("auto", "cpu", False, False, "horovod", False),
        ("auto", "gpu", True, True, "horovod", False),
        ("auto", "gpu", True, False, "shared_memory", True),
        ("auto", "gpu", False, False, "horovod", True),
        ("auto", "cpu gpu", True, True, "shared_memory", True),
        ("auto", "cpu gpu", False, True, "horovod", True),
        ("horovod", "cpu", True, False, "horovod", False),
        ("horovod", "gpu", True, True, "horovod", False),
        ("horovod", "cpu gpu", True, True, "horovod", True),
        ("shared_memory", "cpu", True, False, "shared_memory", False),
        ("shared_memory", "gpu", True, True, "shared_memory", True),
        ("shared_memory", "cpu", False, False, "horovod", False),
    ],
)
def test_shared_memory_is_used_where_it_can_work(monkeypatch, asked, devices, built, nccl, expected, staged):
    """Where a rank has a GPU sums take place in the host's memory, but for ranks that all have one, over NCCL."""
    monkeypatch.setattr(native, "available", lambda: built)
    kind = choice.choose(asked, set(devices.split()), "all", nccl)
    assert (kind, choice.is_staged(kind, set(devices.split()), nccl)) == (expected, staged)


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
    """Horovod would wait for the lost one, until the driver ends this process, with the state that it holds."""
    ring = collective.HorovodCollective()
    (member,) = on_this_machine(1, ("127.0.0.1", 1))
    ring.break_off(member.generation)
    with pytest.raises(CollectiveError, match="generation 1 has lost a member before it formed"):
        ring.join(member)


def test_a_ring_that_does_not_form_leaves_its_members_alive():
    """Horovod as published ends the process, and with it the state that it holds."""
    rendezvous = Rendezvous()
    command = [sys.executable, "-m", "tests.training.horovod_rank"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as rank:

        def told(line: object) -> str:
            rank.stdin.write(f"{line}\n")
            rank.stdin.flush()
            return rank.stdout.readline().strip()

        try:
            assert told(rendezvous.address[1]) == "ready"
            rendezvous.begin(on_this_machine(2, rendezvous.address))
            threading.Timer(1.0, rendezvous.refuse).start()  # the other rank never comes
            assert told("0 2").startswith("generation 1 did not form: ")
            rendezvous.begin(on_this_machine(1, rendezvous.address))
            assert told("0 1") == "sum 1"
        finally:
            rank.kill()
            rendezvous.close()


MOST = native.PIECE_BYTES // 4
LARGE = (3, MOST - 2, 0, MOST + 5, 1)  # what ends at a piece's border, and what lies across several


CASES = (
    Case("sum", (0.5, 0.5), LARGE),
    Case("sum", (0.25, 0.0, 0.75), (1000, 3, 0, 77)),
    Case("hosts", (0.5, 0.25, 0.0), LARGE),
    Case("hosts", (0.25, 0.0, 0.5, 0.25), (1000, 3, 0, 77)),
    Case("hosts", (1.0,), (7, 3)),
    Case("host", (0.0, 0.75, 0.25), (5, 1000)),
    Case("lost", (0.5, 0.25), (4,)),
)
RANKS = 4


@pytest.fixture(scope="module")
def told() -> dict[Case, tuple[list[str], int]]:
    """For each case what the processes that are its ranks printed, and the bytes that their shared memory took."""
    if not native.available():
        pytest.skip("the native library is not built; `make setup` builds it")
    segments = {case: os.memfd_create("test-ring") for case in CASES}
    for case, segment in segments.items():
        os.ftruncate(segment, collective.segment_bytes(case.ranks, 4 * sum(case.sizes)))
    cases = json.dumps([(segments[case], case.way, case.scales, case.sizes) for case in CASES])
    command = [sys.executable, "-m", "tests.training.ring_rank"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), cases], pass_fds=segments.values(), stdout=subprocess.PIPE, text=True
        )
        for rank in range(RANKS)
    ]
    printed = [rank.communicate(timeout=300)[0].splitlines() for rank in ranks]
    used = {case: os.fstat(segment).st_blocks * 512 for case, segment in segments.items()}
    for segment in segments.values():
        os.close(segment)
    return {
        case: ([lines[k] for lines in printed[: len(case.scales)]], used[case])
        for k, case in enumerate(CASES)
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.way}-{len(case.scales)}-{len(case.sizes)}")
def test_ranks_sum_piece_by_piece_to_the_same_bits_and_those_without_samples_count_for_nothing(
    told: dict[Case, tuple[list[str], int]], case: Case
):
    """A rank without samples (scale 0) brings NaN. Where a rank is lost all others are woken, and fail.

    Then the leader waits for the lost rank's part, and the other for what the leader publishes; neither comes.
    """
    printed, used = told[case]
    assert printed == [case.expected] * len(case.scales)
    assert used <= native.HEADER_BYTES + 2 * case.ranks * native.PIECE_BYTES


@pytest.mark.parametrize("wire", ["float32", "float16"])
@pytest.mark.parametrize(
    ("scale", "means", "totals"), [(0.5, [1.5, 2.0], [70001.0]), (0.0, [0.0, 0.0], [0.0])]
)
def test_over_horovod_means_are_weighted_totals_are_not_and_no_samples_count_for_nothing(
    monkeypatch, wire, scale, means, totals
):
    """Totals, such as numbers of samples, go as float32 whatever the wire is; here a ring of one rank."""
    import tensorflow as tf
    from horovod.tensorflow import mpi_ops

    monkeypatch.setattr(mpi_ops, "_grouped_allreduce", lambda values, **_: [value + 0 for value in values])
    given = [tf.constant(3.0), tf.constant(4.0)] if scale else [tf.constant(np.nan), tf.constant(np.inf)]
    total = tf.constant(70001.0 if scale else np.nan)
    found = collective.HorovodCollective(wire).sum(given, [total], tf.constant(scale, tf.float32))
    assert [float(value) for value in found] == [*means, *totals]
    assert {value.dtype for value in found} == {tf.float32}
    assert collective.HorovodCollective(wire).sum([], [], tf.constant(scale)) == []
