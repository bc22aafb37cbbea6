"""One rank's loop against plain Keras: the same weights, whatever the model, the batch, or the interruption."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.data import arrays, sharding
from lepton_kit.errors import RunError
from lepton_kit.training import job, messages, state
from lepton_kit.training.loop import DivergedError
from lepton_kit.training.step import MAX_BLOCK_STEPS, Step
from tests.training.harness import Channel, prepare, train, weights_of

SAMPLES = 50


def classes(shape, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(SAMPLES, *shape)).astype(np.float32)
    y = generator.integers(0, 3, SAMPLES).astype(np.int32)
    return arrays(x, y, validation_split=0.2)


def dense_model(*layers):
    keras.utils.set_random_seed(7)
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])


def by_keras(folder, config, steps):
    """The weights after Keras' own loop on the same batches."""
    data = job.open_frozen(config, folder)
    model = job.build_model(config, folder, data)
    for step in range(steps):
        (indices,) = sharding.shard(
            seed=config.seed,
            step=step,
            samples=len(data.train),
            global_batch=config.training.global_batch,
            weights=[1],
        )
        model.train_on_batch(*data.train.take(indices))
    return model


def assert_equal_weights(worker, model, tolerance=1e-6):
    for mine, other in zip(weights_of(worker), [v.numpy() for v in model.variables], strict=True):
        np.testing.assert_allclose(mine, other, atol=tolerance)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_one_hot_targets_of_whole_numbers_train_as_in_keras(tmp_path, dtype):
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(SAMPLES, 4)).astype(np.float32)
    y = np.eye(3, dtype=dtype)[np.arange(SAMPLES) % 3]
    config = prepare(tmp_path, model, arrays(x, y, validation_split=0.2), global_batch=16, epochs=2)
    outcome, worker, channel = train(tmp_path, config)
    assert outcome == "finished"
    assert_equal_weights(worker, by_keras(tmp_path, config, worker.position))
    assert channel.of("epoch")[-1]["validation"]["accuracy"] is not None


def test_three_epochs_with_a_short_last_batch_equal_plain_keras(tmp_path):
    config = prepare(
        tmp_path,
        dense_model(keras.layers.Dense(8, activation="relu")),
        classes((4,)),
        global_batch=16,
        epochs=3,
    )
    outcome, worker, channel = train(tmp_path, config)
    assert outcome == "finished"
    assert worker.position == 9
    model = by_keras(tmp_path, config, 9)
    assert_equal_weights(worker, model)
    reports = channel.of("steps")
    assert [reports[0]["first"], reports[-1]["last"]] == [0, 9]
    assert sum(sum(report["fed"]) for report in reports) == 3 * 40
    epochs = channel.of("epoch")
    assert [epoch["epoch"] for epoch in epochs] == [0, 1, 2]
    x, y = job.open_frozen(config, tmp_path).validation.take(np.arange(10))
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert epochs[-1]["validation"]["loss"] == pytest.approx(loss, abs=1e-5)
    assert epochs[-1]["validation"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_batch_normalization_and_dropout_keep_their_state_between_steps(tmp_path):
    model = dense_model(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
    config = prepare(tmp_path, model, classes((4,)), global_batch=20, epochs=2)
    _, worker, _ = train(tmp_path, config)
    mine = {v.path.split("/")[-1]: v.numpy() for v in worker._step.model.variables}
    assert np.abs(mine["moving_mean"]).max() > 0
    assert mine["seed_generator_state"][1] > 0
    # One process with rank 0 draws the same noise as plain Keras.
    assert_equal_weights(worker, by_keras(tmp_path, config, 4))


def test_several_outputs_with_a_loss_each_and_inputs_by_name(tmp_path):
    first, second = keras.Input((4,), name="first"), keras.Input((2,), name="second")
    joined = keras.layers.Concatenate()([first, second])
    outputs = {
        "label": keras.layers.Dense(3, name="label")(joined),
        "size": keras.layers.Dense(1, name="size")(joined),
    }
    model = keras.Model({"first": first, "second": second}, outputs)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        loss={"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"},
        loss_weights={"label": 1.0, "size": 0.5},
        metrics={"label": ["accuracy"], "size": ["mae"]},
    )
    generator = np.random.default_rng(0)
    x = {
        "first": generator.normal(size=(30, 4)).astype("f4"),
        "second": generator.normal(size=(30, 2)).astype("f4"),
    }
    y = {
        "label": generator.integers(0, 3, 30).astype("i4"),
        "size": generator.normal(size=(30, 1)).astype("f4"),
    }
    config = prepare(tmp_path, model, arrays(x, y, validation_split=0.2), global_batch=8, epochs=2)
    outcome, worker, channel = train(tmp_path, config)
    assert outcome == "finished"
    assert {"label_accuracy", "size_mae"} <= set(channel.of("epoch")[-1]["metrics"])
    assert_equal_weights(worker, by_keras(tmp_path, config, worker.position))


def test_a_regression_with_a_regularized_layer(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, kernel_regularizer="l2"), keras.layers.Dense(1)]
    )
    generator = np.random.default_rng(0)
    data = (generator.normal(size=(40, 4)).astype("f4"), generator.normal(size=(40, 1)).astype("f4"))
    config = prepare(tmp_path, model, data, global_batch=8, epochs=1, loss="mse", metrics=["mae"])
    _, worker, _ = train(tmp_path, config)
    assert_equal_weights(worker, by_keras(tmp_path, config, worker.position))


