"""The workers in the live view: bars, the strip of the last minutes, the straggler's sentence, and the lesson's buttons."""

from __future__ import annotations

import re

import pytest

from lepton_kit.panels import LivePanel, ranks_told


@pytest.fixture
def panel():
    made = LivePanel()
    yield made
    made.close()


def watched(panel, run, reports: int = 30):
    for _ in range(reports):
        run.advance(1, 0.5)
    panel.attach(run)
    panel.detach()
    return panel.workers


def test_each_rank_has_a_bar_whose_parts_add_up(panel, synthetic):
    view = watched(panel, synthetic(ranks=3).begin())
    labels = re.findall(r'aria-label="(rank \d: data[^"]*)"', view.bars.value)
    assert [label[:6] for label in labels] == ["rank 0", "rank 1", "rank 2"]
    for label in labels:
        assert sum(int(one) for one in re.findall(r"(\d+)%", label)) == pytest.approx(100, abs=3)
    assert "The bars in figures" in view.bars.value
    assert "lk-straggler" not in view.bars.value


def test_who_holds_the_others_up_is_said_and_marked(panel, synthetic):
    run = synthetic(ranks=3).begin()
    run.slow_rank = 1
    view = watched(panel, run)
    assert re.search(r"Rank 1 takes [\d.]+ × as long .* without it \+\d+ %\.", view.bars.value)
    assert re.findall(r'lk-rank-slow">([^<]*)<', view.bars.value) == ["rank 1"]
    waited = [int(one) for one in re.findall(r"waited (\d+)%</span>", view.strip.value)]
    assert waited[1] == 0
    assert min(waited[0], waited[2]) > 40


def test_a_long_past_stays_a_short_text(panel, synthetic):
    run = synthetic(ranks=8, steps_per_epoch=1000).begin()
    for turn in range(800):
        run.slow_rank = turn // 10 % 8
        run.advance(1, 0.5)
    view = watched(panel, run, 1)
    assert len(view.strip.value) < 20_000
    assert re.search(r"(4.9|5.\d) min of training ago", view.strip.value)


def test_a_strip_shows_where_a_rank_was_not_there(panel, synthetic):
    run = synthetic(ranks=2, steps_per_epoch=100).begin()
    for ranks in (3, 2):
        for _ in range(15):
            run.advance(1, 0.5)
        run.reform(ranks, "scaled")
    view = watched(panel, run, 15)
    assert view.strip.value.count('class="lk-rank-strip"') == 3
    assert "transparent" in view.strip.value.split("<span>rank 2</span>")[1]


def test_many_ranks_show_the_slowest(panel, synthetic):
    view = watched(panel, synthetic(ranks=20).begin(), 6)
    assert view.bars.value.count('class="lk-rank-bar"') == ranks_told.RANKS_SHOWN
    assert "and 4 more ranks" in view.bars.value


def test_a_log_that_tells_no_times_shows_none(panel, synthetic):
    run = synthetic(ranks=2).begin()
    run.tells_times = False
    view = watched(panel, run)
    assert (view.bars.value, view.strip.value) == ("", "")


def test_what_was_stays_when_the_run_is_over(panel, synthetic):
    run = synthetic(ranks=2).begin()
    view = watched(panel, run)
    assert view.lesson.layout.display == ""
    assert "Where the time of each rank goes" in view.bars.value
    assert "<span>now</span>" in view.strip.value
    run.end()
    panel.update()
    assert "Where the time of each rank went" in view.bars.value
    assert "<span>the end</span>" in view.strip.value
    assert view.lesson.layout.display == "none"
    assert "No worker runs any more" in view.table.value


def test_buttons_slow_the_chosen_worker_and_undo_it(panel, synthetic):
    run = synthetic(ranks=2).begin()
    view = watched(panel, run, 2)
    assert [label for label, _ in view.rank.options] == ["rank 0", "rank 1"]
    assert view.undo.disabled
    view.rank.value = 1
    view.slow.click()
    assert run.asked == [("slow", (1, 3.0))]
    workers = run.view().workers
    workers[1]["slowed"] = {"factor": 3.0}
    run.write("workers", wanted=2, workers=workers)
    panel.update()
    assert view.rank.value == 1
    assert "made slow: ×3 as slow" in view.table.value
    view.undo.click()
    assert run.asked[-1] == ("slow", (1, 1.0))


def test_a_refusal_is_shown(panel, synthetic):
    run = synthetic(ranks=2).begin()
    view = watched(panel, run, 2)

    def refuse(rank: int, factor: float) -> None:
        raise RuntimeError("rank: got 1; expected a rank, and none trains now")

    run.slow_down = refuse
    view.slow.click()
    assert "none trains now" in panel.complaint


def test_one_worker_waits_for_nobody_and_has_no_lesson(panel, synthetic):
    view = watched(panel, synthetic(ranks=1).begin())
    assert view.strip.value == ""
    assert view.lesson.layout.display == "none"
