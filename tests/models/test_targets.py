"""The loss and the output decide what targets are: what Keras takes is taken, what it can't is refused in a line."""

import keras
import numpy as np
import pytest

from lepton_kit import models
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.errors import ModelError
from lepton_kit.models import Task
from lepton_kit.models.description import describe
from lepton_kit.models.losses import fact

L, losses = keras.layers, keras.losses
ROWS = 6
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2])
BITS = np.array([0, 1, 1, 0, 1, 0])
ONE_HOT = np.eye(3)[LABELS]
MULTI = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1]])
VALUES = np.linspace(-1, 1, ROWS).astype("float32")


def prepared(y, x=X):
    return PreparedData(Split(x, y), None, "other")


def dense(units, activation=None, loss=None):
    model = keras.Sequential([keras.Input((4,)), L.Dense(units, activation=activation)])
    if loss is not None:
        model.compile("sgd", loss)
    return model


def maps(units, activation=None, loss=None):
    model = keras.Sequential(
        [keras.Input((4,)), L.Reshape((2, 2, 1)), L.Conv2D(units, 1, activation=activation)]
    )
    if loss is not None:
        model.compile("sgd", loss)
    return model


def sparse(**options):
    return losses.SparseCategoricalCrossentropy(from_logits=True, **options)


TAKEN = [
    (dense(3, None, sparse()), LABELS, Task("classification", 3, True)),
    (dense(3, None, sparse()), LABELS[:, None], Task("classification", 3, True)),
    (dense(3, "softmax", "sparse_categorical_crossentropy"), LABELS, Task("classification", 3, False)),
    (dense(3, None, sparse(ignore_class=-1)), LABELS - 1, Task("classification", 3, True)),
    (dense(3, "softmax", "categorical_crossentropy"), ONE_HOT, Task("classification", 3, False)),
    (dense(3, "softmax", "categorical_crossentropy"), ONE_HOT.astype(int), Task("classification", 3, False)),
    (dense(3, "sigmoid", "binary_crossentropy"), MULTI, Task("multilabel", 3, False)),
    (dense(1, "sigmoid", "bce"), BITS, Task("classification", 2, False)),
    (
        dense(1, None, losses.BinaryCrossentropy(from_logits=True)),
        BITS[:, None],
        Task("classification", 2, True),
    ),
    (dense(1, None, "mse"), np.arange(18, 18 + ROWS), Task("regression")),
    (dense(1, None, "hinge"), BITS * 2 - 1, Task("other")),
    (dense(1, None, losses.Huber()), VALUES, Task("regression")),
    (dense(1, None, keras.losses.mean_absolute_error), VALUES[:, None], Task("regression")),
    (dense(5000, None, sparse()), LABELS * 2000, Task("classification", 5000, True)),
    (maps(3, None, sparse()), np.zeros((ROWS, 2, 2), int), Task("segmentation", 3, True)),
    (maps(1, "sigmoid", "binary_crossentropy"), np.zeros((ROWS, 2, 2, 1)), Task("segmentation", 2, False)),
    (maps(1, "sigmoid", losses.Dice()), np.zeros((ROWS, 2, 2, 1)), Task("segmentation", 2, False)),
    (dense(3, None, lambda y, p: keras.ops.mean(p)), LABELS, Task("classification", 3, True)),
    (dense(2, None, lambda y, p: keras.ops.mean(p)), np.zeros((ROWS, 2)), Task("regression")),
    (dense(2, None, lambda y, p: keras.ops.mean(p)), np.zeros((ROWS, 5), int), Task("other")),
]


@pytest.mark.parametrize(("model", "y", "task"), TAKEN)
def test_what_a_compiled_loss_takes(model, y, task, tmp_path):
    assert np.isfinite(model.train_on_batch(X, y))
    models.check_fits(model, prepared(y))
    assert models.task_of(model, prepared(y)) == task
    spec = models.store(model, tmp_path / "model")
    models.check_fits(spec, prepared(y), tmp_path)
    assert models.task_of(spec, prepared(y), tmp_path) == task
    (tmp_path / "model" / "model.json").write_text("{}")
    if spec["kind"] == "keras":  # a .keras file alone says less of the shapes, and nothing wrong
        models.check_fits(spec, prepared(y), tmp_path)
        assert models.task_of(spec, prepared(y), tmp_path).kind == task.kind


