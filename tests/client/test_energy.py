"""What a run took and costs, from its log: totals, samples and epochs, tagged; and the plane of accuracy and energy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.client.run import Run
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.errors import CompressionError, ConfigError, RunError
from lepton_kit.panels.compare import ComparePanel
from lepton_kit.panels.report import COSTS
from lepton_kit.rundir import RunPaths, RunView, Status
from tests.configs import any_config

BEGAN = 1000.0


def event(time: float, kind: str, **fields: Any) -> dict[str, Any]:
    return {"time": time, "kind": kind, **fields}


def took(time: float, joules: float, origin: str = "measured", **more: Any) -> dict[str, Any]:
    told = {
        "step": 0,
        "low": 0.9 * joules,
        "high": 1.1 * joules,
        "idle": joules / 4,
        "seconds": 10.0,
        "of": ["processors"],
    }
    why = None if origin == "measured" else "no counter"
    return event(time, "energy", joules=joules, origin=origin, why=why, **told | more)


def steps(time: float, first: int, seconds: float) -> dict[str, Any]:
    return event(time, "steps", generation=0, first=first, last=first + 2, world_size=1, loss=[1.0, 1.0], metrics={},
                 seconds=seconds, busy=[seconds], samples=[50], data=[0.0], waited=[0.0], communicated=0.0)  # fmt: skip


def epoch(time: float, number: int, seconds: float, accuracy: float) -> dict[str, Any]:
    return event(time, "epoch", epoch=number, step=2 * number + 2, seconds=seconds,
                 metrics={"loss": 1.0, "accuracy": accuracy}, validation={"loss": 1.0, "accuracy": accuracy})  # fmt: skip


def run_of(folder: Path, name: str, events: list[dict[str, Any]]) -> Run:
    paths = RunPaths(folder / name)
    paths.create()
    paths.config.write_text(any_config(name=name[:4]).to_yaml())
    paths.lock.touch()
    told = [
        event(BEGAN, "status", status="running", cause=None),
        event(BEGAN, "plan", validation_samples=400, steps_per_epoch=2, total_steps=4),
        *events,
        event(BEGAN + 60, "status", status=str(Status.FINISHED), cause=None),
    ]
    paths.events.write_text("".join(json.dumps(one) + "\n" for one in told))
    paths.status.write_text(json.dumps({"status": "finished", "cause": None, "driver_pid": None}))
    return Run(paths)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Of 60 s 20 were training: two epochs, 10 s each, of 100 and 200 J; loading took 40 J."""
    events = [
        took(BEGAN + 10, 40.0), took(BEGAN + 20, 100.0), steps(BEGAN + 20, 0, 10.0), epoch(BEGAN + 20, 0, 10.0, 0.9),
        took(BEGAN + 30, 200.0), steps(BEGAN + 30, 2, 10.0), epoch(BEGAN + 30, 1, 10.0, 0.9),
    ]  # fmt: skip
    return run_of(tmp_path, "wide", events)


def test_a_run_says_what_it_took_as_a_whole_for_a_sample_and_for_each_epoch(run: Run):
    found = run.energy()
    assert (found.total.joules, found.total.origin, found.total.idle) == (340.0, "measured", 85.0)
    assert (found.training.joules, found.starting) == (300.0, 40.0)
    assert found.per_sample is not None
    assert (found.per_sample.joules, found.samples) == (3.0, 100)
    assert [one.joules for one in found.per_epoch] == [100.0, 200.0]
    assert list(found.table().index) == ["run", "training", "sample", "1,000 samples", "epoch 0", "epoch 1"]
    assert found.table().loc["1,000 samples", "joules"] == 3000.0
    assert (found.seconds, found.why, found.of) == (30.0, None, ("processors",))
    assert found.carbon(3.6e6)[0] == pytest.approx(340.0)
    assert "25% of it" in str(found)
    assert "340 J (measured, 306 J to 374 J)" in found._repr_html_()


