"""The runs panel: what the page is sent, and what each button does to the runs of a folder."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.panels import ComparePanel, RunsPanel, runs_list, runs_table
from lepton_kit.panels.parts import STYLE, table
from lepton_kit.panels.runs_table import NOT_MEASURED, columns_of, is_live, line_of
from lepton_kit.rundir import EventLog, Status, lock
from tests.client.test_table import make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, (name, epochs) in enumerate((("wide", 2), ("narrow", 4), ("odd", 1))):
        run = make(tmp_path, f"{name}-20260101-00000{place}-0000", epochs=epochs)
        os.utime(run.paths.config, (1000.0 + place, 1000.0 + place))
    return tmp_path


@pytest.fixture
def panel(folder: Path) -> Any:
    made = RunsPanel(folder)
    yield made
    made.close()


def names(panel: RunsPanel) -> list[str]:
    return [row["name"] for row in panel.table.widget.rows]


def select(panel: RunsPanel, *chosen: str) -> None:
    panel.table.selected = [
        row["id"] for name in chosen for row in panel.table.widget.rows if row["name"] == name
    ]


def test_runs_stand_in_a_table_the_newest_first(panel: RunsPanel):
    assert names(panel) == ["odd", "narrow", "wide"]
    titles = [column["title"] for column in panel.table.widget.columns]
    assert titles == [
        "run", "state", "workers", "step", "loss", "accuracy", "val. loss", "val. accuracy", "time",
        "began", "tags", "note", "energy",
    ]  # fmt: skip
    cells = dict(zip(titles, panel.table.widget.rows[1]["cells"], strict=True))
    assert (cells["step"], cells["workers"], cells["val. accuracy"]) == ("16 of 20", "3", "0.5000")
    assert cells["energy"] == NOT_MEASURED
    assert "says nothing of it" in panel.table.widget.rows[1]["why"]["energy_joules"]
    assert repr(panel) == "<RunsPanel: 3 runs>"


def test_the_page_sorts_and_searches(panel: RunsPanel):
    panel.table.sort = "step"
    assert names(panel) == ["odd", "wide", "narrow"]
    panel.query.value = "step>4"
    assert names(panel) == ["wide", "narrow"]
    assert panel.telling.value == "2 of 3 runs, 0 selected"
    panel.query.value = "stp>4"
    assert "'step', perhaps?" in panel.complaint
    assert names(panel) == ["wide", "narrow"]  # until it is mended
    panel.query.value = "nothing"
    assert (panel.complaint, names(panel), panel.table.widget.empty) == ("", [], "No run fits.")


def test_a_folder_without_runs_says_so(tmp_path: Path):
    panel = RunsPanel(tmp_path)
    assert panel.table.widget.empty == "No run yet."
    assert panel.attach.disabled
    panel.close()


def test_buttons_need_what_they_act_on(panel: RunsPanel):
    def enabled() -> tuple[bool, ...]:
        return tuple(not one.disabled for one in (panel.attach, panel.compare, panel.delete))

    assert enabled() == (False, False, False)
    select(panel, "wide")
    assert enabled() == (True, False, True)
    select(panel, "wide", "odd")
    assert enabled() == (False, True, True)


def test_a_run_is_attached(folder: Path):
    seen: list[Any] = []
    panel = RunsPanel(folder, on_attach=seen.append)
    select(panel, "narrow")
    panel.attach.click()
    assert [run.name for run in seen] == ["narrow"]
    shutil.rmtree(seen[0].directory)
    del seen[0].__dict__["config"]
    panel.attach.click()
    assert "config.yaml" in panel.complaint
    panel.close()


def test_name_tags_and_note_are_written_on_the_run(panel: RunsPanel, folder: Path):
    assert panel.labels.layout.display == "none"
    select(panel, "wide")
    assert (panel.labels.layout.display, panel.name.value, panel.tags.value) == ("", "wide", "")
    panel.name.value, panel.tags.value, panel.note.value = "broad", "base, 8bit", "too broad"
    panel.save.click()
    run = lk.open_run("wide", folder)
    assert (run.name, run.tags, run.note) == ("broad", ("base", "8bit"), "too broad")
    assert "broad" in names(panel)
    panel.tags.value = "a=b"
    panel.save.click()
    assert "tags: got 'a=b'" in panel.complaint


def test_what_is_being_written_survives_a_look_at_the_folder(panel: RunsPanel):
    select(panel, "wide")
    panel.note.value = "half a sen"
    panel.table.hear({"kind": "look"})
    assert panel.note.value == "half a sen"


def test_runs_are_deleted_after_a_question_and_come_back(panel: RunsPanel, folder: Path):
    select(panel, "wide", "odd")
    panel.delete.click()
    assert panel.question.value == "Move 2 runs into the trash?"
    panel.no.click()
    assert (panel.sure.layout.display, len(lk.runs(folder))) == ("none", 3)
    panel.delete.click()
    panel.yes.click()
    assert names(panel) == ["narrow"]
    assert (panel.said.value, panel.undone.layout.display) == ("2 runs moved into the trash.", "")
    panel.undo.click()
    assert (len(names(panel)), panel.undone.layout.display) == (3, "none")
    assert len(lk.runs(folder)) == 3


def test_a_run_under_way_stays_and_the_ones_before_it_can_be_undone(panel: RunsPanel, folder: Path):
    held = lock.take(lk.open_run("narrow", folder).paths)
    select(panel, "wide", "narrow")
    panel.delete.click()
    panel.yes.click()
    assert "is under way; stop it before it is deleted" in panel.complaint
    assert panel.said.value == "run wide moved into the trash."
    panel.undo.click()
    assert len(lk.runs(folder)) == 3
    os.close(held)


def test_the_trash_is_shown_restored_and_emptied(panel: RunsPanel, folder: Path):
    select(panel, "wide", "odd")
    panel.delete.click()
    panel.yes.click()
    panel.trash.value = True
    assert sorted(names(panel)) == ["odd", "wide"]
    assert (panel.delete.description, panel.restore.layout.display, panel.attach.layout.display) == (
        "Remove for good",
        "",
        "none",
    )
    select(panel, "wide")
    panel.restore.click()
    assert panel.said.value == "run wide brought back."
    select(panel, "odd")
    panel.delete.click()
    assert "Nothing brings back" in panel.question.value
    panel.yes.click()
    assert (names(panel), panel.table.widget.empty) == ([], "The trash is empty.")
    assert panel.undo.layout.display == "none"
    panel.trash.value = False
    assert sorted(names(panel)) == ["narrow", "wide"]


def test_csv_has_all_that_are_found_in_their_order(panel: RunsPanel, monkeypatch: pytest.MonkeyPatch):
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(panel.table.widget, "send", lambda content, *_: sent.append(content))
    panel.table.sort = "-step"
    panel.query.value = "step>4"
    panel.csv.click()
    (message,) = sent
    head, *lines = message["text"].splitlines()
    assert (message["name"], head.split(",")[:2]) == ("runs.csv", ["id", "name"])
    assert [line.split(",")[1] for line in lines] == ["narrow", "wide"]


def test_a_look_of_the_page_brings_live_rows_up_to_date_and_is_answered(
    panel: RunsPanel, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    run = make(folder, "live", epochs=1, end=None)
    held = lock.take(run.paths)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(panel.table.widget, "send", lambda content, *_: sent.append(content))
    panel.table.hear({"kind": "look"})
    assert "live" in names(panel)
    log = EventLog(run.paths.events)
    log.append(
        "generation", generation=2, world_size=1, ranks=[0], cut=[8], step=4, cause="scaled", seconds=0.1
    )
    log.append("steps", generation=2, first=4, last=7, world_size=1, loss=[0.3] * 3, metrics={"accuracy": 0.9}, seconds=0.1,
               busy=[0.1], samples=[24], fed=[8] * 3, checksum=[1] * 3, learning_rate=0.1)  # fmt: skip
    log.close()
    panel.table.hear({"kind": "look"})
    (row,) = [row for row in panel.table.widget.rows if row["name"] == "live"]
    assert row["cells"][1:4] == ["running", "1", "7 of 20"]
    assert [message["kind"] for message in sent] == ["looked", "looked"]
    assert all(message["pause_ms"] >= 0 for message in sent)
    panel.table.hear({"kind": "something else"})
    os.close(held)


def test_nothing_is_sent_where_nothing_has_changed(panel: RunsPanel, monkeypatch: pytest.MonkeyPatch):
    changed: list[str] = []
    panel.table.widget.observe(lambda change: changed.append(change["name"]))
    panel.refresh()
    assert changed == []


def test_many_runs_come_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs_list, "SHOWN", 2)
    panel = RunsPanel(folder)
    assert (len(names(panel)), panel.table.widget.more) == (2, 1)
    panel.table.hear({"kind": "more"})
    assert (len(names(panel)), panel.table.widget.more) == (3, 0)
    panel.close()


def test_selected_runs_are_compared(panel: RunsPanel):
    select(panel, "wide", "narrow")
    panel.compare.click()
    shown = panel.comparison
    assert (repr(shown), shown.view.layout.display) == ("<ComparePanel: wide, narrow>", "")
    assert "Last figures" in shown.tables.value
    assert shown.quantity.options == ("loss", "accuracy")
    assert 'aria-label="loss over step of wide, narrow"' in shown.plot.value
    assert shown.plot.value.count("<path") == 4
    shown.smoothing.value, shown.log_y.value, shown.quantity.value = 0.6, True, "accuracy"
    assert shown.plot.value.count("<path") == 8
    assert "accuracy, log scale" in shown.plot.value
    select(panel, "odd", "wide")
    panel.compare.click()
    assert "of odd, wide" in shown.plot.value
    assert shown.quantity.value == "accuracy"
    shown.hide.click()
    assert shown.view.layout.display == "none"


def test_a_saved_notebook_shows_the_rows_and_the_curves(panel: RunsPanel, folder: Path):
    words = panel.still()["text/html"]
    assert "narrow · stopped" in words or "narrow · finished" in words
    before = panel.still_mark()
    lk.open_run("narrow", folder).name = "slim"
    panel.refresh()
    assert panel.still_mark() != before
    compared = ComparePanel(lk.compare(lk.runs(folder)))
    assert "loss over step of wide, slim, odd" in compared.still()["text/html"]
    assert "text/html" in ComparePanel().still()
    compared.close()


def test_the_compare_panel_stands_alone(folder: Path):
    assert repr(ComparePanel()) == "<ComparePanel>"
    panel = ComparePanel(lk.compare(lk.runs(folder)))
    assert "odd" in repr(panel)
    panel.close()


def test_a_run_that_cannot_be_read_is_listed_with_its_problem(folder: Path):
    (folder / "odd-20260101-000002-0000" / "status.json").write_text("{broken")
    (folder / "odd-20260101-000002-0000" / "config.yaml").write_text("{broken")
    panel = RunsPanel(folder)
    (row,) = [row for row in panel.table.widget.rows if row["name"] == "odd"]
    assert row["cells"][1] == "unreadable"
    assert "config.yaml" in row["cause"]
    panel.close()


def test_cells_are_short_and_say_what_is_unknown():
    row = {"id": "a", "name": "a", "status": "failed", "loss": float("nan"), "note": "x " * 60, "energy_joules": 2500.0,
           "step": 3, "seconds": 95.0, "cause": "no memory"}  # fmt: skip
    columns = columns_of([row])
    cells = dict(zip([column["name"] for column in columns], line_of(row, columns)["cells"], strict=True))
    assert (cells["loss"], cells["energy_joules"], cells["step"], cells["seconds"]) == (
        "–",
        "2.5 kJ",
        "3",
        "1 min 35 s",
    )
    assert cells["note"].endswith("…")
    assert len(cells["note"]) == 60
    assert line_of(row, columns)["cause"] == "no memory"
    row |= {"energy_origin": "estimated", "no_energy": "no counter"}
    assert (
        dict(zip([one["name"] for one in columns], line_of(row, columns)["cells"], strict=True))[
            "energy_joules"
        ]
        == "≈ 2.5 kJ"
    )
    assert line_of(row, columns)["why"] == {"energy_joules": "no counter"}
    row |= {"energy_joules": None, "energy_origin": None}
    assert line_of(row, columns)["why"] == {"energy_joules": "no counter"}
    assert is_live({"status": Status.PAUSED})
    assert not is_live({"status": "unreadable"})


def test_no_cell_of_a_table_has_a_class_that_lays_out_something_else():
    laid_out = {
        name
        for selector in re.findall(r"([^{}]+)\{[^{}]*display:(?:inline-)?(?:flex|grid)", STYLE)
        for name in re.findall(r"\.([\w-]+)", selector)
    }
    drawn = (
        table(["a", "b"], [["x", 1]], numbers=(1,)) + Path(runs_table.__file__).with_suffix(".js").read_text()
    )
    used = set(re.findall(r"lk-[a-z-]+", drawn))
    assert "lk-digits" in used
    assert used & laid_out == set()
