"""The report panel and the FPGA panel: options, the card, the front, and designs beside it."""

import base64
import json
import os
import re
import threading
import time

import pytest

import lepton_kit as lk
from lepton_kit.deploy import fpga
from lepton_kit.deploy.fpga import FpgaModel
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.job_file import Record
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.deploy.report.sensitivities import LayerLoss, Sensitivity
from lepton_kit.errors import CompressionError
from lepton_kit.panels import FpgaPanel, ReportPanel
from lepton_kit.panels.card_text import OLDER, WAITING_FOR_RUN, card_table
from lepton_kit.panels.report import SEARCH, TARGET
from lepton_kit.rundir import RunPaths, Status, lock


def measured(value):
    return Figure(value, "measured")


class Job:
    """A compression that ends with a card or an error once it may."""

    def __init__(self, outcome, texts=(), wait=None):
        self.outcome, self.texts, self.wait = outcome, texts, wait or threading.Event()
        if wait is None:
            self.wait.set()

    def cancel(self):
        self.outcome = CompressionError("the compression was cancelled")
        self.wait.set()

    def result(self, tell):
        for text in self.texts:
            tell(text)
        assert self.wait.wait(30)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def card():
    def line(name, score, file_bytes, latency, **more):
        figures = {
            "score": measured(score),
            "file_bytes": measured(file_bytes),
            "latency_1_one": measured(latency),
        }
        return Row(name, "LiteRT", figures=figures, **more)

    rows = (
        line("float32", 0.99, 400_000, 0.2),
        line("int8", 0.98, 110_000, 0.05, flags=("smaller and faster",)),
        line("bad", 0.90, 500_000, 0.3),
        Row("broken", "LiteRT", error="converter crashed"),
    )
    return ReportCard(rows, metric="accuracy", higher_is_better=True, held_out=360, best="int8")


def test_report_panel_shows_the_card_and_walks_the_front(card):
    panel = ReportPanel()
    panel.present(card)
    assert "not made: converter crashed" in panel.result.value
    assert "LUTs" not in panel.result.value
    assert 'title="measured"' in panel.result.value
    assert list(panel.choice.options) == ["int8", "float32"]
    assert "-1.00 points against float LiteRT" in panel.chosen.value
    panel.choice.value = "float32"
    assert "<b>float32</b>" in panel.chosen.value
    panel.cost.value = "file size"
    assert list(panel.choice.options) == ["int8", "float32"]
    assert repr(panel) == "<ReportPanel: measured>"
    assert 'aria-label="accuracy against file size. Worth having' in panel.plot.value
    assert 'alt="accuracy against file size' in panel.still()["text/html"]
    for heading in ("accuracy (95 % interval)", "file (KiB)", "latency, batch 1 (ms; middle half)"):
        assert f">{heading}</th>" in panel.result.value
    csv, saved = re.findall(r'href="data:[a-z/]+;base64,([^"]+)"', panel.save.value)
    assert base64.b64decode(csv).decode() == card.to_csv()
    assert "file size (bytes)" in card.to_csv().splitlines()[0]
    assert json.loads(base64.b64decode(saved))["best"] == "int8"
    panel.close()


def test_intervals_stand_beside_their_figures():
    figures = {
        "score": Figure(0.98, "measured", 0.962, 0.991),
        "latency_1_one": Figure(0.05, "measured", 0.045, 0.06),
    }
    found = ReportCard((Row("int8", "LiteRT", figures=figures),), "accuracy", True, 360)
    assert "0.9800 (0.962–0.991)" in card_table(found)
    assert "0.05 (0.045–0.06)" in card_table(found)


def test_layers_that_stay_float_are_chosen_by_what_they_lose(card, synthetic, monkeypatch):
    asked = []
    losses = (LayerLoss("dense", 0.9, 0.05, 0.01, 0.1, 100), LayerLoss("conv", 0.95, 0.0, 0.0, 0.0, 100))
    found = Sensitivity("int8", "accuracy", 9, 0.95, 400, losses)
    monkeypatch.setattr(lk, "sensitivity", lambda run: found, raising=False)
    monkeypatch.setattr(
        lk, "compress", lambda run, wait, **settings: asked.append(settings) or Job(card), raising=False
    )
    run = synthetic().begin()
    run.end()
    panel = ReportPanel()
    assert panel.measure_layers.disabled
    panel.offer(run, run.view())
    panel.measure_layers.click()
    panel._looking.settled(30)
    assert panel.layers.options == (
        ("dense: loses 0.0500 (0.010 to 0.100)", "dense"),
        ("conv: loses 0.0000 (0.000 to 0.000)", "conv"),
    )
    assert "accuracy lost when only one layer is int8" in panel.losses.value
    panel.layers.value = ("conv",)
    panel.keep_float.value = 1
    panel.compress.click()
    panel._job.settled(30)
    assert asked == [{"quantize": ("float16", "int8", "mixed"), "keep_float": ("conv",)}]
    monkeypatch.setattr(lk, "sensitivity", lambda run: 1 / 0, raising=False)
    panel.measure_layers.click()
    panel._looking.settled(30)
    assert panel.complaint == "ZeroDivisionError: division by zero"
    panel.close()