def test_one_estimate_makes_all_of_it_estimated_and_says_why(tmp_path: Path):
    found = run_of(
        tmp_path, "part", [took(BEGAN + 10, 1.0), took(BEGAN + 20, 2.0, "estimated", host="b")]
    ).energy()
    assert (found.total.origin, found.why, found.hosts) == ("estimated", "no counter", ("b",))
    assert found.per_sample is None
    assert "not all of it is measured: no counter" in str(found)


def test_a_log_of_an_older_version_tells_joules_alone(tmp_path: Path):
    old = {"step": 0, "joules": 7.0, "why": None}
    found = run_of(tmp_path, "old", [event(BEGAN + 5, "energy", **old)]).energy()
    assert (found.total.joules, found.total.low, found.total.origin) == (7.0, 7.0, "measured")
    assert "other programs included" in str(found)
    silent = run_of(tmp_path, "none", [event(BEGAN + 5, "energy", step=0, joules=None, why="no counter")])
    with pytest.raises(RunError, match="none: its energy is not known: no counter"):
        silent.energy()
    with pytest.raises(RunError, match="nothing is told yet"):
        run_of(tmp_path, "mute", []).cost()


def test_an_event_of_wrong_fields_harms_no_reader():
    view = RunView()
    for name, value in [("low", "x"), ("origin", 3), ("of", 1), ("host", None), ("seconds", "1")]:
        with pytest.raises(TypeError):
            view.feed(took(BEGAN, 1.0, **{name: value} if name != "origin" else {}) | {name: value})
    assert view.energy.joules is None


def test_a_run_says_what_it_costs(run: Run, tmp_path: Path):
    prices = tmp_path / "mine.yaml"
    prices.write_text(
        "date: 2026-01-01\n"
        "electricity: {per_kwh: 3600, currency: EUR, date: 2026-01-01, source: a bill}\n"
        "cloud:\n  box: {per_hour: 120, currency: USD, date: 2026-01-01, source: a list}\n"
        "carbon: {grams_per_kwh: 36000, date: 2026-01-01, source: a supplier}\n"
    )
    found = run.cost(prices)
    assert (found.total.amount, found.total.origin) == (pytest.approx(0.34), "measured")
    assert [one.amount for one in found.per_epoch] == [pytest.approx(0.1), pytest.approx(0.2)]
    assert found.per_sample is not None
    assert found.per_sample.amount == pytest.approx(0.003)
    assert found.grams is not None
    assert found.grams[0] == pytest.approx(3.4)
    assert run.cost(prices, grams_per_kwh=0).grams == (0.0, 0.0, 0.0)
    rented = run.cost(prices, instance="box")
    assert (rented.total.amount, rented.total.currency) == (pytest.approx(1.0), "USD")
    assert "a list, 2026-01-01" in str(rented)
    assert run.cost().grams is None
    with pytest.raises(ConfigError, match="instance"):
        run.cost(prices, instance="bx")


