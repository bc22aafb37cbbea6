"""A workbench that is attached to a run shows that run's set-up, and sends it nothing that is not meant for it."""

import pytest

import lepton_kit as lk
from lepton_kit.errors import ModelError
from lepton_kit.panels import Workbench
from lepton_kit.panels.under_way import UnderWay, runs_under_way
from lepton_kit.rundir import lock
from lepton_kit.rundir.paths import write_atomically
from tests.configs import any_config


@pytest.fixture
def bench(tmp_path):
    made = Workbench(runs_dir=tmp_path / "runs", warm=False)
    yield made
    made.close()


def other_run(synthetic, name="other-1", **model):
    run = synthetic(name, ranks=3).begin()
    run.config = any_config(
        name="mine", seed=7,
        model={"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10, "hidden_size": 30, "num_layers": 2} | model,
        training={"epochs": 77, "global_batch": 96, "learning_rate": 2e-6},
        workers={"count": 3}, pruning={"sparsity": 0.5, "frequency": 9}, quantization_aware={"bits": 4},
    )  # fmt: skip
    return run


def test_it_shows_the_runs_own_set_up(bench, synthetic):
    bench.epochs.value, bench.global_batch.value = 3, 64
    run = other_run(synthetic)
    bench.attach(run)
    bench.live.detach()
    bench.data_model.ready()
    assert (bench.epochs.value, bench.seed.value, bench.training.name.value) == (77, 7, "mine")
    assert (bench.global_batch.value, bench.workers.value) == (96, 3)
    assert bench.training.rate == pytest.approx(2e-6)
    assert (bench.data_model.hidden_size.value, bench.data_model.num_layers.value) == (30, 2)
    assert bench.data_model.source.value == "of other-1"
    assert "lk.data.sample(&#x27;digits&#x27;)" in bench.data_model.look.value
    assert "hidden_size=30" in bench.data_model.model_note.value
    assert bench.compression.settings()["pruning"]["frequency"] == 9
    assert bench.compression.settings()["quantization_aware"] == 4


def test_attaching_sends_nothing_and_drops_what_was_meant_for_the_run_before(bench, synthetic):
    first = synthetic("first-1").begin()
    bench.attach(first)
    bench.live.detach()
    bench.workers.value, bench.learning_rate.value = 4, 0.5
    run = other_run(synthetic)
    bench.attach(run)
    bench.live.detach()
    bench._scale.flush()
    bench._rate.flush()
    assert (first.asked, run.asked) == ([], [])


def test_the_slider_follows_a_rate_that_another_client_set(bench, synthetic):
    run = other_run(synthetic)
    bench.attach(run)
    bench.live.detach()
    run.advance(1)  # its report says 0.001
    bench.live.update()
    assert bench.training.rate == pytest.approx(1e-3)
    bench._rate.flush()
    assert run.asked == []
    bench.learning_rate.value = 0.01
    run.advance(1)
    bench.live.update()
    assert bench.training.rate == pytest.approx(0.01)  # on its way
    bench._rate.flush()
    assert run.asked == [("set", {"learning_rate": 0.01})]


def test_start_repeats_an_attached_run_that_is_over(bench, synthetic, monkeypatch):
    launched = []

    def launch(model, data, **options):
        launched.append((model, data, options))
        return synthetic("again-1").begin()

    monkeypatch.setattr(lk, "launch", launch, raising=False)
    run = other_run(synthetic)
    run.advance(1)  # at another rate than it began with
    run.end()
    bench.attach(run)
    bench.data_model.ready()
    assert not bench.data_model.hidden_size.disabled
    bench.start.click()
    model, data, options = launched[0]
    assert repr(model) == "LeptonModel((8, 8, 1), 10, hidden_size=30, num_layers=2)"
    assert data == lk.data.sample("digits")
    assert (options["epochs"], options["seed"], options["global_batch"]) == (77, 7, 96)
    assert options["learning_rate"] == pytest.approx(2e-6)
    assert bench.data_model.source.value == "of other-1"


def test_a_stored_model_can_only_be_resumed(bench, synthetic):
    run = other_run(synthetic)
    run.config = any_config(model={"kind": "keras", "path": "a.keras"})
    run.end()
    bench.attach(run)
    bench.data_model.ready()
    assert "the Keras model of other-1" in bench.data_model.model_note.value
    assert bench.data_model.hidden_size.disabled
    assert bench.start.disabled
    with pytest.raises(ModelError, match="Resume goes on with it"):
        _ = bench.data_model.model
    bench.data_model.source.value = "digits"
    bench.data_model.ready()
    assert not bench.start.disabled
    assert not bench.data_model.hidden_size.disabled


def test_data_that_are_lost_are_told(bench, synthetic, monkeypatch):
    run = other_run(synthetic)
    monkeypatch.setattr(run, "data", lambda: lk.data.table("gone.csv", target="y"))
    bench.attach(run)
    bench.data_model.ready()
    assert "gone.csv" in bench.data_model.complaint


def test_another_run_takes_the_place_of_the_one_before(bench, synthetic):
    two = synthetic("two-1")
    for run in (synthetic("one-1"), two, two):
        bench.attach(run)
    assert [one for one in bench.data_model.source.options if one.startswith("of ")] == ["of two-1"]


def test_a_cell_that_is_run_again_offers_the_run_that_still_trains(tmp_path, synthetic, monkeypatch):
    run, over = synthetic("live-1").begin(), synthetic("over-1").begin()
    for one, status in ((run, "running"), (over, "finished")):
        write_atomically(one.paths.status, f'{{"status": "{status}", "step": 3}}')
    monkeypatch.setattr(lock, "held", lambda paths: paths.id == "live-1")
    monkeypatch.setattr(lk, "open_run", lambda run_id, runs_dir: run, raising=False)
    bench = Workbench(runs_dir=tmp_path / "runs", warm=False)
    assert bench.run is None
    assert "live-1</b> is training: attach" in bench.under_way.lines.children[0].children[0].value
    bench.under_way.buttons[0].click()
    assert bench.run is run
    assert bench.under_way.view.layout.display == "none"
    bench.close()


def test_nothing_is_offered_where_nothing_trains(tmp_path, synthetic):
    write_atomically(synthetic("dead-1").begin().paths.status, '{"status": "running"}')
    write_atomically(synthetic("odd-1").begin().paths.status, "[1")
    assert runs_under_way(tmp_path / "runs") == []
    assert UnderWay(tmp_path / "none", lambda _: None).view.layout.display == "none"


def test_the_code_tells_what_was_changed_live_and_after_which_step(bench, synthetic):
    run = other_run(synthetic)
    run.advance(12)
    bench.attach(run)
    bench.live.detach()
    bench.show_code.value = True
    assert "Changed" not in bench.training.code.texts["Python of this run"]
    run.write("request", verb="scale", workers=3, id="a", accepted=True, cause=None)
    run.write("request", verb="scale", workers=99, id="b", accepted=False, cause="at most 4")
    run.advance(5)
    run.write("request", verb="set", learning_rate=0.01, id="c", accepted=True, cause=None)
    bench.live.update()
    told = bench.training.code.texts["Python of this run"]
    assert "#   after step 12: run.scale(3)\n#   after step 17: run.set(learning_rate=0.01)\n" in told
    assert "99" not in told
    compile(told, "told", "exec")
    run.end()
    bench.data_model.ready()
    bench.live.update()
    bench._code()
    assert next(iter(bench.training.code.texts)) == "Python of the next run"
    assert "run.scale(3)" in bench.training.code.texts["Python of other-1"]


def test_the_code_of_a_run_with_a_stored_model_stays_to_be_read(bench, synthetic):
    run = other_run(synthetic)
    run.config = any_config(model={"kind": "keras", "path": "a.keras"})
    run.end()
    bench.attach(run)
    bench.data_model.ready()
    bench.show_code.value = True
    assert next(iter(bench.training.code.texts)) == "Python of other-1"
