from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.errors import ConfigError, ModelError, RunError
from lepton_kit.fitting import _stop, give_variables, reached
from lepton_kit.progress import Progress
from lepton_kit.rundir import RunPaths
from lepton_kit.rundir.view import RunView

pytestmark = pytest.mark.processes
RNG = np.random.default_rng(0)
X, V = RNG.normal(size=(36, 4)).astype("float32"), RNG.normal(size=(10, 4)).astype("float32")
Y, W = X @ np.ones((4, 1), "float32"), RNG.normal(size=(10, 1)).astype("float32")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)


def made(optimizer: Any = None) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
    return model


def close(one: Any, two: Any) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-5)


class Slow(keras.callbacks.Callback):
    """Gives the test time to interrupt."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.last = epoch
        time.sleep(0.05)


def test_fit_leaves_what_keras_fit_leaves(capfd: Any) -> None:
    rest = {"epochs": 4, "validation_data": (V, W), "shuffle": False}
    plain, mine = made(), made()
    stop = [
        keras.callbacks.EarlyStopping("loss", min_delta=9.0, patience=2),
        keras.callbacks.CSVLogger("a.csv"),
    ]
    own = [
        keras.callbacks.EarlyStopping("loss", min_delta=9.0, patience=2),
        keras.callbacks.CSVLogger("b.csv"),
    ]
    expected = plain.fit(X, Y, 12, callbacks=stop, verbose=0, **rest)
    found = lk.fit(mine, X, Y, 12, callbacks=own, **rest)

    close(mine.get_weights(), plain.get_weights())
    close(mine.optimizer.variables, plain.optimizer.variables)
    assert list(found.history) == list(expected.history)
    for name, values in expected.history.items():
        np.testing.assert_allclose(found.history[name], values, atol=1e-5)
    assert found.epoch == expected.epoch == [0, 1, 2]
    assert found.params == expected.params | {"verbose": 1}
    assert found.model is mine
    assert mine.history is found
    assert mine.stop_training
    assert own[0].stopped_epoch == stop[0].stopped_epoch == 2
    assert len(Path("b.csv").read_text().splitlines()) == len(Path("a.csv").read_text().splitlines())
    assert found.run.status in ("finished", "stopped")

    shown = re.sub(r"\x1b\[[0-9;]*m|\x08", "", capfd.readouterr().out)
    assert re.search(r"Epoch 1/4\s", shown)
    assert re.search(
        r"3/3 ━+ \d+s \S+ - loss: [\d.e-]+ - mae: [\d.e-]+ - val_loss: [\d.]+ - val_mae: ", shown
    )
    assert "Epoch 4/4" not in shown

    # It goes on as a second call of fit does: from these weights, with the optimizer's moments.
    plain.fit(X, Y, 12, verbose=0, **rest | {"epochs": 5, "initial_epoch": 4})
    again = lk.fit(mine, X, Y, 12, verbose=2, **rest | {"epochs": 5, "initial_epoch": 4})
    assert again.epoch == [4]
    close(mine.get_weights(), plain.get_weights())
    close(mine.optimizer.variables, plain.optimizer.variables)
    assert not mine.stop_training
    assert "\n3/3 - " in "\n" + capfd.readouterr().out.split("Epoch 5/5\n")[1]


def test_an_interrupt_stops_the_run_and_keeps_what_was_reached() -> None:
    model, slow, over = made(), Slow(), threading.Event()
    before = model.get_weights()

    def interrupt() -> None:
        while not over.wait(0.05):
            if any(run.view().epochs for run in lk.runs()):
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            lk.fit(model, X, Y, 12, epochs=1_000_000, callbacks=[slow], verbose=0)
    finally:
        over.set()
        thread.join()

    (run,) = lk.runs()
    assert run.status == "stopped"
    assert not run.alive
    assert not np.allclose(model.get_weights()[0], before[0])
    assert int(model.optimizer.iterations) == run.view().step
    done = len(model.history.epoch)
    assert done == len(model.history.history["loss"]) == len(run.view().epochs) > 0
    assert slow.last == done - 1


def test_without_a_batch_size_the_steps_of_an_epoch_decide_it_as_in_keras() -> None:
    plain, mine = made("sgd"), made("sgd")
    plain.fit(X, Y, steps_per_epoch=5, epochs=2, shuffle=False, verbose=0)
    found = lk.fit(mine, X, Y, steps_per_epoch=5, epochs=2, shuffle=False, verbose=0)
    assert found.run.config.training.global_batch == 8
    close(mine.get_weights(), plain.get_weights())


def test_a_killed_worker_changes_nothing_of_what_fit_leaves() -> None:
    plain, mine = made(), made()
    plain.fit(X, Y, 12, epochs=40, shuffle=False, verbose=0)

    class Kill(keras.callbacks.Callback):
        """Kills the worker that it runs in, once, amid the training."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 7 and not Path("killed").exists():
                Path("killed").write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)

    found = lk.fit(mine, X, Y, 12, epochs=40, shuffle=False, callbacks=[Kill()], verbose=0)
    assert int(Path("killed").read_text()) != os.getpid()
    close(mine.get_weights(), plain.get_weights())
    assert len(found.history["loss"]) == 40
    assert found.run.view().incidents
    assert lk.audit(found.run).exactly_once


