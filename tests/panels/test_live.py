import base64
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lepton_kit as lk
from lepton_kit.panels import LivePanel, telling
from lepton_kit.panels.curves import POINTS, curves_of, main_metric
from lepton_kit.panels.figure import ORDER, LiveFigure, static_figure
from lepton_kit.panels.picture import picture_of, picture_text


@pytest.fixture
def panel():
    made = LivePanel().ready()
    yield made
    made.close()


def curve(panel, name):
    return panel.figure.widget.data[ORDER.index(name)]


def test_attach_shows_every_point_and_follows(panel, synthetic):
    run = synthetic(ranks=3).begin()
    for _ in range(6):
        run.advance(4)
    panel.attach(run)
    assert np.array_equal(curve(panel, "loss").x, np.arange(1, 25))
    assert list(curve(panel, "validation_loss").x) == [12, 24]
    assert list(curve(panel, "per_rank").x) == [0, 1, 2]
    assert panel.following
    assert repr(panel) == "<LivePanel: demo-1, running>"
    panel.detach()
    run.advance(4)
    panel.update()
    assert curve(panel, "loss").x[-1] == 28
    run.end()
    panel.update()
    assert repr(panel) == "<LivePanel: demo-1, finished>"


def test_pump_ends_with_the_run(panel, synthetic):
    run = synthetic().begin()
    panel.attach(run)
    run.end("failed", "the loss is NaN at step 3")
    panel._pump._thread.join(10)
    assert not panel.following
    assert "the loss is NaN at step 3" in panel.summary.value
    assert panel.complaint == ""


def test_nothing_is_sent_when_nothing_changed(panel, synthetic):
    run = synthetic().begin()
    run.advance(4)
    panel.attach(run)
    panel.detach()
    sent = panel.figure.sent
    assert not panel.update()
    assert not panel.figure.show(panel.seen)
    assert panel.figure.sent == sent
    panel.figure.forget()
    assert panel.figure.show(panel.seen)


def test_a_reloaded_page_would_get_the_data_of_now(panel, synthetic):
    run = synthetic().begin()
    run.advance(10)
    panel.attach(run)
    state = panel.figure.widget.get_state()
    loss = state["_widget_data"][ORDER.index("loss")]
    assert loss["x"]["shape"] == (10,)
    assert state["_widget_layout"]["height"] == 430


def test_two_panels_watch_one_run(panel, synthetic):
    run = synthetic().begin()
    other = LivePanel().ready()
    panel.attach(run)
    other.attach(run)
    for shown in (panel, other):
        shown.detach()
    run.advance(12)
    for shown in (panel, other):
        assert shown.update()
        assert shown.seen.step == 12
    other.close()


def test_a_dead_driver_is_told_and_its_return_too(panel, synthetic):
    run = synthetic().begin()
    run.alive = False
    panel.attach(run)
    assert panel.state == "interrupted"
    assert "the driver died" in panel.summary.value
    run.alive = True
    run.advance(1)
    panel.detach()
    panel.update()
    assert panel.state == "running"


def test_a_page_that_arrives_gets_everything_again(panel, synthetic):
    run = synthetic().begin()
    run.advance(5)
    run.end()
    panel.attach(run)
    assert not panel.following
    panel._arrived()
    assert panel.following
    panel._repeat_at = [0.0]
    sent = panel.figure.sent
    panel.detach()
    assert not panel._tick()
    assert panel.figure.sent == sent + 1


def test_pictures_wait_while_the_pump_feeds_the_view(panel, synthetic, monkeypatch):
    run = synthetic().begin()
    run.advance(5)
    run.end()
    panel.attach(run)
    panel.detach()
    monkeypatch.setattr(panel, "update", lambda: False)
    drawn = []
    for draw in (panel.still, panel.plotly):
        thread = threading.Thread(target=lambda draw=draw: drawn.append(draw()))
        with panel._lock:
            thread.start()
            thread.join(0.3)
            assert thread.is_alive()
        thread.join(60)
    assert len(drawn) == 2
    assert None not in drawn


