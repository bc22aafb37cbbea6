from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.training.callbacks import Best, Callbacks, give_back, load, store

EPOCHS, STEPS, BATCH = 6, 3, 8
RNG = np.random.default_rng(0)
X, V = RNG.normal(size=(STEPS * BATCH, 4)).astype("float32"), RNG.normal(size=(10, 4)).astype("float32")
Y, W = X @ np.ones((4, 1), "float32"), RNG.normal(size=(10, 1)).astype("float32")
SEEN: list[float] = []


def made(**compile_options: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="first"), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.05, **compile_options)
    model.compile(optimizer, "mse", metrics=["mae"], run_eagerly=True)
    optimizer.build(model.trainable_variables)
    model.make_train_function()
    model._symbolic_build(data_batch=(X[:1], Y[:1]))
    return model


def fitted(callbacks: list[Any], **compile_options: Any) -> tuple[Any, Any]:
    model = made(**compile_options)
    history = model.fit(
        X, Y, BATCH, EPOCHS, 0, callbacks, validation_data=(V, W), validation_batch_size=10, shuffle=False
    )
    return model, history


class Loop:
    """Calls a host's methods where a run does; `move` goes on in another process' copy of everything."""

    def __init__(self, specs: Any, base: Path, **compile_options: Any):
        self.specs, self.base, self.options = specs, base, compile_options
        self.model = made(**compile_options)
        self.host = self._host()
        self.host.begin(fresh=True)

    def _host(self) -> Callbacks:
        params = {"epochs": EPOCHS, "steps": STEPS, "verbose": 0}
        return Callbacks(load(self.specs, self.base, self.model), self.model, params)

    def epochs(self, first: int, last: int) -> None:
        for epoch in range(first, last):
            if self.host.stop:
                return
            self.model.reset_metrics()
            self.host.begin_epoch(epoch)
            for step in range(STEPS):
                self.host.begin_step(step)
                rows = slice(step * BATCH, (step + 1) * BATCH)
                logs = self.model.train_function(iter([(X[rows], Y[rows])]))
                self.host.end_step(step, logs)
                if self.host.stop:
                    break
            self.host.begin_validation()
            found = self.model.evaluate(V, W, 10, 0, return_dict=True)
            self.host.end_validation(found)
            self.host.end_epoch(epoch, logs | {f"val_{name}": value for name, value in found.items()})

    def move(self) -> None:
        state, old = self.host.state(), self.model
        self.model = made(**self.options)
        for mine, its in zip(self._variables(self.model), self._variables(old), strict=True):
            mine.assign(its)
        self.host = self._host()
        self.host.load(state)
        assert self.host.state() == state
        self.host.begin(fresh=False)

    @staticmethod
    def _variables(model: Any) -> list[Any]:
        return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]

    def end(self) -> Callbacks:
        self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        self.host.end({})
        return self.host


def through(callbacks: list[Any], folder: Path, *, moved_after: int | None, **options: Any) -> Loop:
    specs = store(callbacks, folder / "model")
    loop = Loop(specs, folder, **options)
    if moved_after is not None:
        loop.epochs(0, moved_after)
        loop.move()
    loop.epochs(moved_after or 0, EPOCHS)
    loop.end()
    return loop


def same_weights(one: Any, two: Any) -> None:
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