REFUSED = [
    (dense(3, None, sparse()), LABELS + 1, r"labels 0 to 2; row 2 has the label 3"),
    (dense(3, None, sparse()), LABELS - 1, r"row 0 has the label -1"),
    (dense(3, None, sparse(ignore_class=-1)), LABELS - 2, r"row 0 has the label -2"),
    (dense(3, None, sparse()), ONE_HOT, r"for one-hot targets use categorical_crossentropy"),
    (dense(3, "softmax", "categorical_crossentropy"), LABELS, r"for whole-number labels use sparse"),
    (
        dense(3, "softmax", "categorical_crossentropy"),
        np.eye(4)[LABELS],
        r"output's shape \(3,\); they have \(4,\)",
    ),
    (dense(3, "sigmoid", "binary_crossentropy"), BITS, r"output's shape \(3,\); they have \(\)"),
    (
        dense(2, None, "mse"),
        np.zeros((ROWS, 3)),
        r"2 values a sample; the loss mean_squared_error cannot take",
    ),
    (
        maps(3, None, sparse()),
        np.zeros((ROWS, 3, 2), int),
        r"one whole-number label for each of 2 x 2 values",
    ),
    (dense(1, None, "mse"), None, r"the loss mean_squared_error needs targets; the data have none"),
]


@pytest.mark.parametrize(("model", "y", "text"), REFUSED)
def test_what_a_compiled_loss_cannot_take(model, y, text):
    with pytest.raises(Exception):  # noqa: B017  whatever Keras says
        assert np.isfinite(model.train_on_batch(X, y))
    with pytest.raises(ModelError, match=text):
        models.check_fits(model, prepared(y))


DEFAULTS = [
    (dense(3), LABELS, "SparseCategoricalCrossentropy", True),
    (dense(3), LABELS[:, None], "SparseCategoricalCrossentropy", True),
    (dense(3, "softmax"), LABELS.astype("float32"), "SparseCategoricalCrossentropy", False),
    (dense(3, "softmax"), ONE_HOT, "CategoricalCrossentropy", False),
    (dense(3), ONE_HOT.astype(int), "CategoricalCrossentropy", True),
    (dense(3, "sigmoid"), ONE_HOT, "BinaryCrossentropy", False),
    (dense(3), MULTI, "BinaryCrossentropy", True),
    (dense(3, "sigmoid"), MULTI.astype("float32"), "BinaryCrossentropy", False),
    (dense(1), BITS, "BinaryCrossentropy", True),
    (dense(1, "sigmoid"), BITS.astype("float32"), "BinaryCrossentropy", False),
    (dense(1), BITS.astype("float32"), "MeanSquaredError", None),
    (dense(1), np.arange(18, 18 + ROWS), "MeanSquaredError", None),
    (dense(3), np.full((ROWS, 3), 0.5), "MeanSquaredError", None),
    (maps(3), np.zeros((ROWS, 2, 2), int), "SparseCategoricalCrossentropy", True),
    (maps(1), np.zeros((ROWS, 2, 2), int), "BinaryCrossentropy", True),
]


@pytest.mark.parametrize(("model", "y", "name", "logits"), DEFAULTS)
def test_the_default_loss_suits_output_and_targets(model, y, name, logits):
    loss, metrics, from_logits = models.compile_defaults(model, prepared(y))
    assert (type(loss).__name__, from_logits) == (name, logits)
    models.check_fits(model, prepared(y))
    copy = keras.models.clone_model(model)
    copy.compile("sgd", loss, metrics=metrics)
    assert np.isfinite(copy.train_on_batch(X, y)).all()


@pytest.mark.parametrize(
    ("model", "y", "text"),
    [
        (dense(3), VALUES, r"gives 3 values a sample; the targets have shape \(\): compile"),
        (dense(1, "sigmoid"), LABELS, "sigmoid probabilities, so targets of 0 and 1"),
        (dense(3), LABELS + 1, "row 2 has the label 3"),
    ],
)
def test_targets_that_no_default_suits(model, y, text):
    with pytest.raises(ModelError, match=text):
        models.check_fits(model, prepared(y))


def heads(**options):
    inputs = keras.Input((4,))
    outputs = {"a": L.Dense(3, name="a")(inputs), "b": L.Dense(1, name="b")(inputs)}
    model = keras.Model(inputs, outputs)
    if options:
        model.compile("sgd", **options)
    return model


