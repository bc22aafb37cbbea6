from types import SimpleNamespace

import pytest

import lepton_kit as lk
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.panels import Workbench
from lepton_kit.panels.data_model import OWN
from lepton_kit.panels.training import allowed
from lepton_kit.rundir import Status
from tests.configs import any_config


@pytest.fixture
def bench(synthetic, tmp_path, monkeypatch):
    """A workbench whose `launch` starts a synthetic run."""
    launched = []

    def launch(model, data, **options):
        launched.append((model, data, options))
        return synthetic(f"demo-{len(launched)}", ranks=options["workers"]).begin()

    monkeypatch.setattr(lk, "launch", launch, raising=False)
    monkeypatch.setattr(lk, "cool", lambda: None, raising=False)
    made = Workbench(runs_dir=tmp_path / "runs", warm=False)
    made.launched = launched
    yield made
    made.close()


def quiet(bench):
    """Stop the pump, so that the test says when the panel looks."""
    bench.live.detach()
    return bench.run


def test_start_launches_what_the_panels_say(bench):
    bench.workers.value = 3
    bench.global_batch.value = 96
    bench.epochs.value = 2
    bench.seed.value = 9
    bench.learning_rate.value = 0.01
    bench.data_model.hidden_size.value = 32
    bench.compression.pattern.value = "unstructured"
    bench.compression.bits.value = "4"
    bench.start.click()
    model, data, options = bench.launched[0]
    assert repr(model) == "LeptonModel((8, 8, 1), 10, hidden_size=32, num_layers=3)"
    assert data == lk.data.sample("digits")
    assert options["workers"] == 3
    assert options["global_batch"] == 96
    assert (options["epochs"], options["seed"], options["learning_rate"]) == (2, 9, 0.01)
    assert options["pruning"]["sparsity"] == 0.8
    assert options["quantization_aware"] == 4
    assert bench.run.id == "demo-1"
    assert repr(bench) == "<Workbench: 3 workers, running>"


def test_defaults_are_a_plain_run(bench):
    assert repr(bench) == "<Workbench: 2 workers, idle>"
    bench.start.click()
    options = bench.launched[0][2]
    assert "pruning" not in options
    assert "quantization_aware" not in options
    assert options["workers"] == 2


def test_buttons_follow_the_run(bench):
    bench.data_model.ready()
    assert not bench.start.disabled
    assert bench.stop.disabled
    bench.start.click()
    run = quiet(bench)
    assert bench.start.disabled
    assert not bench.stop.disabled
    assert bench.epochs.disabled
    assert bench.data_model.source.disabled
    bench.pause.click()
    bench.stop.click()
    assert run.asked == [("pause", None), ("stop", None)]
    run.end("stopped")
    bench.live.update()
    assert not bench.start.disabled
    assert not bench.resume.disabled
    assert not bench.epochs.disabled
    bench.start.click()
    assert len(bench.launched) == 2


def test_start_twice_starts_once(bench):
    bench.start.click()
    bench.start.click()
    assert len(bench.launched) == 1


def test_slider_scales_the_running_run_once_it_rests(bench):
    bench.start.click()
    run = quiet(bench)
    bench.workers.value = 3
    bench.workers.value = 4
    assert run.asked == []
    bench._scale.flush()
    assert run.asked == [("scale", 4)]


def test_slider_shows_what_the_run_wants(bench):
    bench.start.click()
    run = quiet(bench)
    run.reform(1, "asked from a shell")
    bench.live.update()
    assert bench.workers.value == 1
    bench._scale.flush()
    assert run.asked == []


def test_slider_waits_for_its_own_request(bench):
    bench.start.click()
    run = quiet(bench)
    bench.workers.value = 3
    bench._scale.flush()
    run.advance(1)
    bench.live.update()
    assert bench.workers.value == 3
    assert "<b>2</b> wanted" in bench.sharding.observed.value
    run.reform(2, "asked", wanted=3)
    bench.live.update()
    assert "<b>3</b> wanted · <b>1</b> starting · <b>2</b> training" in bench.sharding.observed.value
    run.reform(2, "asked again", wanted=2)
    bench.live.update()
    assert bench.workers.value == 2


def test_a_run_with_a_schedule_shows_it_until_it_is_over(bench, synthetic):
    run = synthetic("scheduled").begin()
    stored = {"kind": "keras", "path": "a.keras", "schedule": "CosineDecay(0.1)"}
    run.config = any_config(model=stored)
    bench.attach(run)
    quiet(bench)
    run.advance(3)
    bench.live.update()
    assert bench.training.schedule.value == "Learning rate: CosineDecay(0.1), now 0.001"
    assert bench.training.scheduled
    run.end()
    bench.live.update()
    assert not bench.training.scheduled


def test_learning_rate_reaches_the_running_run(bench):
    bench.start.click()
    run = quiet(bench)
    bench.learning_rate.value = 1e-4
    bench._rate.flush()
    assert run.asked == [("set", {"learning_rate": 0.0001})]


