"""Messages arrive whole and in order, whatever the pieces in which the bytes come."""

from __future__ import annotations

import os
import socket
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.runtime.wire import MAX_MESSAGE_BYTES, Connection, pair

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def both() -> tuple[Connection, Connection]:
    mine, theirs = pair()
    return mine, Connection(theirs)


@settings(deadline=None, max_examples=50)
@given(st.lists(values, min_size=1, max_size=5))
def test_what_is_sent_is_received(contents: list[object]):
    mine, theirs = both()
    for content in contents:
        assert mine.send("note", content=content)
    received: list[object] = []
    while len(received) < len(contents):
        received += [message["content"] for message in theirs.receive()]
    assert received == contents
    mine.close()
    theirs.close()


def test_a_message_in_single_bytes_comes_whole():
    mine, theirs = socket.socketpair()
    reader = Connection(theirs)
    body = b'{"kind":"note","descriptors":0}'
    for byte in struct.pack("!I", len(body)) + body[:-1]:
        mine.sendall(bytes([byte]))
        assert reader.receive() == []
    mine.sendall(body[-1:])
    assert reader.receive() == [{"kind": "note"}]
    mine.close()
    reader.close()


def test_a_file_descriptor_rides_along():
    mine, theirs = both()
    descriptor = os.memfd_create("test")
    mine.send("take", descriptor=descriptor)
    (message,) = theirs.receive()
    assert os.fstat(message["descriptor"]).st_ino == os.fstat(descriptor).st_ino
    assert not os.get_inheritable(message["descriptor"])
    os.close(message["descriptor"])
    os.close(descriptor)
    mine.close()
    theirs.close()


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
    mine.send("last words")
    mine.close()
    assert not theirs.send("are you there")
    assert not theirs.closed
    assert theirs.receive() == [{"kind": "last words"}]
    theirs.receive()
    assert theirs.closed
    theirs.close()


def test_a_length_beyond_reason_ends_the_connection():
    mine, theirs = socket.socketpair()
    reader = Connection(theirs)
    mine.sendall(struct.pack("!I", MAX_MESSAGE_BYTES + 1))
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