def test_stopped_in_mid_epoch_and_continued_ends_like_an_undisturbed_run(tmp_path):
    model = dense_model(keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3))
    config = prepare(tmp_path, model, classes((4,)), global_batch=8, epochs=3)
    outcome, worker, channel = train(tmp_path, config, commands={4: [messages.Stop(generation=1)]})
    assert outcome == "stop"
    assert 0 < worker.position < 15
    folder = state.checkpoint_folders(tmp_path / "checkpoints")[-1]
    assert channel.of("checkpoint")[-1]["step"] == worker.position
    logged = len(channel.of("epoch"))
    outcome, resumed, _ = train(tmp_path, config, checkpoint=folder, logged_epochs=logged)
    assert outcome == "finished"
    assert_equal_weights(resumed, by_keras(tmp_path, config, 15))


@pytest.mark.parametrize(
    ("durable", "first"),
    [(0, 0), pytest.param(100, 100, marks=pytest.mark.long), (10**6, 400 - 5 - MAX_BLOCK_STEPS)],
)
def test_a_checkpoint_tells_the_steps_that_the_log_may_lose(tmp_path, durable, first):
    config = prepare(tmp_path, dense_model(), classes((4,)), global_batch=8, epochs=80)
    train(tmp_path, config, commands={3: [messages.Durable(generation=1, step=durable)]})
    folder = state.checkpoint_folders(tmp_path / "checkpoints")[-1]
    assert [entry[0] for entry in state.load_history(folder)] == list(range(first, 400))


def test_a_new_learning_rate_counts_from_the_next_block(tmp_path):
    config = prepare(tmp_path, dense_model(), classes((4,)), global_batch=8, epochs=4)
    _, _, channel = train(tmp_path, config, commands={3: [messages.Set(generation=1, learning_rate=0.25)]})
    rates = [report["learning_rate"] for report in channel.of("steps")]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(0.25)


def test_reports_that_are_asked_for_as_often_as_can_be_are_of_one_step_each(tmp_path):
    config = prepare(tmp_path, dense_model(), classes((4,)), global_batch=8, epochs=12)
    often, seldom = (messages.Set(generation=1, log_seconds=seconds) for seconds in (0.001, 50.0))
    _, _, channel = train(tmp_path, config, commands={3: [often], 33: [seldom]})
    counts = [report["last"] - report["first"] for report in channel.of("steps")]
    assert sum(counts) == 60
    assert counts.count(1) >= 30
    assert counts[-1] > 1, "set back"


def test_max_steps_ends_in_mid_epoch_with_that_epoch_reported(tmp_path):
    config = prepare(tmp_path, dense_model(), classes((4,)), global_batch=8, epochs=9, max_steps=7)
    outcome, worker, channel = train(tmp_path, config)
    assert (outcome, worker.position) == ("finished", 7)
    assert [epoch["step"] for epoch in channel.of("epoch")] == [5, 7]


def test_a_loss_that_is_no_number_ends_the_run_with_the_step(tmp_path):
    config = prepare(
        tmp_path, dense_model(), classes((4,)), global_batch=8, epochs=5, optimizer=keras.optimizers.SGD(3e38)
    )
    with pytest.raises(DivergedError, match=r"the loss became \S+ at step \d+ \(epoch \d+\)"):
        train(tmp_path, config)


