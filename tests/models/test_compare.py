"""A stored copy is compared with the user's object; unbuilt models are built from the data."""

import keras
import numpy as np
import pytest

from lepton_kit import data, models
from lepton_kit.errors import ModelError
from lepton_kit.models import compare, objects
from lepton_kit.models.compare import ready, same, verify
from tests.models.object_parts import X, Y, net, scaled_loss
from tests.models.object_table import TABLE

SAMPLES = (X[:3], Y[:3], None)


@pytest.mark.parametrize("name", list(TABLE)[::4])
def test_models_of_the_table_equal_their_copies_and_keep_their_state(name):
    keras.utils.set_random_seed(1)
    model, *rows = TABLE[name]()
    rows = [None if r is None else _first(r) for r in (*rows, None, None)][:3]
    compiled = [dict(vars(part)) for part in _parts(model)]
    states = [v.numpy() for v in _variables(model)]
    same(model, objects.loads(objects.dumps(model)), tuple(rows))
    assert [dict(vars(part)) for part in _parts(model)] == compiled
    for before, after in zip(states, _variables(model), strict=True):
        assert np.array_equal(before, after.numpy(), equal_nan=before.dtype.kind == "f")


def _first(rows):
    import tensorflow as tf

    return tf.nest.map_structure(lambda a: np.asarray(a)[:3], rows)


def _parts(model):
    return [
        p for p in (getattr(model, n, None) for n in ("_compile_loss", "_compile_metrics")) if p is not None
    ]


def _variables(model):
    optimizer = getattr(model, "optimizer", None)
    metrics = [v for metric in model.metrics for v in metric.variables]
    return [*model.variables, *(optimizer.variables if optimizer else []), *metrics]


def differing(change, **options):
    model = net(**options)
    copy = objects.loads(objects.dumps(model))
    change(copy)
    return model, copy


def compiled_anew(rate=0.05, **options):
    return lambda copy: copy.compile(keras.optimizers.SGD(rate), **{"loss": "mse", **options})


def unlike(metric):
    def count(y, p):
        return metric * keras.ops.abs(y - p)

    return count


@pytest.mark.parametrize(
    ("options", "change", "text"),
    [
        (
            {},
            lambda m: m.layers[0].kernel.assign_add(m.layers[0].kernel),
            r"the prediction gives .* in the stored copy",
        ),
        ({"loss": scaled_loss(1.0)}, compiled_anew(loss=scaled_loss(2.0)), r"the loss 'loss' gives"),
        ({"metrics": [unlike(1.0)]}, compiled_anew(metrics=[unlike(2.0)]), r"the metric 'count' gives"),
        ({"metrics": [unlike(1.0)]}, compiled_anew(metrics=[]), r"the metric 'count' is not in both"),
        (
            {"optimizer": "adam"},
            compiled_anew(),
            r"the optimizer is SGD in the stored copy and Adam in the model",
        ),
        ({}, lambda m: setattr(m.optimizer, "learning_rate", 0.5), r"the learning rate 0 steps on is 0.5"),
        (
            {"optimizer": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.01, 10))},
            compiled_anew(rate=0.01),
            r"the learning rate 1 steps on is 0.00999",
        ),
    ],
)
def test_what_differs_is_named(options, change, text):
    model, copy = differing(change, **options)
    with pytest.raises(ModelError, match=text):
        same(model, copy, SAMPLES)


def test_a_gradient_that_differs_is_named():
    @keras.ops.custom_gradient
    def twice(x):
        return x, lambda upstream: upstream * 2.0

    model = net(keras.layers.Dense(3), keras.layers.Lambda(lambda x: x))
    copy = objects.loads(objects.dumps(model))
    copy.layers[1].function = twice
    with pytest.raises(ModelError, match="the gradient of the loss gives"):
        same(model, copy, SAMPLES)


def test_draws_that_the_model_does_not_repeat_are_left_out():
    import tensorflow as tf

    model = net(keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x))))
    same(model, objects.loads(objects.dumps(model)), SAMPLES)


def test_state_of_the_optimizer_that_differs_is_named():
    model = net(optimizer="adam")
    model.train_on_batch(X, Y)
    copy = objects.loads(objects.dumps(model))
    same(model, copy, SAMPLES)
    copy.optimizer.iterations.assign(3)
    with pytest.raises(ModelError, match="the optimizer's variables differ in the stored copy"):
        same(model, copy, SAMPLES)


def test_verify_reads_what_was_stored(tmp_path):
    prepared = data.arrays(X, Y, validation_split=0.0).prepare()
    model = net(loss=scaled_loss(2.0))
    spec = models.store(model, tmp_path / "model")
    verify(model, spec, tmp_path, prepared)
    model.layers[0].kernel.assign_add(model.layers[0].kernel)
    with pytest.raises(ModelError, match="the prediction gives"):
        verify(model, spec, tmp_path, prepared)
    verify(net(), {"kind": "keras"}, tmp_path, prepared)


def test_an_unbuilt_model_is_built_from_the_data():
    prepared = data.arrays(X, Y, validation_split=0.0).prepare()
    model = keras.Sequential(
        [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    keras.utils.set_random_seed(4)
    assert ready(model, prepared) is model
    assert model.built
    assert model.input_shape[1:] == (4,)
    first = [w.copy() for w in model.get_weights()]
    assert ready(model, prepared) is model
    assert all(np.array_equal(a, b) for a, b in zip(first, model.get_weights(), strict=True))
    assert int(model.optimizer.iterations) == 0
    lepton = models.LeptonModel((4,), 2)
    assert ready(lepton, prepared) is lepton


def test_a_model_without_a_known_output_shape_is_built_by_a_call():
    class Half(keras.layers.Layer):
        def call(self, x):
            return x / 2

    prepared = data.arrays(X.reshape(6, 2, 2), Y, validation_split=0.0).prepare()
    layers = [keras.layers.TimeDistributed(Half()), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = ready(keras.Sequential([keras.Input((2, 2)), *layers]), prepared)
    assert [w.shape for w in model.get_weights()] == [(4, 1), (1,)]


def test_a_model_that_the_data_cannot_build_is_refused():
    prepared = data.arrays(X, Y, validation_split=0.0).prepare()
    model = keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.Dense(1)])
    with pytest.raises(ModelError, match=r"cannot be built from samples of shape \(4,\)"):
        ready(model, prepared)


def test_text_of_shapes():
    assert compare._text(np.zeros(2), np.zeros(3)) == "shape (2,)"
    assert compare._text(np.zeros(2), np.zeros(2)) == "the same"