def test_a_callback_that_raises_ends_the_fit_with_its_text_and_keeps_the_weights() -> None:
    def fail(epoch: int, logs: Any) -> None:
        if epoch == 2:
            raise ValueError("the moon is down")

    model, plain = made(), made()
    plain.fit(X, Y, 12, 3, 0, shuffle=False)
    with pytest.raises(
        RunError, match=r"callback LambdaCallback, on_epoch_end: ValueError: the moon is down"
    ):
        lk.fit(model, X, Y, 12, 9, 0, keras.callbacks.LambdaCallback(on_epoch_end=fail), shuffle=False)
    close(model.get_weights(), plain.get_weights())
    assert len(model.history.epoch) >= 2


def test_a_callback_that_would_end_its_process_ends_the_fit_with_its_name() -> None:
    class Leaves(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise SystemExit("time is up")

    model = made()
    with pytest.raises(RunError, match="callback Leaves, on_epoch_end: SystemExit: time is up"):
        lk.fit(model, X, Y, 12, epochs=4, callbacks=[Leaves()], verbose=0)


def test_what_callbacks_print_is_printed_here(capfd: Any) -> None:
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print("epoch", epoch, "over"))
    lk.fit(made(), X, Y, epochs=2, callbacks=[told], verbose=0)
    assert capfd.readouterr().out == "epoch 0 over\nepoch 1 over\n"


def test_a_lepton_model_gets_its_weights() -> None:
    images, labels = RNG.integers(0, 255, (24, 8, 8, 1), np.uint8), np.arange(24) % 2
    model = lk.LeptonModel((8, 8, 1), 2, hidden_size=4)
    history = lk.fit(model, images, labels, 12, 2, 0)
    close(model.get_weights(), history.run.model().get_weights())
    assert model.network.compiled
    assert int(model.network.optimizer.iterations) == 4
    again = lk.fit(model, images, labels, 12, 1, 0)
    assert again.run.view().step == 2
    assert int(model.network.optimizer.iterations) == 6


def test_a_model_without_shape_is_built_from_the_data() -> None:
    model = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    lk.fit(model, X, Y, 12, 1, 0)
    assert model.input_shape[1:] == (4,)
    assert int(model.optimizer.iterations) == 3


def test_no_epoch_left_trains_nothing_as_in_keras() -> None:
    model = made()
    assert lk.fit(model, X, Y, epochs=2, initial_epoch=2, verbose=0).history == {}
    assert lk.runs() == []