def test_report_panel_compresses_a_finished_run(card, synthetic, monkeypatch):
    asked = []

    def compress(run, wait, **settings):
        asked.append((run, settings))
        return Job(card, ["timing 3 variants"])

    monkeypatch.setattr(lk, "compress", compress, raising=False)
    run = synthetic().begin()
    panel = ReportPanel()
    panel.offer(run, run.view())
    assert panel.compress.disabled
    run.end()
    panel.offer(run, run.view())
    panel.kind.value = SEARCH
    panel.compress.click()
    panel._job._thread.join(30)
    assert asked == [(run, {"quantize": ("float16", "int8"), "max_drop": "0.5%", "fine_tune_epochs": 3})]
    assert panel.card is card
    panel.kind.value = TARGET
    assert (panel.drop.disabled, panel.target.disabled) == (True, False)
    panel.target.value = " latency ≤ 20 us"
    assert panel.settings()["target"] == "latency ≤ 20 us"
    assert not panel.compress.disabled
    panel.close()


def test_report_panel_explains_formats_and_greys_out_what_is_impossible():
    panel = ReportPanel()
    assert panel.settings() == {"quantize": ("float16", "int8")}
    assert (panel.epochs.disabled, panel.drop.disabled) == (True, True)
    assert "<b>Extra epochs</b>: nothing is removed or rounded, so nothing is trained" in panel.reason.value
    assert panel.control.disabled
    panel.bits.value = "2 bits"
    assert not panel.epochs.disabled
    assert panel.settings() == {"quantize": ("float16", "int8", "qat2"), "fine_tune_epochs": 3}
    assert "<b>qat2</b>: trained with 2-bit weights" in panel.explanation.value
    panel.bits.value = "off"
    panel.formats["int4"].value = True
    assert "<b>int4</b>: 4-bit weights" in panel.explanation.value
    panel.structured.value = 0.5
    assert not panel.epochs.disabled
    assert panel.settings() == {
        "quantize": ("float16", "int8", "int4"),
        "structured": 0.5,
        "fine_tune_epochs": 3,
    }
    panel.kind.value = SEARCH
    assert panel.structured.disabled
    assert panel.sparsity.disabled
    assert not panel.drop.disabled
    assert panel.target.disabled
    assert "<b>Zeros</b>: the search chooses it" in panel.reason.value
    panel.close()


def test_report_panel_keeps_the_layers_in_float_that_lose_most(card, synthetic, monkeypatch):
    asked, losses = (
        [],
        [LayerLoss("dense", 0.9, 0.05, 0.01, 0.1, 100), LayerLoss("conv", 0.95, 0.0, 0.0, 0.0, 100)],
    )
    monkeypatch.setattr(
        lk, "compress", lambda run, wait, **settings: asked.append(settings) or Job(card), raising=False
    )
    monkeypatch.setattr(
        lk,
        "sensitivity",
        lambda run: Sensitivity("int8", "accuracy", 9, 0.95, 400, tuple(losses)),
        raising=False,
    )
    run = synthetic().begin()
    run.end()
    panel = ReportPanel(run)
    panel.keep_float.value = 2
    panel.compress.click()
    panel._job._thread.join(30)
    assert asked == [{"quantize": ("float16", "int8", "mixed"), "keep_float": ("dense",)}]
    losses.pop(0)
    panel.compress.click()
    panel._job._thread.join(30)
    assert panel.complaint == "Keep in float: no layer loses anything in int8; set it to 0"
    assert len(asked) == 1
    panel.close()


def test_the_control_of_a_run_that_pruned_can_be_left_out(card, synthetic):
    run = synthetic().begin()
    run.end()
    run.config = run.config.replace(pruning={"sparsity": 0.5})
    panel = ReportPanel(run)
    assert not panel.control.disabled
    assert "control" not in panel.settings()
    panel.control.value = False
    assert panel.settings()["control"] is False
    panel.close()


def test_a_card_that_a_run_has_already_is_shown_and_makes_room_for_the_next_run(card, synthetic):
    first, second = synthetic("demo-1").begin(), synthetic("demo-2").begin()
    for run in (first, second):
        run.end()
    card.save(first.directory / "compression")
    panel = ReportPanel(first)
    assert panel.card["int8"].get("score") == 0.98
    assert "int8" in panel.result.value
    panel.offer(second, second.view())
    assert panel.card is None
    assert panel.result.value == ""
    (second.directory / "compression").mkdir()
    (second.directory / "compression" / "card.json").write_text("{")
    panel.offer(first, first.view())
    panel.offer(second, second.view())
    assert "not a report card" in panel.complaint
    panel.close()


def test_a_stopped_run_is_compressed_too_and_its_card_ages_when_it_goes_on(card, synthetic):
    run = synthetic().begin()
    run.end("stopped")
    card.save(run.directory / "compression")
    panel = ReportPanel(run)
    assert not panel.compress.disabled
    assert panel.state.value == ""
    run.write("status", status="running", cause=None)
    panel.offer(run, run.view())
    assert panel.compress.disabled
    assert panel.state.value == WAITING_FOR_RUN
    run.end()
    run.paths.final_model.parent.mkdir(exist_ok=True)
    run.paths.final_model.touch()
    panel.offer(run, run.view())
    assert panel.state.value == OLDER
    panel.close()


