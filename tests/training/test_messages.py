"""Each message comes as it went; what is no message, or has other fields, is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.errors import RunError
from lepton_kit.rundir import fields
from lepton_kit.training import logged, messages
from lepton_kit.training.logged import Logged, Message
from lepton_kit.training.messages import Carrying, decode, encode

ANYTHING = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)


@pytest.mark.parametrize("kind", messages.KINDS.values(), ids=lambda kind: kind.__name__)
def test_a_message_comes_as_it_went(kind: type[Message]):
    free = ("metrics", "validation") if kind is messages.EpochDone else ()
    own: dict[str, Any] = {name: st.dictionaries(st.text(max_size=3), ANYTHING, max_size=3) for name in free}

    @settings(max_examples=20)
    @given(st.builds(kind, **own))
    def comes(message: Message) -> None:
        descriptor = message.descriptor if isinstance(message, Carrying) else None
        assert repr(decode(encode(message), descriptor)) == repr(message)  # a NaN equals itself there

    comes()


def test_every_class_is_known_by_its_name():
    own = (messages.__name__, logged.__name__)  # what goes between hosts has names of its own
    leaves = [one for one in _below(Message) if not one.__subclasses__() and one.__module__ in own]
    assert sorted(one.__name__ for one in leaves) == sorted(messages.KINDS)


def _below(kind: type[Message]) -> list[type[Message]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _below(child))]


@pytest.mark.parametrize("kind", [one for one in messages.KINDS.values() if issubclass(one, Logged)])
def test_what_is_logged_has_the_fields_that_readers_need(kind: type[Logged]):
    names = set(kind.__dataclass_fields__)
    assert set(fields.FIELDS[kind.event]) <= names


def test_a_message_that_is_not_known_is_named_with_those_that_are():
    with pytest.raises(
        RunError, match=r"message 'Shout': unknown; expected one of Prepare, MakeRoom, Join, "
    ):
        decode(b'{"kind":"Shout","content":{}}')


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "message Hello: pid: Field required"),
        ({"pid": "seven"}, "message Hello: pid: Input should be a valid integer.*'seven'"),
        ({"pid": 7, "name": "x"}, "message Hello: name: Unexpected keyword argument"),
    ],
)
def test_a_field_that_is_missing_wrong_or_foreign_is_named(content: dict[str, object], said: str):
    with pytest.raises(RunError, match=said):
        decode(json.dumps({"kind": "Hello", "content": content}).encode())


def test_a_descriptor_rides_only_where_it_is_expected():
    assert b"descriptor" not in encode(messages.LogTo(descriptor=5))
    assert decode(encode(messages.LogTo()), 9) == messages.LogTo(descriptor=9)
    with pytest.raises(RunError, match="message Hello: descriptor"):
        decode(encode(messages.Hello(pid=1)), 9)
