import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image

from lepton_kit.errors import ConfigError
from lepton_kit.panels import LivePanel, telling
from lepton_kit.panels.curves import POINTS, curves_of, far_values, main_metric, smooth
from lepton_kit.panels.figure import static_figure
from lepton_kit.panels.picture import picture_of, picture_text
from lepton_kit.rundir.view import RunView


@pytest.fixture
def panel():
    made = LivePanel()
    yield made
    made.close()


def curve(panel, name):
    return panel.figure.plots.curve(name)


def test_attach_shows_every_point_and_follows(panel, synthetic):
    run = synthetic(ranks=3).begin()
    for _ in range(6):
        run.advance(4)
    panel.attach(run)
    assert np.array_equal(curve(panel, "loss")[0], np.arange(1, 25))
    assert list(curve(panel, "validation_loss")[0]) == [12, 24]
    assert list(curve(panel, "per_rank")[0]) == [0, 1, 2]
    assert panel.following
    assert repr(panel) == "<LivePanel: demo-1, running>"
    panel.detach()
    run.advance(4)
    panel.update()
    assert curve(panel, "loss")[0][-1] == 28
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
    version = panel.figure.widget.version
    assert not panel.update()
    assert not panel.figure.show(panel.seen)
    assert panel.figure.widget.version == version
    run.advance(1)
    assert panel.update()
    assert panel.figure.widget.version == version + 1


def test_a_reloaded_page_would_get_the_data_of_now(panel, synthetic):
    run = synthetic().begin()
    run.advance(10)
    panel.attach(run)
    state = panel.figure.widget.get_state()
    loss = np.frombuffer(state["curve_loss"], np.float32)
    assert list(loss[:10]) == list(range(1, 11))
    assert [plot["name"] for plot in state["plots"]][:2] == ["loss", "metric"]


def test_two_panels_watch_one_run(panel, synthetic):
    run = synthetic().begin()
    other = LivePanel()
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
    run.advance(5)
    run.alive = False
    panel.attach(run)
    assert panel.state == "interrupted"
    assert panel.following  # it may come back
    assert "the driver died" in panel.summary.value
    assert " left (estimated)" not in panel.summary.value
    assert "workers of wanted" not in panel.summary.value
    assert "No worker runs any more" in panel.workers.table.value
    run.alive = True
    run.advance(1)
    panel.detach()
    panel.update()
    assert panel.state == "running"
    assert " left (estimated)" in panel.summary.value
    assert "No worker runs any more" not in panel.workers.table.value


def test_a_page_that_arrives_gets_everything_again(panel, synthetic, monkeypatch):
    run = synthetic().begin()
    run.advance(5)
    run.end()
    panel.attach(run)
    assert not panel.following
    sent, told = [], []
    for part in (panel.figure.widget, panel.summary, panel.workers.table, panel.problem.layout):
        monkeypatch.setattr(part, "send_state", lambda *_, part=part, **__: sent.append(part))
    panel.on_arrival(lambda: told.append(True))
    panel.figure.plots.hear({"kind": "arrived", "version": 0})
    assert told == [True]
    assert {id(part) for part in sent} == {
        id(part) for part in (panel.figure.widget, panel.summary, panel.workers.table, panel.problem.layout)
    }


def test_a_page_that_arrives_while_a_log_is_read_draws_only_whole_runs(panel, synthetic, monkeypatch):
    old, new = synthetic("old-1").begin(), synthetic("new-1").begin()
    for _ in range(30):
        old.advance(1)
        new.advance(1)
    panel.attach(old)
    panel.detach()
    shown: list[int] = []
    real = RunView._on_steps

    def slowly(view, event):
        real(view, event)
        if event["last"] == 20:  # half of the log is read
            panel._tick()
            shown.append(len(curve(panel, "loss")[0]))

    monkeypatch.setattr(RunView, "_on_steps", slowly)
    panel.attach(new)
    panel.detach()
    assert shown == [30]
    assert panel.run is new


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
    for name in curves.order:
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
    assert list(x) == [0, 8, 14, 18]


def test_one_report_is_a_staircase_of_one_step(synthetic):
    run = synthetic(ranks=2).begin()
    run.advance(6)
    x, y = curves_of(run.view()).world_size
    assert list(x) == [0, 6]
    assert list(y) == [2, 2]


def test_metric_worth_a_plot():
    assert main_metric(["loss", "mae"]) == "mae"
    assert main_metric(["mae", "top_accuracy"]) == "top_accuracy"
    assert main_metric(["loss"]) is None


