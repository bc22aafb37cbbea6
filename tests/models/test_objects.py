"""A model as an object: in another process it predicts, loses, derives and steps as it does where it was made."""

import os
import pickle
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from lepton_kit.errors import ModelError
from lepton_kit.models import custom, objects
from tests.models import object_facts
from tests.models.object_table import TABLE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """{name: (facts here, facts of the pickle in another process)}."""
    import keras

    folder = tmp_path_factory.mktemp("objects")
    here = {}
    for name, make in TABLE.items():
        keras.utils.set_random_seed(1)
        try:
            model, *rows = make()
            content = objects.dumps(model)
            (folder / f"{name}.rows").write_bytes(pickle.dumps(rows))
            (folder / f"{name}.pkl").write_bytes(content)
            here[name] = object_facts.facts(model, *rows)
        except Exception as failure:
            here[name] = failure
    command = [sys.executable, str(Path(object_facts.__file__)), str(folder)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    there = {
        name: pickle.loads((folder / f"{name}.facts").read_bytes())
        for name in TABLE
        if (folder / f"{name}.pkl").exists()
    }
    return here, there


@pytest.mark.processes
@pytest.mark.parametrize("name", TABLE)
def test_the_object_is_the_same_elsewhere(elsewhere, name):
    here, there = elsewhere[0][name], elsewhere[1].get(name)
    if isinstance(here, Exception):
        raise here
    assert "error" not in there, there["error"]
    assert here.keys() == there.keys()
    for fact, values in here.items():
        assert len(values) == len(there[fact]), fact
        for one, two in zip(values, there[fact], strict=True):
            if isinstance(one, np.ndarray) and one.dtype.kind not in "US":
                # Half precision is summed in another order from process to process where a CPU has instructions for it.
                rounding = 2e-3 if "mixed_precision" in name else 1e-5
                assert np.allclose(np.float64(one), np.float64(two), rtol=rounding, atol=1e-6), fact
            else:
                assert one == two, fact


def dense():
    import keras

    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def test_what_is_not_keras_own_is_named():
    assert objects.foreign(dense()) == []
    names = objects.foreign(TABLE["layer_without_config"]()[0])
    assert "Scale" in names
    assert any("lambda" in name for name in objects.foreign(TABLE["lambda_loss"]()[0]))
    assert objects.foreign(TABLE["partial_activation"]()[0])
    assert objects.foreign(TABLE["tensorflow_activation"]()[0])
    assert objects.foreign(TABLE["trained_stock_with_metrics"]()[0]) == []


def test_what_was_shared_stays_shared_and_what_was_tracked_is_tracked():
    model = TABLE["trained_optimizer"]()[0]
    copy = objects.loads(objects.dumps(model))
    layer = copy.layers[-1]
    assert layer._trainable_variables[0] is layer.kernel is copy.trainable_variables[0]
    assert layer._tracker.is_in_store("trainable_variables", layer.kernel)
    assert not layer._tracker.is_in_store("trainable_variables", model.layers[-1].kernel)
    assert copy.optimizer._get_variable_index(layer.kernel) == 0
    assert [v.path for v in copy.variables] == [v.path for v in model.variables]
    copy.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
    assert int(copy.optimizer.iterations) == int(model.optimizer.iterations) + 1


def test_a_graph_of_layers_can_be_written_by_keras_after_its_journey(tmp_path):
    import keras

    inside = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dropout(0.5)])
    given = keras.Input((3,))
    parts = [inside(given), keras.layers.Dense(2)(given), inside(given)]
    model = keras.Model(given, keras.layers.Dense(2)(keras.layers.Concatenate()(parts)))
    there = objects.loads(objects.dumps(model))
    there.save(tmp_path / "there.keras")
    rows = np.arange(12, dtype="float32").reshape(4, 3)
    again = keras.models.load_model(tmp_path / "there.keras")
    np.testing.assert_array_equal(again.predict(rows, verbose=0), model.predict(rows, verbose=0))


def test_a_layer_that_is_not_built_yet_is_built_after_its_journey():
    import keras

    model = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])
    copy = objects.loads(objects.dumps(model))
    copy.build((None, 3))
    assert [w.shape for w in copy.get_weights()] == [(3, 2), (2,), (2, 1), (1,)]
    assert copy.layers[0]._tracker.locked


