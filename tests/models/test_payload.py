"""Any Keras model into a folder and out of it in another process; what training uses by default."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lepton_kit import data, models
from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.models import LeptonModel, trust

ROOT = Path(__file__).parents[2]

NOTEBOOK = """
import sys, keras, numpy as np
from lepton_kit import models

class Square(keras.layers.Layer):
    def call(self, x):
        return x * x

def shifted(x):
    return keras.ops.relu(x) + 0.1

def own_loss(y, p):
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True))

class Net(keras.Model):
    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.units = units
        self.body = [keras.layers.Flatten(), keras.layers.Dense(units, activation=shifted), Square()]
        self.out = keras.layers.Dense(10)
    def call(self, x):
        for layer in self.body:
            x = layer(x)
        return self.out(x)
    def get_config(self):
        return {"units": self.units}

keras.utils.set_random_seed(0)
net = Net(6)
x = np.ones((2, 8, 8, 1), "float32")
net(x)
net.compile(keras.optimizers.SGD(0.125), own_loss, metrics=["accuracy"])
print(models.store(net, sys.argv[1] + "/model"))
np.save(sys.argv[1] + "/outputs.npy", net(x))
"""


def test_a_subclassed_model_of_a_notebook_comes_back_elsewhere(tmp_path):
    command = [sys.executable, "-c", NOTEBOOK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert "{'kind': 'object', 'path': 'model/model.pkl'}" in done.stdout, done.stderr[-2000:]
    for kind, file in (("object", "model.pkl"), ("keras", "model.keras")):
        model = models.build({"kind": kind, "path": f"model/{file}"}, tmp_path, 0)
        assert np.allclose(model(np.ones((2, 8, 8, 1))), np.load(tmp_path / "outputs.npy"))
        assert model.loss.__name__ == "own_loss"
        assert float(model.optimizer.learning_rate) == 0.125
    files = sorted(p.name for p in (tmp_path / "model").iterdir())
    assert files == ["custom.pkl", "model.json", "model.keras", "model.pkl"]
    assert models.input_shapes({"kind": "object", "path": "model/model.pkl"}, tmp_path) is None


REGISTERED = """
import sys

import keras
import numpy as np

from lepton_kit import models


def layer_of(package, factor):
    @keras.saving.register_keras_serializable(package=package)
    class Scaled(keras.layers.Layer):
        def call(self, x):
            return x * factor

    return Scaled()


@keras.saving.register_keras_serializable()
def own_loss(y, p):
    return keras.ops.mean((y - p) ** 2)


