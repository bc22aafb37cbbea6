"""What a driver decides, in a world of thirty lines without a process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.runtime.coordinator import (
    Abort,
    Command,
    Dismiss,
    End,
    Form,
    MakeRoom,
    Observed,
    Reform,
    Situation,
    Spawn,
    Wanted,
    decide,
)


def situation(wanted: Wanted, workers: list[Observed], phase: str, **more: object) -> Situation:
    return Situation(wanted, workers, phase, **more)


def training(count: int) -> list[Observed]:
    return [Observed(k, "training", rank=k, step=10) for k in range(count)]


def test_it_spawns_the_standbys_with_the_workers():
    assert decide(situation(Wanted(2, standby=1), [], "none")) == [Spawn(3)]


def test_it_waits_at_the_start_until_all_are_ready():
    workers = [Observed(0, "standby"), Observed(1, "starting")]
    assert decide(situation(Wanted(2), workers, "none")) == []


def test_it_forms_when_all_are_ready():
    workers = [Observed(0, "standby"), Observed(1, "standby")]
    assert decide(situation(Wanted(2), workers, "none")) == [Form((0, 1), fresh=True)]


def test_a_run_that_stands_still_begins_with_who_is_ready_and_the_others_join_later():
    workers = [Observed(0, "standby"), Observed(1, "starting"), Observed(2, "standby", quiet=True)]
    assert decide(situation(Wanted(3), workers, "breaking", formed_before=True)) == [Form((0,), fresh=True)]


def test_who_has_missed_heartbeats_joins_no_ring():
    quiet = Observed(1, "standby", quiet=True)
    assert decide(situation(Wanted(2), [Observed(0, "standby"), quiet], "none")) == []
    assert decide(situation(Wanted(2), [*training(1), quiet], "training")) == []
    survivor = Observed(0, "detached", rank=0, step=9)
    assert decide(situation(Wanted(2), [survivor, quiet], "breaking", formed_before=True)) == [Form((0,))]


def test_one_that_has_missed_heartbeats_keeps_no_other_from_being_started():
    workers = [Observed(0, "standby", quiet=True)]
    assert decide(situation(Wanted(2), workers, "breaking", formed_before=True)) == [Spawn(1)]


def test_it_forms_when_enough_are_ready_though_more_are_coming():
    workers = [Observed(0, "standby"), Observed(1, "standby"), Observed(2, "starting")]
    assert decide(situation(Wanted(2, standby=1), workers, "none")) == [Form((0, 1), fresh=True)]


def test_a_ring_grows_by_those_who_are_ready_if_no_more_are_coming():
    workers = [*training(1), Observed(1, "standby", room="made"), Observed(2, "standby", room="made")]
    assert decide(situation(Wanted(4), workers, "training")) == [Spawn(1), Reform("scale from 1 to 3")]
    assert decide(situation(Wanted(2), workers, "training")) == [
        Reform("scale from 1 to 2")
    ]  # and none is sent away


def test_a_ring_trains_until_those_who_will_join_have_their_memory():
    cold, asked, made = (Observed(2, "standby", room=room) for room in ("none", "asked", "made"))
    joined = Observed(1, "standby", room="made")
    for first in (Observed(1, "standby"), joined):
        asks = [worker.worker for worker in (first, cold) if worker.room == "none"]
        found = decide(situation(Wanted(3), [*training(1), first, cold], "training"))
        assert found == [MakeRoom(tuple(asks))]
    assert decide(situation(Wanted(3), [*training(1), joined, asked], "training")) == []
    assert decide(situation(Wanted(3), [*training(1), joined, made], "training")) == [
        Reform("scale from 1 to 3")
    ]
    paused = situation(Wanted(3, paused=True), [*training(1), joined, asked], "training")
    assert decide(paused) == [Command("pause")], "what is asked meanwhile does not wait"
    spare = situation(Wanted(2, standby=1), [*training(1), joined, cold], "training")
    assert decide(spare) == [Reform("scale from 1 to 2")], "who will not join is not asked"


def test_survivors_of_a_lost_worker_wait_for_no_memory():
    workers = [Observed(0, "detached", rank=0, step=5), Observed(1, "standby")]
    assert decide(situation(Wanted(2), workers, "breaking", formed_before=True)) == [Form((0, 1))]


def test_one_that_comes_back_is_not_called_a_change_of_number():
    found = situation(
        Wanted(2), [*training(1), Observed(1, "standby", room="made")], "training", formed_before=True
    )
    assert decide(replace(found, aimed=2)) == [Reform("rejoin from 1 to 2")]
    assert decide(replace(found, aimed=1)) == [Reform("scale from 1 to 2")]


def test_a_lost_member_wakes_the_others_in_every_phase_of_a_ring():
    workers = [*training(1), Observed(1, "lost", rank=1)]
    for phase in ("forming", "training", "paused"):
        assert Abort() in decide(situation(Wanted(2), workers, phase, formed_before=True))


def test_no_replacement_is_prepared_before_the_survivors_train_again():
    survivors = [Observed(0, "detached", rank=0, step=5)]
    assert decide(situation(Wanted(2), survivors, "breaking", formed_before=True)) == [Form((0,))]
    again = [Observed(0, "training", rank=0, step=5)]
    assert decide(situation(Wanted(2), again, "forming", formed_before=True)) == []
    assert decide(situation(Wanted(2), again, "training", formed_before=True)) == [Spawn(1)]


def test_a_warm_standby_replaces_at_once():
    workers = [Observed(1, "detached", rank=1, step=5), Observed(2, "standby")]
    assert decide(situation(Wanted(2, standby=1), workers, "breaking", formed_before=True)) == [Form((1, 2))]


def test_the_survivor_with_the_newest_state_becomes_rank_0():
    workers = [Observed(0, "detached", rank=0, step=4), Observed(1, "detached", rank=1, step=5)]
    assert decide(situation(Wanted(2), workers, "breaking", formed_before=True)) == [Form((1, 0))]


def test_it_waits_for_all_members_to_leave_before_it_forms():
    workers = [Observed(0, "detached", rank=0), Observed(1, "training", rank=1)]
    assert decide(situation(Wanted(2), workers, "breaking", formed_before=True)) == []


def test_scaling_down_breaks_the_ring_and_dismisses_the_surplus():
    (reform,) = decide(situation(Wanted(1), training(2), "training", formed_before=True))
    assert reform == Reform("scale from 2 to 1")
    left = [replace(worker, state="detached") for worker in training(2)]
    assert decide(situation(Wanted(1), left, "breaking", formed_before=True)) == [Dismiss((1,)), Form((0,))]


def test_scaling_up_waits_for_those_who_are_still_starting():
    workers = [*training(1), Observed(1, "standby"), Observed(2, "starting")]
    assert decide(situation(Wanted(3), workers, "training", formed_before=True)) == []


@pytest.mark.parametrize("phase", ["training", "paused"])
def test_stop_is_asked_once(phase: str):
    assert decide(situation(Wanted(1, stopping=True), training(1), phase)) == [Command("stop")]
    assert decide(situation(Wanted(1, stopping=True), training(1), phase, asked=frozenset({"stop"}))) == []


def test_stop_before_anybody_trained_ends_at_once():
    assert decide(situation(Wanted(2, stopping=True), [Observed(0, "starting")], "none")) == [End("stopped")]


def test_stop_while_the_ring_is_broken_forms_once_more_to_save_the_state():
    workers = [Observed(0, "detached", rank=0, step=9)]
    assert decide(situation(Wanted(2, stopping=True), workers, "breaking", formed_before=True)) == [
        Form((0,))
    ]


def test_pause_and_resume():
    assert decide(situation(Wanted(1, paused=True), training(1), "training")) == [Command("pause")]
    assert decide(situation(Wanted(1, paused=True), training(1), "paused")) == []
    assert decide(situation(Wanted(1), training(1), "paused")) == [Command("resume")]


def test_a_ring_that_was_left_while_it_was_held_forms_anew():
    held = situation(Wanted(2, paused=True), training(2), "paused", rests=True)
    assert decide(held) == []
    assert decide(replace(held, wanted=Wanted(2))) == [Reform("resumed")]
    assert decide(replace(held, wanted=Wanted(2, stopping=True))) == [Command("stop")]


def test_a_resume_before_the_ring_holds_is_sent_when_it_does():
    asked = frozenset({"pause"})
    assert decide(situation(Wanted(1), training(1), "training", asked=asked)) == []
    assert decide(situation(Wanted(1), training(1), "paused", asked=asked)) == [Command("resume")]


class World:
    """Processes that obey; what is under way is done in an order that the test chooses."""

    def __init__(self, wanted: Wanted):
        self.wanted, self.phase, self.workers = wanted, "none", dict[int, Observed]()
        self.asked: set[str] = set()
        self.formed, self.next, self.ended = False, 0, False

    def change(self, worker: int, **values: object) -> None:
        self.workers[worker] = replace(self.workers[worker], **values)

    def in_state(self, *states: str) -> list[int]:
        return [number for number, worker in self.workers.items() if worker.state in states]

    def decide(self) -> int:
        observed = list(self.workers.values())
        actions = decide(
            situation(
                self.wanted, observed, self.phase, formed_before=self.formed, asked=frozenset(self.asked)
            )
        )
        for action in actions:
            match action:
                case Spawn(count):
                    for _ in range(count):
                        self.workers[self.next] = Observed(self.next, "starting")
                        self.next += 1
                case Dismiss(workers):
                    for worker in workers:
                        self.change(worker, state="leaving", rank=None)
                case Form(workers):
                    assert self.phase in ("none", "breaking")
                    assert not self.in_state("training")
                    self.asked = {"pause"} if self.wanted.paused else set()
                    for rank, worker in enumerate(workers):
                        self.change(worker, state="training", rank=rank, room="none")
                    self.phase = "forming"
                case MakeRoom(workers):
                    for worker in workers:
                        assert self.workers[worker].room == "none"
                        self.change(worker, room="asked")
                case Reform():
                    self.phase = "breaking"
                case Abort():
                    for worker in self.in_state("lost"):
                        del self.workers[worker]
                    self.phase = "breaking"
                case Command(kind):
                    self.asked.add(kind)
                    if kind == "resume":
                        self.asked.discard("pause")
                        self.phase = "training"
                case End():
                    self.ended = True
        return len(actions)

    def steps(self) -> list[tuple[str, int]]:
        """What could happen next by itself."""
        able = [("ready", worker) for worker in self.in_state("starting")]
        able += [("gone", worker) for worker in self.in_state("leaving")]
        able += [("room", worker) for worker, one in self.workers.items() if one.room == "asked"]
        if self.phase == "forming" and self.in_state("training"):
            able.append(("formed", 0))
        if self.phase == "breaking":
            able += [("detach", worker) for worker in self.in_state("training")]
        if self.phase == "training" and "pause" in self.asked:
            able.append(("hold", 0))
        if "stop" in self.asked and self.phase in ("training", "paused"):
            able.append(("stopped", 0))
        return able

    def happen(self, what: str, worker: int) -> None:
        if what == "ready":
            self.change(worker, state="standby")
        elif what == "room":
            self.change(worker, room="made")
        elif what == "gone":
            del self.workers[worker]
        elif what == "formed":
            self.phase, self.formed = "training", True
        elif what == "detach":
            self.change(worker, state="detached", step=self.workers[worker].step + 1)
        elif what == "hold":
            self.phase = "paused"
        elif what == "stopped":
            self.ended = True

    def kill(self, worker: int) -> None:
        if self.workers[worker].state == "training" and self.phase in ("forming", "training", "paused"):
            self.change(worker, state="lost")
        else:
            del self.workers[worker]


events = st.lists(
    st.one_of(
        st.tuples(st.just("scale"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["pause", "resume", "kill", "kill", "stop"]), st.integers(0, 9)),
        st.tuples(st.just("happen"), st.integers(0, 9)),
        st.tuples(st.just("happen"), st.integers(0, 9)),
    ),
    max_size=40,
)


@settings(max_examples=400)
@given(standby=st.integers(0, 2), first=st.integers(1, 4), story=events)
def test_wanted_and_observed_become_equal_after_any_story(
    standby: int, first: int, story: list[tuple[str, int]]
):
    world = World(Wanted(first, standby))
    for what, number in story:
        world.decide()
        able = world.steps()
        if what == "scale":
            world.wanted = replace(world.wanted, workers=number)
        elif what in ("pause", "resume"):
            world.wanted = replace(world.wanted, paused=what == "pause")
        elif what == "stop" and number == 0:
            world.wanted = replace(world.wanted, stopping=True)
        elif what == "kill" and world.workers:
            world.kill(sorted(world.workers)[number % len(world.workers)])
        elif what == "happen" and able:
            world.happen(*able[number % len(able)])
    for _ in range(200):
        decided, able = world.decide(), world.steps()
        if world.ended or (not decided and not able):
            break
        if able:
            world.happen(*able[0])
    else:
        raise AssertionError("the world does not come to rest")
    if world.wanted.stopping:
        assert world.ended
        return
    assert world.phase == ("paused" if world.wanted.paused else "training")
    assert len(world.in_state("training")) == world.wanted.workers
    assert len(world.in_state("standby")) == world.wanted.standby
    assert sorted(world.workers[worker].rank for worker in world.in_state("training")) == list(
        range(world.wanted.workers)
    )
    assert not world.in_state("starting", "leaving", "lost", "detached")