@pytest.mark.parametrize(
    ("model", "options", "error", "text"),
    [
        (lambda: 3, {}, ModelError, "a int is no model"),
        (lambda: keras.Sequential([keras.Input((4,))]), {}, ModelError, "is not compiled; call compile"),
        (made, {"verbose": 3}, ConfigError, "verbose: got 3; expected 'auto', 0, 1 or 2"),
        (made, {"callbacks": ["EarlyStoping"]}, ConfigError, "did you mean 'EarlyStopping'"),
    ],
)
def test_what_fit_cannot_do_is_refused_before_any_process(
    model: Any, options: Any, error: Any, text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        lk.fit(model(), X, Y, **options)
    assert lk.runs() == []


def test_what_keras_only_warns_of_is_a_warning() -> None:
    stop = keras.callbacks.EarlyStopping(restore_best_weights=True)
    with pytest.warns(UserWarning, match="conditioned on metric `val_loss` which is not available"):
        history = lk.fit(made(), X, Y, 12, 2, 0, [stop])
    assert history.epoch == [0, 1]


def test_a_notebook_shows_the_live_panel(monkeypatch: Any, capfd: Any) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("lepton_kit.progress.in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    history = lk.fit(made(), X, Y, 12, 2)
    (panel,) = shown
    assert panel.run is history.run
    assert panel.state in ("finished", "stopped")
    assert not panel.following
    assert capfd.readouterr().out == ""
    panel.close()


class Running:
    """A run that never ends."""

    id, status, alive, directory, asked = "slow", "running", True, Path("runs/slow"), 0

    def stop(self) -> None:
        self.asked += 1


@pytest.mark.parametrize("impatient", [True, False])
def test_a_run_that_does_not_stop_is_said_to_go_on(impatient: bool, monkeypatch: Any, capsys: Any) -> None:
    def sleep(seconds: float) -> None:
        if impatient:
            raise KeyboardInterrupt

    run = Running()
    monkeypatch.setattr("lepton_kit.fitting.STOP_SECONDS", 0.1)
    monkeypatch.setattr("lepton_kit.fitting.time.sleep", sleep)
    _stop(run)
    assert run.asked == 1
    assert capsys.readouterr().err == "slow is still running: lk.open_run('runs/slow').wait()\n"


def test_an_optimizer_that_does_not_fit_keeps_its_own_state() -> None:
    trained, other = made(), made(keras.optimizers.SGD(0.1))
    trained.fit(X, Y, 12, 1, 0)
    arrays = [one.numpy() for one in (*trained.variables, *trained.optimizer.variables)]
    with pytest.warns(UserWarning, match="some-run: its optimizer state does not fit"):
        give_variables(other, [*arrays[: len(trained.variables)], arrays[-1]], "some-run")
    close(other.get_weights(), trained.get_weights())
    assert int(other.optimizer.iterations) == 0


class TwoOptimizers(keras.Model):
    """As GANs have them: each optimizer trains a part, and the compiled one nothing."""

    def compile(self, **options: Any) -> None:
        super().compile(**options)
        self.first, self.second = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.01, momentum=0.9)

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y = data
        for optimizer, layer in ((self.first, self.layers[1]), (self.second, self.layers[2])):
            with tf.GradientTape() as tape:
                error = tf.reduce_mean((self(x, training=True) - y) ** 2)
            weights = layer.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(error, weights), weights, strict=True))
        return {"error": error}


def test_each_optimizer_of_a_model_is_given_back_and_no_figure_is_added() -> None:
    def own() -> Any:
        keras.utils.set_random_seed(3)
        inputs = keras.Input((4,))
        model = TwoOptimizers(inputs, keras.layers.Dense(1)(keras.layers.Dense(3, "tanh")(inputs)))
        model.compile()
        return model

    plain, mine = own(), own()
    for _ in range(2):
        expected = plain.fit(X, Y, 12, epochs=2, shuffle=False, verbose=0)
        found = lk.fit(mine, X, Y, 12, epochs=2, shuffle=False, verbose=0)
        assert list(found.history) == list(expected.history) == ["error"]
        close(mine.get_weights(), plain.get_weights())
        close(mine.first.variables, plain.first.variables)
        close(mine.second.variables, plain.second.variables)


def test_a_run_without_checkpoint_has_reached_nothing(tmp_path: Path) -> None:
    run = Running()
    run.directory, run.paths = tmp_path, RunPaths(tmp_path)  # type: ignore[attr-defined]  # a stand-in for a run
    assert reached(run, finished=True) == (None, {})


def test_the_bar_never_shows_an_epoch_twice_where_a_run_recovers(capsys: Any) -> None:
    view, progress = RunView(), Progress(2, 2)
    view.plan = {"steps_per_epoch": 2}
    rows = [{"epoch": epoch, "step": 2 * epoch + 2, "seconds": 0.1, "loss": 0.5} for epoch in (0, 1)]
    for shown in (rows[:1], [], rows[:1], rows):
        view.epochs = shown
        progress.show(view)
    assert capsys.readouterr().out.count("loss: 0.5") == 2


def test_reading_is_told_on_one_line(capsys: Any) -> None:
    progress = Progress(1, 1)
    progress.reading(1, 2)
    progress.reading(2, 2)
    assert capsys.readouterr().out == "\rreading the data: 1 of 2 batches\rreading the data: 2 of 2 batches\n"
