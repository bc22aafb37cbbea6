"""The report panel where another run comes while it works for the one before."""

import threading
from types import SimpleNamespace

import pytest

import lepton_kit as lk
from lepton_kit.deploy import fpga
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure
from lepton_kit.deploy.report.sensitivities import LayerLoss, Sensitivity
from lepton_kit.errors import CompressionError
from lepton_kit.panels import FpgaPanel, ReportPanel


def test_losses_of_another_runs_layers_are_not_offered(synthetic, monkeypatch):
    measured_all, losses = threading.Event(), (LayerLoss("dense", 0.9, 0.05, 0.01, 0.1, 100),)

    def sensitivity(run):
        assert measured_all.wait(30)
        return Sensitivity("int8", "accuracy", 9, 0.95, 400, losses)

    monkeypatch.setattr(lk, "sensitivity", sensitivity, raising=False)
    first, second = synthetic("first").begin(), synthetic("second").begin()
    for run in (first, second):
        run.end()
    panel = ReportPanel(first)
    panel.measure_layers.click()
    panel.offer(second, second.view())
    assert panel.measure_layers.disabled
    measured_all.set()
    panel._looking.settled(30)
    assert (panel.layers.options, panel.losses.value) == ((), "")
    assert not panel.measure_layers.disabled
    panel.measure_layers.click()
    panel._looking.settled(30)
    assert [layer for _, layer in panel.layers.options] == ["dense"]
    panel.close()


class Job:
    def __init__(self, goes_on):
        self.goes_on = goes_on

    def result(self, tell):
        assert self.goes_on.wait(30)
        return ReportCard((), metric="accuracy", higher_is_better=True, held_out=9)


def test_a_run_that_ends_while_another_is_compressed_is_the_next_to_compress(synthetic, monkeypatch):
    goes_on, asked = threading.Event(), []
    monkeypatch.setattr(
        lk, "compress", lambda run, wait, **settings: asked.append(run.id) or Job(goes_on), raising=False
    )
    first, second = synthetic("first").begin(), synthetic("second").begin()
    first.end()
    panel = ReportPanel(first)
    panel.compress.click()
    panel.offer(second, second.view())
    second.end()
    panel.offer(second, second.view())
    assert panel.compress.disabled
    goes_on.set()
    panel._job.settled(30)
    assert (panel.run.id, panel.compress.disabled) == ("second", False)
    assert "first is measured: its card stands with that run" in panel.state.value
    panel.compress.click()
    panel._job.settled(30)
    assert asked == ["first", "second"]
    assert panel.card is not None
    panel.close()


def design():
    figure = Figure(1.0, "measured")
    return SimpleNamespace(
        name="fpga",
        metric="accuracy",
        score=figure,
        float_score=figure,
        notes=(),
        figures={"luts": figure, "cycles": figure},
    )


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_a_design_of_the_run_before_is_not_put_beside_another_runs_card(synthetic, monkeypatch, ended, fails):
    goes_on, told = threading.Event(), []

    def convert(run, **settings):
        assert goes_on.wait(30)
        if fails:
            raise CompressionError("no room")
        return design()

    monkeypatch.setattr(fpga, "convert", convert)
    first, second = synthetic("first").begin(), synthetic("second").begin()
    first.end()
    panel = FpgaPanel(on_design=told.append)
    panel.missing = None
    panel.offer(first, first.view())
    panel.emulate.click()
    if ended:
        second.end()
    panel.offer(second, second.view())
    goes_on.set()
    panel._job.settled(30)
    assert panel.emulate.disabled is not ended
    assert panel.run == (second if ended else None)
    assert len(told) == (not ended and not fails)
    assert ("choose that run to see it" in panel.state.value) == (ended and not fails)
    panel.close()
