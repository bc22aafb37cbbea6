"""Memory that is got before it is needed: it is there then, and what lay in it has not changed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from lepton_kit.training import messages, room

FAULTS = """
import resource
from lepton_kit.runtime import zygote

zygote.load()  # as what a worker is forked from does first
import tensorflow as tf
from lepton_kit.training import room

def faults_of(elements, made):
    weights = [tf.Variable(tf.ones([elements])) for _ in range(2)]

    @tf.function
    def step():
        gradients = [tf.sin(one) for one in weights]
        return tf.add_n([tf.reduce_sum(one * 2.0) for one in gradients])

    step.get_concrete_function()
    if made:
        room.for_steps(weights)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

made = faults_of(2_000_000, True)
print(made, faults_of(8_000_000, False))  # more than the first has left
"""


@pytest.fixture
def segment() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


def held(segment: int) -> int:
    return os.fstat(segment).st_blocks * 512


def test_a_part_of_a_segment_comes_into_memory_as_it_is(segment: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "PIECE_BYTES", 1 << 16)  # more than one piece
    os.ftruncate(segment, 1 << 20)
    os.pwrite(segment, b"state", 300_000)
    room.in_segment(segment, 1 << 18, 100_000)
    assert 100_000 <= held(segment) < 120_000
    assert os.pread(segment, 5, 300_000) == b"state"


def test_a_segment_that_is_too_short_is_no_failure(segment: int):
    os.ftruncate(segment, 4096)
    room.in_segment(segment, 0, 1 << 20)
    assert os.fstat(segment).st_size == 4096


def test_the_first_step_finds_its_memory():
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=environment
    )
    made, without = (int(one) for one in ran.stdout.split())
    assert without > 10_000, (
        "memory that was not used before comes page by page, or this test can tell nothing"
    )
    assert made < without / 20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no nice value of its own")
def test_room_is_made_at_a_lower_priority_than_those_who_train_have(
    segment: int, monkeypatch: pytest.MonkeyPatch
):
    nice: list[int] = []
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    monkeypatch.setattr(
        room, "for_steps", lambda _: nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    )
    os.ftruncate(segment, 1 << 20)
    room.make([], messages.MakeRoom(descriptor=segment, state_place=4096, state_bytes=100_000))
    assert nice == [min(19, usual + room.NICER)]
    assert held(segment) >= 100_000  # it is there when the order is obeyed
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == usual
