"""The energy of hosts: an agent tells what its host took, at the latest before a worker's word that it leaves its ring."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.agent import Agent
from lepton_kit.runtime.hosts.executor import HostsExecutor
from lepton_kit.training import messages
from tests.runtime.fakes import FakeExecutor

TOOK = {"joules": 5.0, "origin": "measured", "why": None}


def test_an_agent_tells_what_was_taken_before_a_worker_says_that_it_leaves():
    agent = Agent(SimpleNamespace())  # type: ignore[arg-type]  # a stand-in
    posted: list[Any] = []
    agent._outbox = SimpleNamespace(post=posted.append)  # type: ignore[assignment]  # a stand-in
    left = messages.Detached(
        generation=0, step=4, outcome="finished", whole=True, stopped_by=None, trained_until=None
    )
    executor = FakeExecutor([], said=[(0, messages.Hello(pid=7)), (0, left)], took=[TOOK])
    agent._listen(executor)  # type: ignore[arg-type]  # a stand-in
    assert [type(one) for one in posted] == [talk.Took, talk.Passed, talk.Passed]
    assert posted[0].fields == TOOK
    assert executor.asked_fresh == 1
    assert messages.decode(messages.encode(posted[0]), kinds=talk.KINDS) == posted[0]


def test_a_driver_knows_of_which_host_it_is():
    def link(name: str) -> Any:
        return SimpleNamespace(host=SimpleNamespace(name=name), taken=lambda: [TOOK])

    executor = HostsExecutor.__new__(HostsExecutor)
    executor.links = [link("one"), link("two")]
    assert executor.energy(0.0) == [{**TOOK, "host": "one"}, {**TOOK, "host": "two"}]