net = keras.Sequential([keras.Input((2,)), layer_of("one", 2.0), layer_of("two", 3.0)])
net.compile("sgd", own_loss)
models.store(net, sys.argv[1] + "/model")
"""


def test_classes_that_were_registered_with_keras_are_found_elsewhere_each_under_its_own_name(tmp_path):
    command = [sys.executable, "-c", REGISTERED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    model = models.build({"kind": "keras", "path": "model/model.keras"}, tmp_path, 0)
    assert np.allclose(model(np.ones((1, 2))), 6.0)
    assert model.loss.__name__ == "own_loss"


def small(*, units=3, activation=None, inputs=(4,)):
    import keras

    return keras.Sequential([keras.Input(inputs), keras.layers.Dense(units, activation=activation)])


def test_lepton_models_with_and_without_weights(tmp_path):
    model = LeptonModel((4,), 2)
    assert models.store(model, tmp_path / "model") == model.spec()
    assert not (tmp_path / "model").exists()
    model(np.zeros((1, 4)))
    spec = models.store(model, tmp_path / "model")
    assert models.input_shapes(spec, tmp_path) == (4,)
    assert np.array_equal(models.build(spec, tmp_path, 9).get_weights()[0], model.get_weights()[0])


def two_inputs():
    import keras

    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    both = keras.layers.Concatenate()([a, b])
    outputs = {"c": keras.layers.Dense(3, name="c")(both), "d": keras.layers.Dense(1, name="d")(both)}
    return keras.Model({"a": a, "b": b}, outputs)


def test_several_inputs_and_outputs(tmp_path):
    model = two_inputs()
    spec = models.store(model, tmp_path / "model")
    assert models.input_shapes(spec, tmp_path) == {"a": (4,), "b": (2,)}
    prepared = data.arrays(
        {"a": np.eye(4), "b": np.eye(4)[:, :2]}, {"c": np.arange(4) % 3, "d": np.ones(4) / 3}
    ).prepare()
    models.check_fits(spec, prepared, tmp_path)
    loss, metrics, logits = models.compile_defaults(model, prepared)
    assert type(loss["c"]).__name__ == "SparseCategoricalCrossentropy"
    assert type(loss["d"]).__name__ == "MeanSquaredError"
    assert logits == {"c": True, "d": None}
    assert metrics["d"] == ["mae"]
    other = data.arrays({"a": np.eye(4), "z": np.eye(4)}, {"c": np.arange(4) % 3}).prepare()
    with pytest.raises(ModelError, match=r"inputs are \['a', 'b'\]; the data have \['a', 'z'\]"):
        models.check_fits(spec, other, tmp_path)
    with pytest.raises(ModelError, match=r"outputs are \['c', 'd'\]; the targets are \['c'\]"):
        models.compile_defaults(model, other)


@pytest.mark.parametrize("stored", [True, False])
def test_what_does_not_fit(tmp_path, stored):
    model = small()
    given = models.store(model, tmp_path / "model") if stored else model
    with pytest.raises(ModelError, match=r"expects samples of shape \(4,\); the data have \(5,\)"):
        models.check_fits(given, data.arrays(np.eye(5), np.arange(5) % 2).prepare(), tmp_path)
    with pytest.raises(ModelError, match=r"3 outputs .*labels 0 to 2; row 3 has the label 3"):
        models.check_fits(given, data.arrays(np.eye(4), np.arange(4), validation_split=0).prepare(), tmp_path)
    with pytest.raises(ModelError, match="the data are named"):
        models.check_fits(given, data.arrays({"x": np.eye(4)}, np.arange(4) % 2).prepare(), tmp_path)


@pytest.mark.parametrize(
    ("units", "activation", "targets", "loss", "logits"),
    [
        (3, None, np.arange(4) % 3, "SparseCategoricalCrossentropy", True),
        (3, "softmax", np.arange(4) % 3, "SparseCategoricalCrossentropy", False),
        (1, "sigmoid", np.arange(4) % 2, "BinaryCrossentropy", False),
        (1, None, np.arange(4) % 2, "BinaryCrossentropy", True),
        (1, None, np.arange(4) / 2, "MeanSquaredError", None),
    ],
)
def test_compile_defaults(units, activation, targets, loss, logits):
    prepared = data.arrays(np.eye(4), targets, validation_split=0).prepare()
    model = small(units=units, activation=activation)
    found, metrics, from_logits = models.compile_defaults(model, prepared)
    assert type(found).__name__ == loss
    assert from_logits is logits
    model.compile("adam", found, metrics=metrics)
    assert np.isfinite(model.evaluate(np.eye(4), targets, verbose=0)).all()


def test_models_that_cannot_be_stored(tmp_path):
    import keras

    with pytest.raises(ModelError, match="a list is no model"):
        models.store([1], tmp_path / "model")
    with pytest.raises(ModelError, match="no weights yet"):
        models.store(keras.Sequential([keras.layers.Dense(2)]), tmp_path / "model")
    model = small()
    model.layers[0].rows = (row for row in ())
    with pytest.raises(ModelError, match=r"Dense 'dense.*' holds something that cannot be sent .*generator"):
        models.store(model, tmp_path / "model")


def test_what_keras_cannot_write_still_travels(tmp_path):
    import keras

    class NoConfig(keras.layers.Layer):
        def __init__(self, matrix, **options):
            super().__init__(**options)
            self.matrix = matrix

        def call(self, x):
            return x @ self.matrix

    model = keras.Sequential([keras.Input((2,)), NoConfig(np.eye(2, dtype="float32"))])
    spec = models.store(model, tmp_path / "model")
    assert spec == {"kind": "object", "path": "model/model.pkl"}
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "model.pkl"]
    assert models.input_shapes(spec, tmp_path) == (2,)
    assert np.array_equal(models.build(spec, tmp_path, 0)(np.ones((1, 2))), np.ones((1, 2)))
    (tmp_path / "model" / "model.json").write_text("torn")
    with pytest.raises(ModelError, match=r"model.json: not a readable description"):
        models.input_shapes(spec, tmp_path)
    (tmp_path / "model" / "model.pkl").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"model\.pkl: code from elsewhere.*trust=True"):
        models.build(spec, tmp_path, 0)
    trust.note(b"torn")
    with pytest.raises(ModelError, match="the stored model cannot be read"):
        models.build(spec, tmp_path, 0)


def test_a_stock_model_that_its_config_does_not_describe_travels_as_an_object(tmp_path):
    model = small()
    assert models.store(model, tmp_path / "model")["kind"] == "keras"
    model.layers[0].kernel.trainable = False
    spec = models.store(model, tmp_path / "model")
    assert spec["kind"] == "object"
    assert not models.build(spec, tmp_path, 0).layers[0].kernel.trainable


def test_errors_of_specs(tmp_path):
    for spec, field in (
        ({"kind": "torch"}, "model.kind"),
        ({"kind": "keras"}, "model.path"),
        ({"kind": "keras", "path": "x", "seed": 1}, "model.seed"),
    ):
        with pytest.raises(ConfigError) as caught:
            models.build(spec, tmp_path, 0)
        assert caught.value.field == field
    spec = {"kind": "keras", "path": "x.keras"}
    with pytest.raises(ModelError, match="no such file"):
        models.build(spec, tmp_path, 0)
    (tmp_path / "x.keras").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"not a readable .keras file"):
        models.input_shapes(spec, tmp_path)
    with pytest.raises(ModelError, match="Keras cannot read it"):
        models.build(spec, tmp_path, 0)


def test_stored_code_that_is_torn(tmp_path):
    spec = models.store(small(), tmp_path / "model")
    assert zipfile.is_zipfile(tmp_path / "model" / "model.keras")
    (tmp_path / "model" / "custom.pkl").write_bytes(b"torn")
    trust.note(b"torn")
    with pytest.raises(ModelError, match="the stored classes cannot be read"):
        models.build(spec, tmp_path, 0)
