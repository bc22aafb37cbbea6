"""Runs beside each other: curves, options that differ, last figures with intervals, report cards."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lepton_kit as lk
from lepton_kit import cli
from lepton_kit.client.compare import Comparison, Figure, compare
from lepton_kit.client.curves import smooth
from lepton_kit.client.run import Run
from lepton_kit.config import FrozenData
from lepton_kit.deploy.modelcard.sections import DataFacts, Facts, Metric, OutputCard
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure as CardFigure
from lepton_kit.deploy.report.rows import Row
from lepton_kit.deploy.report.scoring import wilson
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.panels.compare import ComparePanel
from lepton_kit.rundir import EventLog, lock
from tests.client.test_table import make
from tests.configs import any_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path, "wide-20260101-000000-0001", epochs=2)
    make(tmp_path, "narrow-20260102-000000-0002", epochs=4)
    return tmp_path


@pytest.fixture
def both(folder: Path) -> Comparison:
    return compare("wide", "narrow", runs_dir=folder)


def configured(run: Run, **sections: Any) -> None:
    run.paths.config.write_text(any_config(**sections).to_yaml())
    run.__dict__.pop("config", None)


def test_only_options_that_differ_are_told(folder: Path):
    wide, narrow = lk.runs(folder)
    frozen = {"fingerprint": "f", "samples": 32, "validation_samples": 8}
    configured(
        wide,
        training={"learning_rate": 0.01},
        name="w",
        frozen=FrozenData(content="a" * 40, **frozen).model_dump(),
    )
    configured(
        narrow,
        training={"learning_rate": 0.1},
        name="n",
        frozen=FrozenData(content="b" * 40, **frozen).model_dump(),
    )
    log = EventLog(narrow.paths.events)
    log.append("request", verb="set", learning_rate=0.5, id="1", accepted=True, cause=None)
    log.append("request", verb="scale", workers=9, id="2", accepted=False, cause="too many")
    log.append("request", verb="scale", workers=3, id="3", accepted=True, cause=None)
    log.close()
    found = compare(wide, narrow)
    options = found.options()
    assert sorted(options.index) == ["changed while it trained", "data.content", "training.learning_rate"]
    assert options.loc["training.learning_rate"].tolist() == [0.01, 0.1]
    assert options.loc["data.content"].tolist() == ["a" * 12, "b" * 12]
    assert options.loc["changed while it trained"].tolist() == [
        None,
        "learning_rate 0.5, step 16; workers 3, step 16",
    ]
    assert "did not all train on the same data" in found.notes[0]


def test_runs_that_do_not_differ_say_so(both: Comparison):
    assert len(both.options()) == 0
    assert "The configurations do not differ" in both.to_markdown()
    assert not any("same data" in note for note in both.notes)


def test_last_figures_have_intervals_where_there_are_any(folder: Path):
    wide, narrow = lk.runs(folder)
    card = Facts(
        name="n", created="today", data=DataFacts(),
        outputs=(OutputCard(name=None, task="classes", metrics=(Metric(name="accuracy", value=0.9, low=0.8, high=0.95, how="Wilson"),)),),
    )  # fmt: skip
    narrow.paths.final_model.parent.mkdir()
    (narrow.paths.final_model.parent / "card.json").write_text(card.to_json())
    figures = compare(wide, narrow).figures()
    assert figures.loc["val_accuracy", "wide"] == Figure(
        0.5, *wilson(4, 8), how="measured, Wilson on 8 samples"
    )
    assert figures.loc["val_loss", "wide"] == Figure(0.6)
    assert figures.loc["accuracy", "wide"] == Figure(0.75)
    assert figures.loc["held out: accuracy", "narrow"] == Figure(0.9, 0.8, 0.95, "model card, Wilson")
    assert figures.loc["held out: accuracy", "wide"] is None
    assert figures.loc["step", "narrow"].value == 16
    assert str(figures.loc["held out: accuracy", "narrow"]) == "0.9 (0.8 to 0.95)"
    assert str(Figure(None)) == "–"


def test_its_words_are_short(both: Comparison):
    assert repr(both) == "<Comparison: wide, narrow>"


def test_curves_come_by_step_epoch_and_time(both: Comparison):
    assert both.quantities == ("loss", "accuracy", "val_loss", "val_accuracy")
    assert both.main == ("loss", "accuracy")
    steps = both.curves("loss")
    assert steps.groupby("run").size().to_dict() == {"narrow": 16, "wide": 8}
    assert steps[steps["run"] == "wide"]["step"].tolist() == list(range(1, 9))
    assert both.curves("val_loss", x="epoch")["epoch"].tolist() == [1, 2, 1, 2, 3, 4]
    assert both.curves("accuracy")["step"].tolist() == [4, 8, 4, 8, 12, 16]
    seconds = both.curves("loss", x="seconds")
    assert np.isfinite(seconds["seconds"]).all()
    assert (seconds.groupby("run")["seconds"].diff().dropna() >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"quantity": "lss"}, "quantity: got 'lss'; expected one of loss, accuracy, val_loss, val_accuracy"),
        ({"x": "hours"}, "x: got 'hours'; expected one of step, epoch, seconds"),
        ({"smoothing": 1.0}, "smoothing: got 1.0; expected a number from 0 to below 1"),
        ({"smoothing": -0.1}, "smoothing: got -0.1"),
    ],
)
def test_what_can_not_be_drawn_is_told(both: Comparison, arguments: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as caught:
        both.curves(**arguments)
    assert said in str(caught.value)
    with pytest.raises(ConfigError):
        both.figure(*([arguments.pop("quantity")] if "quantity" in arguments else []), **arguments)


def test_a_figure_has_one_colour_a_run_and_one_plot_a_quantity(both: Comparison):
    figure = both.figure(smoothing=0.6, log_y=True, x="epoch")
    assert [note.text for note in figure.layout.annotations] == ["Loss", "Accuracy"]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.xaxis.type is None
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert shown == ["wide", "narrow"]
    colours = {run: {trace.line.color for trace in figure.data if trace.name == run} for run in both.names}
    assert all(len(one) == 1 for one in colours.values())
    assert colours["wide"] != colours["narrow"]
    assert len(figure.data) == 2 * 2 * 2 * 2  # runs, plots, training and validation, plain and smoothed
    assert len(both.figure("loss").data) == 4


def test_a_picture_shows_the_same_curves_with_words(both: Comparison):
    picture = both.picture("accuracy", x="epoch")
    assert picture.text == "accuracy over epoch of wide, narrow"
    assert picture.svg.count("<path") == 4
    assert "<title>narrow, validation: 0.5 at the end</title>" in picture.svg
    assert both.picture("loss", smoothing=0.5).svg.count('stroke-opacity="0.25"') == 4
    assert both._repr_html_().count("<img alt=") == 2


def test_a_logarithmic_picture_leaves_out_what_has_no_logarithm(folder: Path):
    run = make(folder, "flat", epochs=1)
    log = EventLog(run.paths.events)
    log.append("steps", generation=1, first=4, last=8, world_size=1, loss=[0.001, 0.0, -1.0, 100.0], metrics={},
               seconds=0.1, busy=[0.1], samples=[8], fed=[8] * 4, checksum=[1] * 4, learning_rate=0.1)  # fmt: skip
    log.close()
    picture = compare(run, "wide", runs_dir=folder).picture("loss", log_y=True, log_x=True)
    assert "nan" not in picture.svg
    assert ">0.01<" in picture.svg
    assert ">100<" in picture.svg
    _, path = picture.svg.split("<title>flat, training")
    assert path.split('d="')[1].split('"')[0].count("M") == 2  # broken where a value has none


def test_nothing_to_draw_is_said(folder: Path):
    for name in ("new-1", "new-2"):
        make(folder, name, epochs=0)
    found = compare("new-1", "new-2", runs_dir=folder)
    assert found.picture("loss").text == "loss: none of new-1, new-2 has a value to draw"


def test_the_legend_of_many_runs_takes_more_rows(tmp_path: Path):
    for number in range(14):
        make(tmp_path, f"a-run-with-a-long-name-{number}")
    picture = compare(lk.runs(tmp_path)).picture("loss")
    assert (
        picture.svg.count(">a-run-with-a-long-name-") == 14 + 28
    )  # names, and what a pointer over a curve reads


def test_runs_of_one_name_are_told_apart_by_their_ids(folder: Path):
    for run in lk.runs(folder):
        run.name = "twin"
    assert lk.compare(lk.runs(folder)).names == ["wide-20260101-000000-0001", "narrow-20260102-000000-0002"]


def test_report_cards_stand_side_by_side(folder: Path):
    wide, narrow = lk.runs(folder)
    for run, score in ((wide, 0.9), (narrow, 0.8)):
        figures = {
            "score": CardFigure(score, "measured", score - 0.1, score + 0.05),
            "file_bytes": CardFigure(1000.0, "measured"),
        }
        ReportCard((Row("int8", "LiteRT", "int8", figures=figures),), "accuracy", True, 8).save(
            run.directory / "compression"
        )
    found = compare(wide, narrow)
    cards = found.cards()
    assert list(cards.index) == [("wide", "int8"), ("narrow", "int8")]
    assert cards["accuracy"].tolist() == [0.9, 0.8]
    text = found.to_markdown()
    assert "| run | variant | accuracy | file size (bytes) |" in text
    assert "| wide | int8 | 0.9 | 1000 |" in text


def test_a_run_under_way_is_named(folder: Path):
    live = make(folder, "live", end=None)
    assert not any(
        "Not over yet" in note for note in compare(live, "wide", runs_dir=folder).notes
    )  # its driver died
    held = lock.take(live.paths)
    assert "Not over yet: live." in compare(live, "wide", runs_dir=folder).notes
    os.close(held)


def test_fewer_than_two_runs_are_no_comparison(folder: Path):
    with pytest.raises(ConfigError, match="at least two runs"):
        compare("wide", "wide-2026", runs_dir=folder)
    with pytest.raises(RunError, match="other is no run"):
        compare("wide", "other", runs_dir=folder)
    (lk.open_run("wide", folder).paths.config).write_text("{")
    with pytest.raises(
        ConfigError, match=r"at least two that can be read: wide-2026\S+ can't be read \(.*config\.yaml"
    ):
        compare(*lk.runs(folder))


def test_runs_that_cannot_be_read_are_named_and_the_others_compared(folder: Path, capsys):
    make(folder, "spoilt-20260103-000000-0003").paths.config.write_text("{")
    make(folder, "logless-20260104-000000-0004").paths.events.unlink()
    (folder / "logless-20260104-000000-0004" / "events.jsonl").mkdir()
    found = compare(lk.runs(folder))
    assert found.names == ["wide", "narrow"]
    assert list(found.unreadable) == ["spoilt-20260103-000000-0003", "logless-20260104-000000-0004"]
    assert "config.yaml" in found.unreadable["spoilt-20260103-000000-0003"]
    for name, why in found.unreadable.items():
        note = f"Left out, as it can't be read: {name} ({why})."
        assert note in found.notes
        assert f"- {note}" in found.to_markdown()
        assert html.escape(note) in ComparePanel(found).tables.value
    assert found.to_dict()["unreadable"] == found.unreadable
    assert cli.main(["--runs-dir", str(folder), "compare", "wide", "spoilt", "narrow"]) == 0
    assert "can't be read: spoilt-20260103-000000-0003" in capsys.readouterr().out


def test_a_long_name_is_cut_in_the_legend_and_whole_under_the_pointer(folder: Path):
    name = "a" * 50 + "<b>" + "z" * 47
    lk.open_run("wide", folder).name = name
    found = lk.compare(lk.runs(folder))
    cut = "a" * 20 + "…" + "z" * 19
    for smoothing in (0.0, 0.5):
        svg = found.picture("loss", smoothing=smoothing).svg
        assert f"<title>{html.escape(name)}</title><text " in svg
        assert f">{cut}</text>" in svg
        assert f">{html.escape(name)}</text>" not in svg
        figure = found.figure("loss", "accuracy", smoothing=smoothing)
        assert [trace.name for trace in figure.data if trace.showlegend] == [cut, "narrow"]
        assert any(html.escape(name) in str(trace.hovertemplate) for trace in figure.data)


def test_a_page_holds_plots_and_tables_and_escapes_names(folder: Path, tmp_path: Path):
    lk.open_run("wide", folder).name = "<b>wide"
    found = lk.compare(lk.runs(folder))
    page = found.save(tmp_path / "c.html", smoothing=0.5).read_text()
    assert "Last figures" in page
    assert "Plotly.newPlot" in page
    assert "<b>wide" not in found.to_html()
    assert "| figure | <b>wide | narrow |" in found.save(tmp_path / "c.md").read_text()
    with pytest.raises(ConfigError, match=r"ends in \.html or \.md"):
        found.save(tmp_path / "c.pdf")
    with pytest.raises(ConfigError, match="a place to write to"):
        found.save(tmp_path / "none" / "c.md")


def test_the_shell_compares(folder: Path, capsys: pytest.CaptureFixture[str]):
    def call(*arguments: str) -> int:
        return cli.main(["--runs-dir", str(folder), "compare", *arguments])

    assert call("wide", "narrow") == 0
    assert "| val_accuracy | 0.5 (0.2152 to 0.7848) |" in capsys.readouterr().out
    assert call("wide", "narrow", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["runs"]["wide"] == "wide-20260101-000000-0001"
    assert said["figures"]["val_loss"]["narrow"] == {
        "value": 0.6,
        "low": None,
        "high": None,
        "how": "measured",
    }
    assert call("wide", "narrow", "--output", str(folder / "c.html"), "--smoothing", "0.5", "--log-y") == 0
    assert (folder / "c.html").is_file()
    assert call("wide", "narrow", "--output", str(folder / "c.html"), "--smoothing", "2") == 1
    assert "smoothing: got 2.0" in capsys.readouterr().err


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=20), st.floats(0, 0.99))
def test_smoothing_stays_inside_what_it_smooths(values: list[float], weight: float):
    given_values = np.array(values)
    found = smooth(given_values, weight)
    known = given_values[np.isfinite(given_values)]
    assert np.isnan(found).tolist() == np.isnan(given_values).tolist()
    if len(known):
        spare = 1e-6 * (1 + np.abs(known).max())
        assert known.min() - spare <= np.nanmin(found)
        assert np.nanmax(found) <= known.max() + spare
        first = found[np.isfinite(found)][0]
        assert first == pytest.approx(known[0], rel=1e-6, abs=1e-6)


def test_no_smoothing_changes_nothing_and_much_lags():
    values = np.array([0.0, 10.0, 10.0, 10.0])
    assert smooth(values, 0.0).tolist() == values.tolist()
    assert smooth(values, 0.9)[-1] == pytest.approx(
        (0.9 * (0.9 * (1.0) + 1.0) + 1.0) / (1 - 0.9**4), rel=1e-6
    )