def test_the_shell_prints_both(run: Run, capsys: pytest.CaptureFixture[str]):
    folder = str(run.directory.parent)
    assert main(["--runs-dir", folder, "energy", "wide"]) == 0
    assert "340 J (measured" in capsys.readouterr().out
    assert main(["--runs-dir", folder, "energy", "wide", "--json", "--grams-per-kwh", "50"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"][0]["joules"] == 340.0
    assert told["cost"]["currency"] == "EUR"
    assert main(["--runs-dir", folder, "energy", "wide", "--prices", "none.yaml"]) == 1
    assert "none.yaml" in capsys.readouterr().err


# ------------------------------------------------------------------ the plane


def variant(name: str, score: float, joules: float | None, low: float = 0.0) -> Row:
    energy = (
        Figure(joules, "estimated", joules and joules / 2, joules and joules * 2)
        if joules
        else Figure.not_run("no counter")
    )
    return Row(
        name,
        "LiteRT",
        figures={"score": Figure(score, "measured", low or score - 0.03, score + 0.02), "energy": energy},
    )


CARD = ReportCard(
    (variant("float32", 0.95, 2.0), variant("int8", 0.94, 0.62), variant("int4", 0.8, 0.5), variant("slow", 0.95, 9.0)),
    "accuracy", True, 400,
)  # fmt: skip


def test_the_same_accuracy_for_less_energy_is_said_in_a_sentence():
    said = "int8 gives the same accuracy as float32 within its interval for 0.31 × of the energy (estimated)."
    assert CARD.saving() == said
    plane = lk.tradeoff(CARD)
    assert plane.sentence == said
    assert [row.name for row in plane.front()] == ["int4", "int8", "float32"]
    assert said in plane.picture().text
    assert plane.table()["worth_it"].to_dict() == {"int4": True, "int8": True, "float32": True, "slow": False}
    assert "<img" in plane._repr_html_()
    assert f"- {said}" in CARD.to_markdown()
    assert "energy" in COSTS.values()


def test_where_nothing_is_cheaper_that_is_said_too():
    card = ReportCard((variant("float32", 0.95, 2.0), variant("int8", 0.5, 0.1)), "accuracy", True, 400)
    assert card.saving() == "No other gives the same accuracy as float32 for less energy (estimated)."
    dark = ReportCard((variant("float32", 0.95, None),), "accuracy", True, 400)
    assert dark.saving() is None
    with pytest.raises(CompressionError, match="no variant has an energy: no counter"):
        lk.tradeoff(dark)


def test_a_lower_error_counts_as_better():
    card = ReportCard(
        (variant("float32", 0.3, 2.0), variant("int8", 0.31, 1.0), variant("int4", 0.9, 0.5)),
        "mae",
        False,
        400,
    )
    assert "int8 gives the same mae" in str(card.saving())
    assert [row.name for row in lk.tradeoff(card).front()] == ["int4", "int8", "float32"]


def test_a_card_says_what_a_thousand_predictions_take_and_cost(tmp_path: Path):
    table = CARD.energy()
    assert table.loc["int8", "joules for 1,000"] == 0.62
    assert table.loc["int8", "EUR for 1,000"] == pytest.approx(0.62 / 3.6e6 * 0.2872)
    assert table.loc["slow", "worth_it"] == False  # noqa: E712  # numpy has its own False
    (tmp_path / "none.yaml").write_text("date: 2026-01-01\n")
    with pytest.raises(ConfigError, match=r"none\.yaml: electricity"):
        CARD.energy(tmp_path / "none.yaml")


def test_runs_lie_on_the_plane_of_their_training(run: Run, tmp_path: Path):
    small = run_of(
        tmp_path,
        "slim",
        [took(BEGAN + 20, 60.0), steps(BEGAN + 20, 0, 10.0), epoch(BEGAN + 20, 0, 10.0, 0.89)],
    )
    plane = lk.tradeoff(run, small)
    assert "slim gives the same val_accuracy as wide within its interval for 0.20 ×" in plane.sentence
    assert plane.table().loc["slim", "energy of its training (J)"] == 60.0
    figures = lk.compare(run, small).figures()
    assert str(figures.loc["energy_joules", "wide"]) == "340 (306 to 374)"
    panel = ComparePanel(lk.compare(run, small))
    assert "slim gives the same" in panel.plane.value
    assert "<svg" in panel.plane.value
    panel.close()
    with pytest.raises(ConfigError, match="report cards alone, or runs alone"):
        lk.tradeoff(CARD, run)
    with pytest.raises(CompressionError, match="has no report card yet"):
        lk.tradeoff(run)
    bare = run_of(tmp_path, "bare", [took(BEGAN + 20, 60.0), steps(BEGAN + 20, 0, 10.0)])
    with pytest.raises(ConfigError, match="bare"):
        lk.tradeoff(run, bare)
    assert ComparePanel(lk.compare(run, bare)).plane.value == ""


def test_cards_of_several_models_lie_on_one_plane(tmp_path: Path):
    other = ReportCard(
        (variant("float32", 0.96, 4.0),), "accuracy", True, 400, folder=str(tmp_path / "big" / "compression")
    )
    plane = lk.tradeoff(CARD, other)
    assert {"0: int8", "big: float32"} <= {row.name for row in plane.rows}
    with pytest.raises(ConfigError, match="report cards of one metric"):
        lk.tradeoff(CARD, ReportCard((), "mae", False, 400))
