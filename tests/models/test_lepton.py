"""LeptonModel: a network for every kind of data, its verbs, and how models travel."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest

from lepton_kit import data, models
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.errors import ConfigError, DataError, ModelError
from lepton_kit.models import LeptonModel


def test_importing_loads_no_tensorflow():
    code = "import sys, lepton_kit.models; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "model",
    [
        LeptonModel((7,), 3),
        LeptonModel((20, 5), 3),
        LeptonModel((12, 5), 3, 8, cell="gru"),
        LeptonModel((12, 5), 3, 8, cell="lstm", dropout=0.5),
        LeptonModel((8, 8, 1), 10),
        LeptonModel((64, 48, 3), 4, 16, 5, input_range=(0, 1)),
        LeptonModel((24,), 5, vocabulary_size=50),
        LeptonModel((24,), 5, 8, 2, vocabulary_size=50, cell="gru"),
        LeptonModel((4,), 1, task="regression"),
    ],
    ids=repr,
)
def test_every_kind_of_input(model, tmp_path):
    dtype = np.int32 if model.vocabulary_size else np.float32
    x = np.ones((2, *model.input_shape), dtype)
    assert tuple(model(x, training=True).shape) == (2, model.num_classes)
    values = model.inference(x)
    assert values.shape == (2, model.num_classes)
    if model.task == "classification":
        assert np.allclose(values.sum(1), 1, atol=1e-5)
    again = LeptonModel.load(model.save(tmp_path / "m.keras"))
    assert np.array_equal(again.inference(x), values)
    assert again.task == model.task
    assert again.cell == model.cell
    assert again.dropout == model.dropout
    assert LeptonModel.from_spec(again.spec()).count_params() == model.count_params()


def test_pixels_are_mapped_to_minus_one_to_one():
    layer = LeptonModel((8, 8, 1), 2).network.get_layer("rescale")
    assert np.allclose(layer(np.array([0.0, 255.0])), [-1, 1])


def test_the_seed_fixes_the_weights(tmp_path):
    spec = LeptonModel((5,), 2).spec()
    one, two, other = (models.build(spec, tmp_path, seed).get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_train_evaluate_infer():
    source = data.sample("digits")
    model = LeptonModel((8, 8, 1), 10, seed=0)
    history = model.train(source, epochs=4, global_batch=64, learning_rate=3e-3, verbose=0)
    assert len(history["val_accuracy"]) == 4
    assert model.evaluate(source)["accuracy"] > 0.85
    held = source.prepare().validation
    assert (model.inference(held.x).argmax(1) == held.y).mean() > 0.85
    assert model.evaluate((held.x, held.y))["accuracy"] == pytest.approx(model.evaluate(source)["accuracy"])


def test_the_classic_loop(tmp_path):
    import keras
    import tensorflow as tf

    with zipfile.ZipFile(data.sample("digits").path) as archive:
        archive.extractall(tmp_path)
    batches = keras.utils.image_dataset_from_directory(
        tmp_path / "digits" / "train",
        image_size=(8, 8),
        color_mode="grayscale",
        batch_size=64,
        verbose=False,
        seed=0,
    )
    x, y = next(iter(batches))
    assert float(tf.reduce_max(x)) > 200
    model = LeptonModel(input_shape=(8, 8, 1), num_classes=10, hidden_size=32, num_layers=2)
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(3e-3)
    losses = []
    for _ in range(30):
        with tf.GradientTape() as tape:
            loss = loss_function(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
    assert model.evaluate(batches)["accuracy"] > 0.2
    model.trainable = False
    assert not model.trainable
    assert not model.trainable_variables
    assert len(model.variables) == len(model.get_weights())


def test_a_loop_of_ones_own_finds_what_a_keras_model_has(tmp_path):
    import keras
    import tensorflow as tf

    model = LeptonModel((6,), 3, 8, 2, dropout=0.5, seed=0)
    x, y = np.eye(6, dtype=np.float32), np.arange(6) % 3
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(0.01)

    @tf.function  # the network is built while this is traced
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = loss_function(labels, logits) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        return loss

    losses = [float(step(x, y)) for _ in range(60)]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])  # dropout makes them noisy
    assert [layer.name for layer in model.layers][-1] == "logits"
    assert model.get_layer("logits").units == model.get_layer(index=-1).units == 3
    assert len(model.weights) == len(model.trainable_weights) == 6
    assert model.non_trainable_weights == []
    assert len(model.non_trainable_variables) == 2  # the states of the two layers' random numbers
    lines = []
    model.summary(line_length=60, print_fn=lambda text, **_: lines.append(text))
    assert "logits" in "".join(lines)
    expected = model.inference(x)
    model.save_weights(tmp_path / "m.weights.h5")
    other = LeptonModel((6,), 3, 8, 2, dropout=0.5, seed=1)
    assert not np.allclose(other.inference(x), expected)
    other.load_weights(tmp_path / "m.weights.h5")
    assert np.array_equal(other.inference(x), expected)


def test_inference_takes_a_data_set_of_batches():
    import tensorflow as tf

    model = LeptonModel((6,), 3, 8, 2, seed=0)
    x = np.eye(6, dtype=np.float32)
    expected = model.inference(x)
    alone = tf.data.Dataset.from_tensor_slices(x)
    pairs = tf.data.Dataset.from_tensor_slices((x, np.arange(6) % 3))
    assert np.allclose(model.inference(alone.batch(4)), expected, atol=1e-6)
    assert np.allclose(model.inference(pairs.batch(4)), expected, atol=1e-6)
    assert np.allclose(model.inference(tf.constant(x)), expected, atol=1e-6)
    with pytest.raises(ModelError, match=r"shape \(6,\); got an array of shape \(6, 6, 1\)"):
        model.inference(tf.data.Dataset.from_tensor_slices(x[..., None]).batch(6))
    with pytest.raises(ModelError, match="takes one input; element 0 has a dictionary of 'a', 'b'"):
        model.inference(tf.data.Dataset.from_tensor_slices({"a": x, "b": x}).batch(4))


def test_what_it_does_not_have_is_told_with_what_to_do():
    model = LeptonModel((6,), 3)
    with pytest.raises(AttributeError, match=r"no attribute 'compile'; train\(\) and lk.fit need no compile"):
        model.compile("adam")
    with pytest.raises(AttributeError, match=r"no attribute 'to_json'; \.network is its Keras model"):
        model.to_json()
    assert not hasattr(model, "optimizer")
    assert not model.built  # asking builds no network


def test_fitted_to_takes_range_and_vocabulary_from_the_data():
    x = np.linspace(-4, 12, 40, dtype=np.float32).reshape(20, 2)
    prepared = data.arrays(x, np.arange(20) % 2, validation_split=0).prepare()
    model = LeptonModel((2,), 2)
    assert model.fitted_to(prepared).input_range == (-4.0, 12.0)
    assert model.input_range is None
    words = data.sample("intents").prepare()
    assert LeptonModel((24,), 38, vocabulary_size=2000).fitted_to(words).vocabulary_size == 2000
    assert LeptonModel((24,), 38).fitted_to(words).vocabulary_size == words.vocabulary_size


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (LeptonModel((9, 8, 1), 10), "samples of shape (9, 8, 1); the data have (8, 8, 1)"),
        (LeptonModel((8, 8, 1), 5), "5 classes (labels 0 to 4); the data have labels up to 9"),
        (LeptonModel((8, 8, 1), 10, task="regression"), "task is classification"),
    ],
)
def test_what_does_not_fit(model, said):
    with pytest.raises(ModelError) as caught:
        models.check_fits(model.spec(), data.sample("digits").prepare())
    assert said in str(caught.value)


def test_more_that_does_not_fit():
    numbers = data.arrays(np.eye(6), np.arange(6) / 3.0, validation_split=0).prepare()
    with pytest.raises(ModelError, match="give task='regression'"):
        LeptonModel((6,), 2).fitted_to(numbers)
    with pytest.raises(ModelError, match="gives 3 values a sample"):
        LeptonModel((6,), 3, task="regression").fitted_to(numbers)
    several = data.arrays({"a": np.eye(6), "b": np.eye(6)}, np.arange(6) % 2).prepare()
    with pytest.raises(ModelError, match="the data have 2: a, b"):
        LeptonModel((6,), 2).fitted_to(several)
    with pytest.raises(ModelError, match="vocabulary_size is 10"):
        LeptonModel((24,), 38, vocabulary_size=10).fitted_to(data.sample("intents").prepare())


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LeptonModel(28, 10), "model.input_shape"),
        (lambda: LeptonModel((1, 2, 3, 4), 10), "model.input_shape"),
        (lambda: LeptonModel((0,), 10), "model.input_shape"),
        (lambda: LeptonModel((3, 3), 10, vocabulary_size=5), "model.input_shape"),
        (lambda: LeptonModel((3,), 1), "model.num_classes"),
        (lambda: LeptonModel((3,), 2, 0), "model.hidden_size"),
        (lambda: LeptonModel((3,), 2, 8, 0), "model.num_layers"),
        (lambda: LeptonModel((3,), 2, cell="rnn"), "model.cell"),
        (lambda: LeptonModel((3,), 2, task="rank"), "model.task"),
        (lambda: LeptonModel((3,), 2, dropout=1), "model.dropout"),
        (lambda: LeptonModel((3,), 2, seed=-1), "model.seed"),
        (lambda: LeptonModel((3,), 2, vocabulary_size=1), "model.vocabulary_size"),
        (lambda: LeptonModel((3,), 2, input_range=3), "model.input_range"),
        (lambda: LeptonModel.from_spec({"kind": "keras"}), "model.kind"),
        (lambda: LeptonModel.from_spec({"input_shape": [3]}), "model.num_classes"),
        (lambda: LeptonModel.from_spec({"input_shape": [3], "num_classes": 2, "depth": 1}), "model.depth"),
    ],
)
def test_settings_are_checked(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


def test_errors_of_the_verbs(tmp_path):
    import keras

    model = LeptonModel((3,), 2)
    with pytest.raises(DataError, match="a list; expected"):
        model.train([1, 2])
    with pytest.raises(ModelError, match="got an array of shape"):
        model.inference(np.zeros((2, 4)))
    with pytest.raises(ModelError, match=r"ends in .keras"):
        model.save(tmp_path / "m.h5")
    with pytest.raises(ModelError, match="no such file"):
        LeptonModel.load(tmp_path / "m.keras")
    (tmp_path / "m.keras").write_bytes(b"torn")
    with pytest.raises(ModelError, match="Keras cannot read it"):
        LeptonModel.load(tmp_path / "m.keras")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="not a LeptonModel"):
        LeptonModel.load(tmp_path / "other.keras")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(
    ("model", "x"),
    [
        (LeptonModel((3,), 2, input_range=(-1e6, 1e6)), np.full((2, 3), 9e5, np.float32)),
        (LeptonModel((8, 8, 1), 2), np.full((2, 8, 8, 1), 255, np.uint8)),
        (LeptonModel((6,), 2, vocabulary_size=9, cell="gru"), np.ones((2, 6), np.int32)),
    ],
)
def test_the_network_follows_the_dtype_policy(policy, model, x):
    import keras

    keras.config.set_dtype_policy(policy)
    try:
        network = LeptonModel.from_spec(model.spec()).network
    finally:
        keras.config.set_dtype_policy("float32")
    policies = {layer.compute_dtype for layer in network.layers if layer.weights}
    assert policies == {policy.removeprefix("mixed_"), "float32"}
    assert all(v.dtype == "float32" for v in network.trainable_variables)
    outputs = network(x)
    assert outputs.dtype == "float32"
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize(
    ("y", "classes", "said"),
    [
        (np.array([0, -1, 1, 0]), 2, "label -1 is out of range; the model's labels are 0 to 1"),
        (np.array([1, 1, 1, 1]), 2, "one class only"),
        (np.array([0, 1, 5000, 3]), 10, "whole numbers up to 5000 are no class labels"),
        (np.array([0, 1, 2, 3]), 3, r"3 classes (labels 0 to 2); the data have labels up to 3"),
        (np.full((4, 2), 0.5), 2, "must be 0 or 1"),
        (np.zeros((4, 3)), 2, "gives 2 values a sample; the targets have shape (3,)"),
        (None, 2, "the data have none"),
        ((np.zeros(4), np.zeros(4)), 2, "targets for 2"),
    ],
)
def test_targets_that_a_classification_cannot_take(y, classes, said):
    prepared = PreparedData(Split(np.eye(4, dtype=np.float32), y), None, "other")
    with pytest.raises(ModelError) as caught:
        LeptonModel((4,), classes).fitted_to(prepared)
    assert said in str(caught.value)


def test_targets_that_a_lepton_model_takes():
    def fitted(y, *arguments, **options):
        prepared = PreparedData(Split(np.eye(4, dtype=np.float32), y), None, "other")
        model = LeptonModel((4,), *arguments, **options)
        history = model.train(prepared, epochs=1, verbose=0)
        return sorted(history)

    assert fitted(np.array([[0], [1], [2], [0]]), 3) == ["accuracy", "loss"]
    assert fitted(np.eye(4)[:, :3] + np.eye(4)[:, 3:] * [1, 0, 0], 3) == ["accuracy", "loss"]
    assert fitted(np.array([[1, 1], [0, 0], [1, 0], [1, 1]]), 2) == ["accuracy", "loss"]
    assert fitted(np.array([20, 30, 50, 90]), 1, task="regression") == ["loss", "mae"]
    assert fitted(np.array([0, 1, 0, 1]), 1, task="regression") == ["loss", "mae"]