def test_several_outputs():
    loss = {"a": sparse(), "b": "mse"}
    models.check_fits(heads(loss=loss), prepared({"a": LABELS, "b": VALUES}))
    models.check_fits(heads(loss={"b": "mse"}), prepared({"b": VALUES}))
    assert models.task_of(heads(loss=loss), prepared({"a": LABELS, "b": VALUES})).kind == "other"
    with pytest.raises(ModelError, match="output 'a': the model has 3 outputs"):
        models.check_fits(heads(loss=loss), prepared({"a": LABELS + 1, "b": VALUES}))
    with pytest.raises(ModelError, match=r"outputs are \['a', 'b'\]; the targets are \['a'\]"):
        models.check_fits(heads(loss=loss), prepared({"a": LABELS}))
    with pytest.raises(ModelError, match="the targets are one array"):
        models.check_fits(heads(loss=loss), prepared(LABELS))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [L.Dense(3)(inputs), L.Dense(1)(inputs)])
    model.compile("sgd", [sparse(), "mse"])
    models.check_fits(model, prepared((LABELS, VALUES)))
    with pytest.raises(ModelError, match="2 outputs; there are targets for 3"):
        models.check_fits(model, prepared((LABELS, VALUES, VALUES)))
    loss, metrics, logits = models.compile_defaults(
        keras.Model(inputs, model.outputs), prepared((LABELS, VALUES))
    )
    assert [type(one).__name__ for one in loss] == ["SparseCategoricalCrossentropy", "MeanSquaredError"]
    assert (len(metrics), logits) == (2, [True, None])


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = L.Dense(3)

    def call(self, x):
        return self.out(x)


def test_a_subclassed_model_is_asked_for_its_shapes():
    model = models.ready(Net(), prepared(LABELS))
    assert type(models.compile_defaults(model, prepared(ONE_HOT))[0]).__name__ == "CategoricalCrossentropy"
    model.compile("sgd", sparse())
    assert models.task_of(model, prepared(LABELS)) == Task("classification", 3, True)
    with pytest.raises(ModelError, match="row 2 has the label 3"):
        models.check_fits(model, prepared(LABELS + 1))


def test_own_code_is_believed():
    class Own(Net):
        def compute_loss(self, **parts):
            return keras.ops.mean(parts["y_pred"])

    model = models.ready(Own(), prepared(LABELS))
    model.compile("sgd", sparse())
    models.check_fits(model, prepared(LABELS + 1))
    assert models.task_of(model, prepared(LABELS)) == Task("other")


def test_no_targets():
    assert models.compile_defaults(dense(3), prepared(None)) == (None, [], None)
    models.check_fits(dense(3), prepared(None))
    assert models.task_of(dense(3), prepared(None)) == Task("other")


def test_a_loss_that_the_run_names_goes_before_the_models_own():
    model = dense(1, None, "mse")
    assert models.task_of(model, prepared(BITS), loss="binary_crossentropy").kind == "classification"
    with pytest.raises(ModelError, match="row 0 has the label -1"):
        models.check_fits(dense(3, None, "mse"), prepared(LABELS - 1), loss="sparse_categorical_crossentropy")


@pytest.mark.parametrize(
    ("loss", "name", "stock"),
    [
        ("mse", "mean_squared_error", True),
        (losses.KLDivergence(), "kl_divergence", True),
        ("kld", "kl_divergence", True),
        (losses.MeanSquaredLogarithmicError(), "mean_squared_logarithmic_error", True),
        (keras.losses.binary_crossentropy, "binary_crossentropy", True),
        (losses.CategoricalFocalCrossentropy(), "categorical_focal_crossentropy", True),
        (lambda y, p: p, "<lambda>", False),
        (keras.saving.serialize_keras_object(losses.SparseCategoricalCrossentropy()),
         "sparse_categorical_crossentropy", True),
    ],
)  # fmt: skip
def test_facts_of_losses(loss, name, stock):
    found = fact(loss)
    assert (found["name"], found["stock"]) == (name, stock)


def test_a_lepton_model_says_its_task():
    lepton = models.LeptonModel((4,), 3)
    assert models.task_of(lepton, prepared(LABELS)) == Task("classification", 3, True)
    assert models.task_of(lepton.spec(), prepared(LABELS)) == Task("classification", 3, True)
    regression = models.LeptonModel((4,), 1, task="regression")
    assert models.task_of(regression, prepared(BITS)) == Task("regression")
    lepton.network.compile("sgd", "mse")
    assert describe(lepton)["loss"]["name"] == "mean_squared_error"


def test_inputs_with_a_last_axis_of_one_that_the_data_lack():
    model = keras.Sequential([keras.Input((4, 1)), L.Flatten(), L.Dense(1)])
    models.check_fits(model, prepared(VALUES))
    assert np.isfinite(model(X)).all()


def test_inputs_by_position():
    one, two = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([one, two], L.Dense(1)(L.Add()([one, two])))
    models.check_fits(model, prepared(VALUES, (X, X)))