class Bag:
    """Things that pickle does not know."""

    def __init__(self):
        self.alive = {1, 2}
        self.kept = weakref.WeakSet()
        self.by_key = weakref.WeakKeyDictionary()
        self.lock, self.again, self.here = threading.Lock(), threading.RLock(), threading.local()
        self.gone = weakref.ref(Bag.Thing())
        self.thing = Bag.Thing()
        self.near = weakref.ref(self.thing)

    class Thing:
        pass


def test_locks_and_weak_references():
    model = dense()
    model.bag = Bag()
    bag = objects.loads(objects.dumps(model)).bag
    assert bag.near() is bag.thing
    assert bag.gone() is None
    assert (len(bag.kept), len(bag.by_key)) == (0, 0)
    with bag.lock, bag.again:
        bag.here.x = 1


def test_tensors_of_tensorflow():
    import tensorflow as tf

    model = dense()
    model.layers[0].things = (
        tf.ragged.constant([[1], [2, 3]]),
        tf.sparse.from_dense([[0.0, 2.0]]),
        tf.constant(["a", "b"]),
        tf.constant([1.5], tf.bfloat16),
        tf.random.Generator.from_seed(3),
        tf.Variable([1.0, 2.0], shape=[None], trainable=False),
        tf.TensorSpec([None, 2]),
    )
    ragged, sparse, text, half, draws, variable, spec = objects.loads(objects.dumps(model)).layers[0].things
    assert ragged.to_list() == [[1], [2, 3]]
    assert tf.sparse.to_dense(sparse).numpy().tolist() == [[0.0, 2.0]]
    assert text.numpy().tolist() == [b"a", b"b"]
    assert (half.dtype, float(half[0])) == (tf.bfloat16, 1.5)
    assert draws.normal([2]).numpy().tolist() == model.layers[0].things[4].normal([2]).numpy().tolist()
    assert variable.shape.as_list() == [None]
    assert not variable.trainable
    assert spec.shape.as_list() == [None, 2]


def test_a_tensor_of_a_finished_graph_is_dropped():
    import tensorflow as tf

    model = dense()

    @tf.function
    def leak(x):
        model.layers[0].leaked = x
        return x

    leak(tf.ones(2))
    assert objects.loads(objects.dumps(model)).layers[0].leaked is None


def test_a_class_that_says_how_it_is_pickled_is_believed():
    import keras

    class Own(keras.losses.Loss):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def __getstate__(self):
            return {"kept": self.factor}

        def __setstate__(self, state):
            Own.__init__(self, state["kept"] + 1)

    class Reduced(keras.losses.Loss):
        def __reduce__(self):
            return Reduced, (), {"marked": True}

    model = dense()
    model.compile("sgd", Own(3))
    assert objects.loads(objects.dumps(model)).loss.factor == 4
    model.compile("sgd", Reduced())
    assert objects.loads(objects.dumps(model)).loss.marked


def test_what_cannot_travel_and_what_is_torn():
    model = dense()
    model.layers[0].rows = (row for row in ())
    with pytest.raises(ModelError, match=r"Dense 'dense.*generator"):
        objects.dumps(model)
    with pytest.raises(ModelError, match="the stored model cannot be read"):
        objects.loads(objects.dumps(dense())[:-10])


def test_code_of_a_class_may_name_objects_that_come_before_their_own():
    """A script's own step that uses a loss of its module: the class is read before the model that is of it."""
    import keras

    space = {"keras": keras, "loss_of_the_script": keras.losses.MeanSquaredError(name="outside")}
    exec(
        "class Own(keras.Model):\n    def train_step(self, data):\n        return loss_of_the_script\n",
        space,
    )
    kind = space["Own"]
    kind.__module__ = "__main__"
    inputs = keras.Input((2,))
    model = kind(inputs, keras.layers.Dense(1)(inputs))
    copy = objects.loads(objects.dumps(model))
    assert copy.train_step(None).name == "outside"
    assert copy.count_params() == 3


NOTEBOOK = """
loss_tracker = keras.metrics.Mean(name="loss")
FACTOR = 2.0

class Own(keras.Model):
    def train_step(self, data):
        loss_tracker.update_state(FACTOR)
        return {"loss": loss_tracker.result()}

    @property
    def metrics(self):
        return [loss_tracker]
"""