def test_a_wrong_setting_is_told_in_the_panel(bench, monkeypatch):
    def refuse(*_, **__):
        raise ConfigError(*refused, given=0, rule="another one")

    monkeypatch.setattr(lk, "launch", refuse, raising=False)
    refused = ["training.epochs"]
    bench.start.click()
    assert bench.epochs.problem == "training.epochs: got 0; expected another one"
    assert bench.training.complaint == ""
    assert bench.start.disabled
    assert "Start waits: see Epochs" in bench.training.state.value
    bench.epochs.value = 6
    assert bench.epochs.problem == ""
    assert not bench.start.disabled
    refused = ["data.path"]
    bench.start.click()
    assert bench.training.complaint == "data.path: got 0; expected another one"
    assert bench.run is None
    assert not bench.start.disabled


def test_a_refused_request_is_told_in_the_panel(bench, monkeypatch):
    bench.start.click()
    run = quiet(bench)

    def refuse():
        raise RunError("demo-1 is finished; pause needs a run that is under way")

    monkeypatch.setattr(run, "pause", refuse)
    bench.pause.click()
    assert "needs a run that is under way" in bench.training.complaint


def test_resume_follows_the_run_again(bench):
    bench.start.click()
    run = quiet(bench)
    run.end("stopped")
    bench.live.update()
    assert not bench.live.following
    bench.resume.click()
    assert run.asked == [("resume", None)]
    assert bench.live.following


def test_attach_by_id_and_from_the_list(bench, synthetic, tmp_path):
    run = synthetic("older-1").begin()
    run.advance(12)
    run.end()
    bench.runs.refresh()
    bench.runs.table.selected = ["older-1"]
    bench.runs.attach.click()
    assert bench.run.id == "older-1"
    assert bench.live.seen.step == 12
    again = Workbench("older-1", runs_dir=tmp_path / "runs", warm=False)
    assert again.live.seen.step == 12
    again.close()


def test_show_the_code_before_a_run_gives_the_same_configuration(bench):
    bench.epochs.value = 3
    bench.data_model.ready()
    bench.show_code.value = True
    assert bench.training.complaint == ""
    told = "".join(bench.training.code.texts.values())
    assert "epochs=3" in told
    assert "hidden_size: 64" in told
    bench.show_code.value = False
    assert not bench.training.code.shown


def test_code_asked_for_while_the_data_are_read_comes_when_they_are(bench):
    bench.data_model.ready()
    bench.data_model.refresh()  # the same data, read again
    bench.show_code.value = True
    bench.data_model.ready()
    assert bench.training.code.shown
    assert "Python of the next run" in bench.training.code.texts


def test_own_data_stand_in_the_code_and_start_waits_for_them(bench, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("size,kind\n" + "".join(f"{k % 7},{'ab'[k % 2]}\n" for k in range(60)))
    bench.data_model.ready()
    assert not bench.start.disabled
    bench.data_model.source.value = OWN
    assert bench.start.disabled
    assert "Start waits: type a path" in bench.training.state.value
    bench.data_model.path.value = str(path)
    bench.data_model._soon.flush()
    bench.data_model.ready()
    assert bench.start.disabled
    bench.data_model.pickers.fields["target"].value = "kind"
    bench.data_model.ready()
    assert not bench.start.disabled
    assert bench.training.state.value == "idle"
    bench.show_code.value = True
    assert "t.csv" in "".join(bench.training.code.texts.values())
    assert "target: kind" in "".join(bench.training.code.texts.values())
    bench.start.click()
    assert bench.launched[0][1] == lk.data.table(path, target="kind")


def test_show_the_code_of_a_run_is_that_run(bench):
    bench.start.click()
    run = quiet(bench)
    bench.show_code.value = True
    assert "import lepton_kit as lk" in "".join(bench.training.code.texts.values())
    assert f"epochs: {run.config.training.epochs}" in "".join(bench.training.code.texts.values())


def test_warms_what_the_panels_say(tmp_path, monkeypatch):
    warmed, cooled = [], []
    monkeypatch.setattr(lk, "warm", lambda model, data, **options: warmed.append(options), raising=False)
    monkeypatch.setattr(lk, "cool", lambda: cooled.append(True), raising=False)
    bench = Workbench(runs_dir=tmp_path)
    bench._warming.result(30)
    assert warmed[0]["workers"] == 2
    bench.workers.value = 1
    assert bench._warm_soon.waiting
    bench._warm_soon.flush()
    bench._warming.result(30)
    assert warmed[1]["workers"] == 1
    bench.close()
    assert cooled == [True]


def test_own_data_and_model(tmp_path):
    model = SimpleNamespace(name="mine")
    data = lk.data.sample("digits")
    bench = Workbench(data=data, model=model, runs_dir=tmp_path, warm=False)
    assert bench.data_model.data is data
    assert bench.data_model.model is model
    assert bench.data_model.hidden_size.disabled
    bench.close()


def test_allowed_buttons():
    assert allowed(Status.FINISHED) == {"start": True, "pause": False, "resume": False, "stop": False}
    assert allowed(Status.INTERRUPTED)["resume"]
    assert allowed(Status.PAUSED) == {"start": False, "pause": False, "resume": True, "stop": True}
    assert not any(allowed(Status.STOPPING).values())
    assert not allowed(None, busy=True)["start"]