class Own(keras.callbacks.Callback):
    """Changes itself, the model, and something outside."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.best = 9e9

    def on_train_begin(self, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.02

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])
        SEEN.append(logs["val_loss"])
        self.best = min(self.best, logs["loss"])
        self.model.optimizer.learning_rate = 0.02 / (epoch + 1)


CASES = {
    "early": lambda: keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
    "early-late": lambda: keras.callbacks.EarlyStopping("val_mae", start_from_epoch=2, baseline=0.0),
    "plateau": lambda: keras.callbacks.ReduceLROnPlateau("val_mae", patience=1, cooldown=1, min_delta=0.3),
    "schedule": lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7),
    "own": Own,
}


@pytest.mark.parametrize("moved_after", [None, 1, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.parametrize("case", list(CASES))
def test_callbacks_that_move_to_another_process_act_as_in_one_plain_fit(
    case: str, moved_after: int | None, tmp_path: Path
) -> None:
    plain = CASES[case]()
    model, history = fitted([plain])
    mine = CASES[case]()
    loop = through([mine], tmp_path, moved_after=moved_after)

    same_weights(loop.model, model)
    assert list(loop.host.history) == list(history.history)
    for name, values in history.history.items():
        np.testing.assert_allclose(loop.host.history[name], values, atol=1e-6)
    back = give_back(loop.host.state(), [mine], model)
    assert back.epoch == history.epoch
    for name in ("stopped_epoch", "wait", "best_epoch", "losses", "cooldown_counter"):
        if hasattr(plain, name):
            assert getattr(mine, name) == pytest.approx(getattr(plain, name), abs=1e-6), name


def test_both_stop_in_the_same_epoch_and_the_run_says_why(tmp_path: Path) -> None:
    _, history = fitted([keras.callbacks.EarlyStopping("loss", min_delta=1e3, patience=2)])
    loop = through(
        [keras.callbacks.EarlyStopping("loss", min_delta=1e3, patience=2)], tmp_path, moved_after=1
    )
    assert loop.host.history.keys() == history.history.keys()
    assert len(loop.host.history["loss"]) == len(history.epoch) == 3
    assert loop.host.stop is not None
    assert loop.host.stop.startswith("EarlyStopping: loss has not improved for 2 epochs (best ")


def test_a_csv_goes_on_where_the_state_that_is_taken_over_was(tmp_path: Path) -> None:
    fitted([keras.callbacks.CSVLogger(tmp_path / "plain.csv")])
    loop = Loop(store([keras.callbacks.CSVLogger(tmp_path / "run.csv")], tmp_path / "model"), tmp_path)
    loop.epochs(0, 2)
    state = loop.host.state()
    loop.epochs(2, 4)  # written, then lost with the process; these epochs come again
    written = (tmp_path / "run.csv").read_text().splitlines()
    loop.host.load(state)
    loop.host.stop = None
    loop.host = loop._host()
    loop.host.load(state)
    loop.host.begin(fresh=False)
    assert (tmp_path / "run.csv").read_text().splitlines() == written[:3]
    loop.epochs(2, EPOCHS)
    loop.end()
    plain, mine = ((tmp_path / f"{name}.csv").read_text().splitlines() for name in ("plain", "run"))
    assert len(mine) == len(plain) == 1 + EPOCHS
    assert mine[0] == plain[0]
    assert [line.split(",")[0] for line in mine] == [line.split(",")[0] for line in plain]


def test_files_are_written_where_they_would_be_in_the_notebook(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    callbacks = [
        keras.callbacks.ModelCheckpoint("best.keras", "val_loss", save_best_only=True),
        {"kind": "ModelCheckpoint", "filepath": "weights-{epoch}.weights.h5", "save_weights_only": True},
    ]
    specs = store(callbacks, tmp_path / "run" / "model")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    loop = Loop(specs, tmp_path / "run")
    assert not loop.host.needs_steps
    loop.epochs(0, 2)
    loop.move()
    loop.epochs(2, 3)
    loop.end()
    assert list(elsewhere.iterdir()) == []
    assert keras.models.load_model(tmp_path / "best.keras").count_params() == loop.model.count_params()
    assert sorted(path.name for path in tmp_path.glob("weights*")) == [
        f"weights-{epoch}.weights.h5" for epoch in (1, 2, 3)
    ]


def test_tensorboard_goes_on_in_its_folder(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    callbacks = [
        keras.callbacks.TensorBoard("all", histogram_freq=1),
        {"kind": "TensorBoard", "update_freq": 2},
    ]
    loop = Loop(store(callbacks, tmp_path / "run" / "model"), tmp_path / "run")
    assert loop.host.needs_steps
    loop.epochs(0, 2)
    loop.move()
    assert loop.host._callbacks[1]._global_train_batch == 2 * STEPS
    loop.epochs(2, 3)
    loop.end()
    for folder in ("all", "logs"):
        assert len(list((tmp_path / folder / "train").glob("*.v2"))) == 2


def test_averaged_weights_are_those_that_are_validated(tmp_path: Path) -> None:
    model, history = fitted([keras.callbacks.SwapEMAWeights()], use_ema=True, ema_momentum=0.5)
    loop = through([{"kind": "SwapEMAWeights"}], tmp_path, moved_after=2, use_ema=True, ema_momentum=0.5)
    np.testing.assert_allclose(loop.host.history["val_loss"], history.history["val_loss"], atol=1e-6)
    same_weights(loop.model, model)


def test_what_functions_write_outside_their_callback_comes_back_too(tmp_path: Path) -> None:
    losses: list[float] = []
    count = 0

    def each(batch: int, logs: Any) -> None:
        nonlocal count
        count += 1

    noted = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]), on_train_batch_end=each
    )
    mine = [noted, Own()]
    SEEN.clear()
    loop = through(mine, tmp_path, moved_after=3)
    assert losses == []
    assert loop.host.needs_steps
    give_back(loop.host.state(), mine, loop.model)
    assert losses == mine[1].losses == loop.host.history["loss"]
    assert loop.host.history["val_loss"] == SEEN
    assert count == EPOCHS * STEPS
    assert mine[1].model is loop.model


def test_what_belongs_to_the_model_means_the_workers_own(tmp_path: Path) -> None:
    model = made()

    class Freezing(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.whole, self.layer, self.weight = model, model.get_layer("first"), model.variables[1]
            self.rate = model.optimizer

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.whole is self.model
            assert self.layer is self.model.layers[0]
            self.weight.assign(self.weight * 0 + 3)
            self.rate.learning_rate = 0.5
            self.kept = self.weight

    loop = Loop(store([Freezing()], tmp_path / "model", model), tmp_path)
    loop.epochs(0, 1)
    assert loop.model is not model
    np.testing.assert_array_equal(loop.model.layers[0].bias, [3, 3, 3])
    assert float(loop.model.optimizer.learning_rate) == 0.5
    loop.move()
    assert loop.host._callbacks[0].kept is loop.model.variables[1]


def test_a_loss_that_is_no_number_stops_in_its_batch(tmp_path: Path) -> None:
    loop = Loop(store("TerminateOnNaN", tmp_path / "model"), tmp_path)
    assert loop.host.needs_steps
    loop.host.begin_epoch(0)
    loop.host.end_step(0, {"loss": 1.0})
    assert loop.host.stop is None
    loop.host.end_step(1, {"loss": float("nan")})
    assert loop.host.stop == "TerminateOnNaN: the loss is not a finite number in epoch 1"
    assert loop.host.take_output() == "Batch 1: Invalid loss, terminating training\n"
    assert loop.host.take_output() == ""


def test_an_own_stop_names_its_hook(tmp_path: Path) -> None:
    def stop(epoch: int, logs: Any) -> None:
        holder.model.stop_training = True

    holder = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    host = Loop(store([holder], tmp_path / "model"), tmp_path).host
    host.begin_epoch(1)
    host.end_epoch(1, {})
    assert host.stop == "LambdaCallback: set stop_training in on_epoch_end, epoch 2"


def test_an_exception_keeps_its_text_and_names_callback_and_hook(tmp_path: Path) -> None:
    def fail(epoch: int, logs: Any) -> None:
        raise ValueError("the moon is down")

    host = Loop(
        store([keras.callbacks.LambdaCallback(on_epoch_begin=fail)], tmp_path / "model"), tmp_path
    ).host
    with pytest.raises(
        RunError, match="callback LambdaCallback, on_epoch_begin: ValueError: the moon is down"
    ):
        host.begin_epoch(0)


def test_warnings_are_told_once(tmp_path: Path) -> None:
    host = Loop(
        store([{"kind": "EarlyStopping", "monitor": "val_f1", "mode": "max"}], tmp_path), tmp_path
    ).host
    host.end_epoch(0, {"loss": 1.0})
    host.end_epoch(1, {"loss": 1.0})
    assert len(host.take_warnings()) == 1
    assert host.take_warnings() == []


def test_the_history_of_the_user_is_the_one_that_is_filled(tmp_path: Path) -> None:
    own = keras.callbacks.History()
    loop = through([own], tmp_path, moved_after=None)
    assert own.history == {}
    assert give_back(loop.host.state(), [own], loop.model) is own
    assert own.history == loop.host.history
    assert len(own.epoch) == EPOCHS


def test_beginning_twice_begins_once(tmp_path: Path) -> None:
    calls: list[int] = []
    noted = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: calls.append(1))
    loop = Loop(store([noted], tmp_path / "model"), tmp_path)
    loop.host.begin(fresh=True)
    give_back(loop.host.state(), [noted], loop.model)
    assert calls == [1]


def test_the_best_epoch_follows_keras_rule() -> None:
    metrics = [keras.metrics.BinaryAccuracy(name="right"), keras.metrics.MeanSquaredError(name="off")]
    for metric in metrics:
        metric.build((1, 1), (1, 1)) if hasattr(metric, "build") else None
    rising = Best("val_right", metrics=metrics)
    assert [rising.update(v) for v in (0.1, float("nan"), 0.3, 0.2)] == [True, False, True, False]
    falling = Best("off", metrics=metrics)
    assert [falling.update(v) for v in (0.1, 0.3)] == [True, False]
    assert Best("val_anything:max").update(1.0)
    assert not Best("val_mae", metrics=made().metrics).better(float("nan"))
    with pytest.raises(ConfigError, match=r"training\.keep_best: got 'val_custom'"):
        Best("val_custom")


def test_a_hook_for_each_batch_is_said_to_be_slower(tmp_path: Path) -> None:
    host = Loop(store("TerminateOnNaN", tmp_path / "model"), tmp_path).host
    assert host.take_warnings() == [
        "TerminateOnNaN: acts on every batch, so the workers confer after each step: slower"
    ]