def test_plots_are_fed_while_a_cell_imports_pandas_for_the_first_time(tmp_path):
    (tmp_path / "pandas.py").write_text(
        "import time\ntime.sleep(1)\nclass Series: pass\nDataFrame = Index = Series\n"
    )
    code = """
import sys, threading
from lepton_kit.panels.figure import LiveFigure
from lepton_kit.rundir.view import RunView
figure = LiveFigure()
threading.Thread(target=__import__, args=("pandas",)).start()
while "pandas" not in sys.modules:
    pass
assert figure.show(RunView())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(lk.__file__).parents[1]}"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_that_vanishes_is_told_in_the_panel(panel, synthetic, monkeypatch):
    panel.attach(synthetic().begin())
    panel.detach()
    with monkeypatch.context() as broken:
        broken.setattr(panel.seen, "refresh", lambda: (_ for _ in ()).throw(OSError("no such folder")))
        with pytest.raises(OSError, match="no such folder"):
            panel._tick()
    assert panel.complaint == "OSError: no such folder"
    panel._tick()
    assert panel.complaint == ""


def test_curves_stay_bounded_however_long_the_run(synthetic):
    run = synthetic(steps_per_epoch=4000, epochs=5).begin()
    for _ in range(10):
        run.advance(2000)
    curves = curves_of(run.view())
    for name in ORDER:
        x, y = getattr(curves, name)
        assert len(x) == len(y) <= POINTS


def test_world_size_is_a_staircase(synthetic):
    run = synthetic(ranks=1).begin()
    for ranks in (1, 3, 2):
        run.reform(ranks, "asked")
        for _ in range(3):
            run.advance(2)
    x, y = curves_of(run.view()).world_size
    assert list(y) == [1, 3, 2, 2]
    assert x[0] == 0
    assert x[-1] == 18


def test_metric_worth_a_plot():
    assert main_metric(["loss", "mae"]) == "mae"
    assert main_metric(["mae", "top_accuracy"]) == "top_accuracy"
    assert main_metric(["loss"]) is None


def test_sparsity_joins_the_accuracy(synthetic):
    run = synthetic(sparsity=True).begin()
    run.advance(12)
    figure = static_figure(run.view())
    assert "share of zeros" in figure.layout.annotations[1].text
    assert len(figure.data[ORDER.index("sparsity")].x) == 1


def test_a_run_that_has_ended_names_the_epoch_of_its_last_step(synthetic):
    run = synthetic().begin()
    run.advance(12)
    run.end("finished", "EarlyStopping: val_loss has not improved")
    told = telling.summary(run.view(), run.id)
    assert "epoch 1 of 5 · step 12 of 60" in told
    assert "EarlyStopping: val_loss has not improved" in told


def test_many_points_are_a_line_without_markers_also_when_sent_again(synthetic):
    run = synthetic(steps_per_epoch=40).begin()
    run.advance(30)
    figure = LiveFigure()
    loss = figure.widget.data[ORDER.index("loss")]
    for _ in range(2):
        figure.show(run.view())
        assert loss.mode == "lines"
        figure.forget()
    figure.close()


def test_telling_a_run(synthetic):
    run = synthetic(ranks=2).begin()
    run.advance(12)
    run.write("incident", worker=1, rank=1, what="killed by signal 9")
    run.write("request", verb="scale", workers=99, accepted=False, cause="at most 4 workers")
    run.reform(1, "worker 1 was lost", wanted=2)
    view = run.view()
    told = telling.summary(view, run.id)
    assert 'aria-valuenow="20"' in told
    assert "epoch 2 of 5 · step 12 of 60" in told
    assert "2 wanted · 1 starting · 0 standby · 1 training" in telling.workers(view)
    log = telling.incidents(view)
    assert "worker 1 (rank 1): killed by signal 9" in log
    assert "from step 12 on 1 worker: worker 1 was lost; training paused 0.31 s" in log
    assert "scale: at most 4 workers" in log


def test_telling_escapes_what_comes_from_outside(synthetic):
    run = synthetic().begin()
    run.write("warning", text="<script>alert(1)</script>")
    run.end("failed", "<b>bad</b>")
    assert "<script>" not in telling.incidents(run.view())
    assert "<b>bad" not in telling.summary(run.view(), run.id)


def test_still_picture(synthetic):
    run = synthetic().begin()
    assert picture_text(run.view()) is None
    run.advance(24)
    data = picture_of(run.view())
    image = Image.open(io.BytesIO(data))
    assert image.size == (1680, 380)
    assert len(data) < 40_000
    assert len(set(image.convert("RGBA").get_flattened_data())) > 5


def test_a_saved_notebook_holds_text_and_picture(panel, synthetic):
    assert "No run yet" in panel.still()["text/html"]
    run = synthetic().begin()
    run.advance(5)
    run.end()
    panel.attach(run)
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == "<LivePanel: demo-1, finished>"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(panel.still()["image/png"]).startswith(b"\x89PNG")
    assert 'alt="Run demo-1, finished, step 5 of 60. Training loss' in panel.still()["text/html"]


def test_the_end_of_a_run_renews_the_displayed_stills(panel, synthetic, monkeypatch):
    renewed = []
    monkeypatch.setattr("lepton_kit.panels.live.renew_displayed", lambda: renewed.append(panel.state))
    run = synthetic().begin()
    run.advance(5)
    panel.attach(run)
    panel.detach()
    assert panel._tick()
    assert renewed == []
    run.end()
    assert not panel._tick()
    assert renewed == ["finished"]