@pytest.fixture
def notebook():
    """A notebook's variables, with a model whose class reads some of them."""
    import keras

    space = {"keras": keras}
    exec(NOTEBOOK, space)
    space["Own"].__module__ = "__main__"
    inputs = keras.Input((2,))
    space["model"] = space["Own"](inputs, keras.layers.Dense(1)(inputs))
    return space


def test_reading_a_copy_leaves_the_class_of_the_notebook_alone(notebook):
    model, kind = notebook["model"], notebook["Own"]
    step = kind.train_step
    one, two = (objects.loads(objects.dumps(model)) for _ in range(2))
    assert kind.train_step is step
    assert model.metrics[0] is notebook["loss_tracker"]
    notebook["FACTOR"] = 3.0  # as a later cell would
    assert float(model.train_step(None)["loss"]) == 3.0
    # Each copy has what it needs for itself: two ranks in threads of a process don't share a metric.
    assert float(one.train_step(None)["loss"]) == 2.0
    assert len({id(each.metrics[0]) for each in (model, one, two)}) == 3


def test_a_trained_model_is_of_the_class_of_the_notebook(notebook):
    model, kind = notebook["model"], notebook["Own"]
    content, step = objects.dumps(model), kind.train_step
    with objects.own_classes():
        trained = objects.loads(content)
    assert isinstance(trained, kind)
    assert kind.train_step is step
    assert not isinstance(objects.loads(content), kind)
    strange = "import sys, lepton_kit.models.objects as o\nwith o.own_classes(): m = o.loads(sys.stdin.buffer.read())"
    command = [sys.executable, "-c", f"{strange}\nassert float(m.train_step(None)['loss']) == 2.0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=content, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]  # a process without the class takes it from the code


def test_a_copy_goes_on_under_the_identity_of_its_class(notebook):
    """What travels beside it, such as a callback that asks for the class, meets the same class in the worker."""
    copy = objects.loads(objects.dumps(notebook["model"]))
    script = """
import sys, cloudpickle, lepton_kit.models.objects as objects
kind, content = cloudpickle.load(sys.stdin.buffer)
assert isinstance(objects.loads(content), kind)
assert isinstance(objects.loads(content), kind)
"""
    sent = cloudpickle.dumps((notebook["Own"], objects.dumps(copy)))
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, input=sent, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_code_beside_a_keras_file_leaves_the_class_of_the_notebook_alone(notebook, tmp_path):
    kind = notebook["Own"]
    step = kind.train_step
    custom.write_custom({"Own": kind}, tmp_path)
    read = custom.read_custom(tmp_path / custom.CODE)["Own"]
    assert kind.train_step is step
    assert read is not kind
    assert read.__name__ == "Own"


def test_what_a_closure_of_the_loss_reads_is_reached_in_the_same_order():
    import keras
    import tensorflow as tf

    knob, other = tf.Variable(2.0, name="knob"), keras.Variable(3.0, name="other")
    model = dense()
    model.compile("sgd", lambda y, p: keras.ops.sum(p) * knob * other)
    copy = objects.loads(objects.dumps(model))
    here, there = objects.reached(model), objects.reached(copy)
    assert [v.shape for v in here.variables] == [v.shape for v in there.variables]
    assert [type(part) for part in here.parts] == [type(part) for part in there.parts]
    place = next(k for k, v in enumerate(here.variables) if v is knob)
    there.variables[place].assign(5.0)
    value = float(copy._compile_loss._user_loss(None, keras.ops.ones(2)))
    assert value == 2 * 5.0 * 3.0
    assert any(v is other.value for v in here.variables)
    objects.forget(model)
    assert objects.reached(model).variables == []


def test_a_graph_that_travelled_can_be_written_by_keras(tmp_path: Path):
    # Keras knows the nodes of a graph by the addresses of their layers; a copy with the old ones has no .keras file,
    # so that nothing could be exported or compressed.
    import keras

    inputs = keras.Input((4, 4, 1))
    twice = keras.layers.Conv2D(1, 3, padding="same")
    inner = keras.Model(inputs, keras.layers.Concatenate()([twice(twice(inputs)), inputs]))
    outside = keras.Input((4, 4, 1))
    model = keras.Model(outside, keras.layers.Conv2D(1, 1)(inner(outside)))
    copy = objects.loads(objects.dumps(model))
    copy.save(tmp_path / "copy.keras")
    again = keras.models.load_model(tmp_path / "copy.keras")
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 1))
    assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