def test_sparsity_joins_the_accuracy(synthetic):
    run = synthetic(sparsity=True).begin()
    run.advance(12)
    figure = static_figure(run.view())
    assert "share of zeros" in figure.layout.annotations[1].text
    assert [len(trace.x) for trace in figure.data if trace.name == "share of zeros"] == [1]


def test_a_run_that_has_ended_names_the_epoch_of_its_last_step(synthetic):
    run = synthetic().begin()
    run.advance(12)
    run.end("finished", "EarlyStopping: val_loss has not improved")
    told = telling.summary(run.view(), run.id)
    assert "epoch 1 of 5 · step 12 of 60" in told
    assert "EarlyStopping: val_loss has not improved" in told


def test_a_figure_shows_what_the_switches_of_the_live_view_do(synthetic):
    run = synthetic(steps_per_epoch=40).begin()
    run.advance(30)
    run.write("steps", generation=0, first=30, last=31, world_size=2, loss=[5000.0], metrics={"loss": 5000.0},
              seconds=0.1, busy=[0.1, 0.1], samples=[64, 64], checksum=[0, 0], learning_rate=0.001)  # fmt: skip
    view = run.view()
    plain, every = static_figure(view), static_figure(view, all_values=True)
    assert plain.layout.yaxis.range[1] < 10
    assert every.layout.yaxis.range is None
    loss = [trace for trace in static_figure(view, smoothing=0.5, log=True).data if trace.name == "training"][
        :2
    ]
    assert len(loss[0].x) == len(loss[1].x) == 31
    assert loss[1].y[-1] < loss[0].y[-1]
    assert static_figure(view, log=True).layout.yaxis.type == "log"


def test_far_values_are_left_out_and_counted():
    falling = 2.3 * np.exp(-np.arange(400) / 60) + 0.05
    assert far_values([falling]) is None
    spiked = falling.copy()
    spiked[[100, 200]] = 900.0
    low, high, count = far_values([spiked, np.array([0.5, np.nan])])
    assert (high, count) == (pytest.approx(2.35), 2)
    assert low == pytest.approx(falling.min())
    assert far_values([np.array([]), np.array([np.nan])]) is None
    assert far_values([np.zeros(50)]) is None


def test_smoothing_forgets_and_skips_what_is_not_finite():
    assert smooth(np.array([1.0, np.nan, 3.0]), 0.0).tolist() == pytest.approx(
        [1.0, np.nan, 3.0], nan_ok=True
    )
    assert smooth(np.full(5, 2.0), 0.9).tolist() == pytest.approx([2.0] * 5)
    with pytest.raises(ConfigError, match="smoothing: got 1"):
        smooth(np.ones(3), 1)


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


def test_what_a_run_takes_of_the_machine_is_drawn_once_it_is_known(panel, synthetic):
    run = synthetic().begin()
    run.advance(6)
    panel.attach(run)
    panel.detach()
    shown = {plot["name"]: plot for plot in panel.figure.widget.plots}
    assert shown["cores"]["optional"]
    assert len(curve(panel, "cores")[0]) == 0
    assert len(static_figure(run.view()).data) == 8
    run.write("resources", step=6, cores=1.5, memory_bytes=800_000_000)
    run.write("resources", step=9, cores=1.75, memory_bytes=900_000_000)
    run.write("resources", step=9, cores="many", memory_bytes=1)
    panel.update()
    assert list(curve(panel, "cores")[1]) == [1.5, 1.75]
    assert list(curve(panel, "memory")[1]) == [8e8, 9e8]
    assert len(curve(panel, "gpu")[0]) == 0
    assert [trace.name for trace in static_figure(run.view()).data][-2:] == ["all workers", "all workers"]
    run.reform(1, "worker 1 was lost")  # goes on from step 6
    assert list(curves_of(run.view()).cores[0]) == [6]


def test_what_a_larger_batch_would_cost_is_said_once_it_is_known(synthetic):
    run = synthetic().begin()
    run.advance(12)
    assert "noise scale" not in telling.summary(run.view(), run.id)
    rows = [[step, 128, 2, 1, 1.1, 1.0] for step in range(20)]
    run.write("steps", generation=0, first=12, last=13, world_size=2, loss=[1.0], metrics={"loss": 1.0}, seconds=0.1,
              busy=[0.1, 0.1], samples=[64, 64], checksum=[0], learning_rate=0.001, norms=rows, accumulated=2)  # fmt: skip
    told = telling.summary(run.view(), run.id)
    assert "noise scale ≈ 14.1 samples (estimated, 14.1 to 14.1): 256 → 1,024 costs 3.8 × the epochs" in told
