"""Choosing and sizing the collective, and sums of more than fits into a slot."""

import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from lepton_kit.errors import CollectiveError, DeviceError
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.runtime.rendezvous import Rendezvous
from lepton_kit.training import collective, native
from tests.training import ring_rank


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


def test_what_is_larger_than_a_slot_is_summed_piece_by_piece():
    if not native.available():
        pytest.skip("the native library is not built; `make setup` builds it")
    most = native.PIECE_BYTES // 4
    sizes = [3, most - 2, 0, most + 5, 1]  # what ends at a piece's border, and what lies across several
    segment = os.memfd_create("test-ring")
    os.ftruncate(segment, collective.segment_bytes(2, 4 * sum(sizes)))
    command = [sys.executable, "-m", "tests.training.ring_rank", str(segment)]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), "2", *map(str, sizes)],
            pass_fds=[segment],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = {rank.communicate(timeout=200)[0].strip() for rank in ranks}
    used = os.fstat(segment).st_blocks * 512
    os.close(segment)
    first, second = (ring_rank.tensors(rank, sizes) for rank in range(2))
    first[0], second[0] = first[0] * np.float32(0.5), second[0] * np.float32(0.5)
    sums = b"".join((a + b).tobytes() for a, b in zip(first, second, strict=True))
    assert told == {hashlib.sha256(sums).hexdigest()}
    assert used <= native.HEADER_BYTES + 4 * native.PIECE_BYTES


@pytest.mark.parametrize("wire", ["float32", "float16"])
@pytest.mark.parametrize(
    ("scale", "means", "totals"), [(0.5, [1.5, 2.0], [70001.0]), (0.0, [0.0, 0.0], [0.0])]
)
def test_over_horovod_means_are_weighted_totals_are_not_and_no_samples_count_for_nothing(
    monkeypatch, wire, scale, means, totals
):
    """Totals, such as numbers of samples, go as float32 whatever the wire is; here a ring of one rank."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    monkeypatch.setattr(hvd, "grouped_allreduce", lambda values, op: [value + 0 for value in values])
    given = [tf.constant(3.0), tf.constant(4.0)] if scale else [tf.constant(np.nan), tf.constant(np.inf)]
    total = tf.constant(70001.0 if scale else np.nan)
    found = collective.HorovodCollective(wire).sum(given, [total], tf.constant(scale, tf.float32))
    assert [float(value) for value in found] == [*means, *totals]
    assert {value.dtype for value in found} == {tf.float32}
    assert collective.HorovodCollective(wire).sum([], [], tf.constant(scale)) == []