def test_pruning_reaches_its_sparsity_and_says_so(tmp_path):
    model = dense_model(keras.layers.Dense(16, activation="relu"))
    pruning = {"sparsity": 0.75, "end_step": 8, "frequency": 2}
    config = prepare(tmp_path, model, classes((4,)), global_batch=8, epochs=3, pruning=pruning)
    _, worker, channel = train(tmp_path, config)
    events = channel.of("compression")
    assert [event["step"] for event in events] == [0, 2, 4, 6, 8]
    assert events[-1]["total"] == pytest.approx(0.75, abs=0.02)
    kernel = worker._step.model.layers[0].kernel.numpy()
    assert np.mean(kernel == 0) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("answer", [messages.Reform, messages.Stop])
def test_time_that_a_run_was_held_is_not_told_as_lost(tmp_path, monkeypatch, answer):
    config = prepare(tmp_path, dense_model(), classes((4,)), global_batch=16, epochs=3)
    held_until = []

    def hold(channel, *kinds):
        held_until.append(time.monotonic())
        return answer(generation=1)

    monkeypatch.setattr(Channel, "wait_for", hold)
    _, worker, _ = train(tmp_path, config, commands={2: [messages.Pause(generation=1)]})
    assert worker.trained_until >= held_until[0]


def test_time_of_validation_is_not_told_as_lost(tmp_path, monkeypatch):
    config = prepare(tmp_path, dense_model(), classes((4,)), global_batch=40, epochs=3)
    validated, evaluate = [], Step.evaluate

    def noted(step, *arguments):
        found = evaluate(step, *arguments)
        validated.append(time.monotonic())
        return found

    monkeypatch.setattr(Step, "evaluate", noted)
    outcome, worker, _ = train(tmp_path, config, commands={2: [messages.Reform(generation=1)]})
    assert outcome == "reform"
    assert worker.trained_until >= validated[-1]


def test_metrics_begin_anew_with_each_epoch(tmp_path):
    model = dense_model(keras.layers.Dense(8, activation="relu"))
    config = prepare(tmp_path, model, classes((4,)), global_batch=16, epochs=3, metrics=["accuracy"])
    _, _, channel = train(tmp_path, config)
    data = job.open_frozen(config, tmp_path)
    model, right = job.build_model(config, tmp_path, data), np.zeros(3)
    for step in range(9):  # three an epoch
        (indices,) = sharding.shard(
            seed=config.seed, step=step, samples=len(data.train), global_batch=16, weights=[1]
        )
        found = model.train_on_batch(*data.train.take(indices), return_dict=True)
        right[step // 3] += found["accuracy"] * len(indices)  # of this batch alone
    told = [epoch["metrics"]["accuracy"] for epoch in channel.of("epoch")]
    assert told == pytest.approx(right / len(data.train), abs=1e-6)


def test_a_rank_that_took_a_part_of_a_state_does_not_begin_the_run_with_it(tmp_path):
    config = prepare(tmp_path, dense_model(), classes((4,)), global_batch=8, epochs=1)
    outcome, worker, _ = train(tmp_path, config)
    assert outcome == "finished"
    assert worker._of_checkpoint(None) is None
    worker._spoilt, worker.holds_state = True, False
    with pytest.raises(RunError, match="no checkpoint can be used"):
        worker._of_checkpoint(None)
    (saved,) = [path.name for path in state.checkpoint_folders(tmp_path / "checkpoints")]
    handed = worker._of_checkpoint(f"checkpoints/{saved}")
    assert handed is not None
    assert handed.step == worker.position


@pytest.mark.parametrize(("asked", "begun"), [(2, False), (3, True)])
def test_no_checkpoint_begins_just_before_or_after_a_change_of_members(tmp_path, asked, begun):
    config = prepare(
        tmp_path, dense_model(), classes((4,)), global_batch=8, epochs=80, checkpoint_seconds=1e-9
    )
    outcome, worker, _ = train(tmp_path, config, commands={asked: [messages.Reform(generation=1)]})
    assert outcome == "reform"
    assert (worker._saver._thread is not None) == begun
    if begun:
        worker._saver._thread.join()


class OwnStep(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


@pytest.mark.parametrize("kind", [keras.Model, OwnStep])
def test_no_weight_is_changed_in_memory_that_a_checkpoint_may_hold(tmp_path, kind):
    inputs = keras.Input((4,))
    model = kind(inputs, keras.layers.Dense(3)(inputs))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    _, worker, _ = train(tmp_path, prepare(tmp_path, model, classes((4,)), global_batch=8, epochs=1))
    traces = worker._step._block if kind is keras.Model else worker._step._traces
    graph = traces._any.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    found = {node.op for node in nodes}
    assert "AssignVariableOp" in found
    assert "AssignSubVariableOp" not in found  # Adam subtracts from the weights
