"""Messages arrive whole and in order, whatever the pieces in which the bytes come."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.errors import RunError
from lepton_kit.runtime.wire import MAX_MESSAGE_BYTES, Connection, pair
from lepton_kit.training.messages import EpochDone, Exit, Failed, LogTo, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def both() -> tuple[Connection, Connection]:
    mine, theirs = pair()
    return mine, Connection(theirs)


@settings(max_examples=50)
@given(st.lists(values, min_size=1, max_size=5))
def test_what_is_sent_is_received(contents: list[object]):
    mine, theirs = both()
    told = [EpochDone(epoch=0, step=1, metrics={"m": one}, validation=None, seconds=1.0) for one in contents]
    for message in told:
        assert mine.send(message)
    received: list[object] = []
    while len(received) < len(told):
        received += theirs.receive()
    assert received == told
    mine.close()
    theirs.close()


def test_a_message_in_single_bytes_comes_whole():
    mine, theirs = socket.socketpair()
    reader = Connection(theirs)
    body = encode(Exit())
    for byte in struct.pack("!IB", len(body), 0) + body[:-1]:
        mine.sendall(bytes([byte]))
        assert reader.receive() == []
    mine.sendall(body[-1:])
    assert reader.receive() == [Exit()]
    mine.close()
    reader.close()


def test_a_file_descriptor_rides_along():
    mine, theirs = both()
    descriptor = os.memfd_create("test")
    mine.send(LogTo(descriptor=descriptor))
    (message,) = theirs.receive()
    assert isinstance(message, LogTo)
    assert message.descriptor is not None
    assert os.fstat(message.descriptor).st_ino == os.fstat(descriptor).st_ino
    assert not os.get_inheritable(message.descriptor)
    os.close(message.descriptor)
    os.close(descriptor)
    mine.close()
    theirs.close()


def test_a_descriptor_that_nobody_expects_is_closed_and_its_message_named():
    mine, theirs = socket.socketpair()
    reader = Connection(theirs)
    passed, kept = os.pipe()
    body = encode(Exit())
    socket.send_fds(mine, [struct.pack("!IB", len(body), 1) + body], [passed])
    os.close(passed)
    with pytest.raises(RunError, match="message Exit: descriptor"):
        reader.receive()
    with pytest.raises(BrokenPipeError):
        os.write(kept, b"x")
    os.close(kept)
    mine.close()
    reader.close()


def test_nothing_there_is_no_message_and_no_end():
    mine, theirs = both()
    assert theirs.receive(wait=False) == []
    assert not theirs.closed
    mine.close()
    assert theirs.receive(wait=False) == []
    assert theirs.closed
    theirs.close()


def test_what_was_sent_before_the_other_end_went_is_still_received():
    mine, theirs = both()
    mine.send(Failed(what="error", cause="last words"))
    mine.close()
    assert not theirs.send(Exit())
    assert not theirs.closed
    assert theirs.receive() == [Failed(what="error", cause="last words")]
    theirs.receive()
    assert theirs.closed
    theirs.close()


def test_a_length_beyond_reason_ends_the_connection():
    mine, theirs = socket.socketpair()
    reader = Connection(theirs)
    mine.sendall(struct.pack("!IB", MAX_MESSAGE_BYTES + 1, 0))
    assert reader.receive() == []
    assert reader.closed
    mine.close()
    reader.close()


def test_closing_closes_descriptors_that_nobody_took():
    mine, theirs = socket.socketpair()
    reader = Connection(theirs)
    passed, kept = os.pipe()
    socket.send_fds(mine, [b"\0"], [passed])  # the message is not whole
    os.close(passed)
    reader.receive()
    reader.close()
    with open(kept, "wb", buffering=0) as file:
        try:
            file.write(b"x")
        except BrokenPipeError:
            pass
        else:
            raise AssertionError("somebody still holds the reading end")
    mine.close()