def a_design(**figures):
    return FpgaModel(
        "ap_fixed<12,4>", 2, "io_parallel", "accuracy", measured(0.97), measured(0.99), measured(-0.02), figures, ("a note",)
    )  # fmt: skip


def test_fpga_panel_emulates_a_finished_run_beside_the_card(card, synthetic, monkeypatch):
    asked = []

    def convert(run, **settings):
        asked.append(settings)
        return a_design(luts=Figure(1234.0, "estimated"), cycles=Figure(9.0, "estimated"))

    monkeypatch.setattr(fpga, "missing", lambda: None)
    monkeypatch.setattr(fpga, "convert", convert)
    run = synthetic().begin()
    report = ReportPanel()
    panel = FpgaPanel(on_design=report.add)
    panel.offer(run, run.view())
    assert panel.emulate.disabled
    run.end()
    for one in (report, panel):
        one.offer(run, run.view())
    report.present(card)
    panel.bits.value, panel.whole.value, panel.reuse.value = 12, 4, 2
    assert "from -8 to almost 8 in steps of 1/256" in panel.explanation.value
    panel.emulate.click()
    panel._job._thread.join(30)
    assert asked == [{"precision": "ap_fixed<12,4>", "reuse_factor": 2, "estimate": True}]
    assert "about 1,234 LUTs and 9 cycles (estimated)" in panel.result.value
    assert "1,234 est." in report.result.value
    assert "FPGA" in report.result.value
    report.add(a_design(luts=Figure.not_run("too large")))
    assert report.result.value.count("fpga ap_fixed") == 1
    assert repr(panel) == "<FpgaPanel: ap_fixed<12,4>, reuse factor 2>"
    for one in (report, panel):
        one.close()


def test_fpga_panel_refuses_a_format_that_cannot_be_and_says_what_is_missing(synthetic, monkeypatch):
    monkeypatch.setattr(fpga, "missing", lambda: "fpga: needs hls4ml; install lepton_kit[fpga]")
    run = synthetic().begin()
    run.end()
    panel = FpgaPanel(run)
    assert panel.emulate.disabled
    assert "needs hls4ml" in panel.state.value
    panel.bits.value = 4
    assert panel.complaint == "whole bits: got 6; expected at most 4"
    panel.whole.value = 2
    assert panel.complaint == ""
    panel.close()


def test_fpga_panel_tells_why_it_failed(synthetic, monkeypatch):
    def refuse(*_, **__):
        raise CompressionError("layer 'odd' (LayerNormalization) has no form in hls4ml")

    monkeypatch.setattr(fpga, "missing", lambda: None)
    monkeypatch.setattr(fpga, "convert", refuse)
    run = synthetic().begin()
    run.end()
    panel = FpgaPanel(run)
    panel.emulate.click()
    panel._job._thread.join(30)
    assert "layer 'odd'" in panel.complaint
    assert not panel.emulate.disabled
    panel.close()


def test_report_panel_tells_why_it_failed(synthetic, monkeypatch):
    def refuse(*_, **__):
        raise CompressionError("layer 'odd': can't be converted; give skip=('odd',)")

    monkeypatch.setattr(lk, "compress", refuse, raising=False)
    run = synthetic().begin()
    run.end()
    panel = ReportPanel(run)
    panel.compress.click()
    panel._job._thread.join(30)
    assert panel.complaint == "layer 'odd': can't be converted; give skip=('odd',)"
    panel.close()


def test_a_compression_that_is_under_way_can_be_cancelled(card, synthetic, monkeypatch):
    begun = Job(card, ["timing 3 variants"], threading.Event())
    monkeypatch.setattr(lk, "compress", lambda *_, **__: begun, raising=False)
    run = synthetic().begin()
    run.end()
    panel = ReportPanel(run)
    assert panel.cancel.disabled
    panel.compress.click()
    wait_for(lambda: panel.state.value == "timing 3 variants")
    assert panel.compress.disabled
    assert not panel.cancel.disabled
    panel.cancel.click()
    panel._job._thread.join(30)
    assert panel.complaint == "the compression was cancelled"
    assert panel.card is None
    assert panel.cancel.disabled
    assert not panel.compress.disabled
    panel.close()


def test_a_compression_that_another_notebook_began_is_followed_to_its_card(card, synthetic):
    run = synthetic().begin()
    run.end()
    folder = run.directory / "compression"
    folder.mkdir()
    paths = RunPaths(folder)
    held = lock.take(paths)
    record = Record(paths)
    record.tell("timing 3 variants")
    panel = ReportPanel(run)
    wait_for(lambda: panel.state.value == "timing 3 variants")
    assert panel.compress.disabled
    card.save(folder)
    record.status(Status.FINISHED)
    os.close(held)
    panel._job._thread.join(30)
    assert "int8" in panel.result.value
    assert not panel.compress.disabled
    panel.close()


def wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("did not come")
