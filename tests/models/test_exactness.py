"""What does not train alike on several ranks is named, and nothing else is."""

import keras
import pytest

from lepton_kit import models
from lepton_kit.models import LeptonModel, SyncBatchNormalization

L = keras.layers


def explained(*layers, shape=(4,)):
    return models.explain_inexactness(keras.Sequential([keras.Input(shape), *layers]))


def test_inexact_layers_are_named():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.RandomFlip(name="flip"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.5, name="drop"),
            keras.layers.Dropout(0.0, name="harmless"),
            keras.layers.Reshape((8, 8)),
            keras.layers.GRU(2, dropout=0.1, name="recurrent"),
        ]
    )
    found = models.explain_inexactness(model)
    assert [line.split("'")[1] for line in found] == ["flip", "norm", "drop", "recurrent"]
    assert models.explain_inexactness(LeptonModel((8, 8, 1), 3).network) == []


def test_a_bias_before_batch_normalization_is_explained():
    def sentences(use_bias):
        dense = keras.layers.Dense(4, use_bias=use_bias, name="before")
        return models.explain_inexactness(
            keras.Sequential([keras.Input((2,)), dense, SyncBatchNormalization()])
        )

    assert sentences(False) == []
    (only,) = sentences(True)
    assert "the bias of layer 'before' has no effect" in only


def test_a_frozen_normalization_is_exact():
    layer = L.BatchNormalization()
    layer.trainable = False
    assert explained(L.Dense(3), layer) == []
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3), L.BatchNormalization()])
    assert len(models.explain_inexactness(inner)) == 2
    inner.trainable = False
    assert explained(inner) == []


def test_a_normalization_that_only_infers_is_exact():
    inputs = keras.Input((4,))
    layer = L.BatchNormalization()
    assert models.explain_inexactness(keras.Model(inputs, layer(inputs, training=False))) == []


def test_a_backbone_that_is_fine_tuned_as_it_predicts_is_exact():
    """base(x, training=False) with base.trainable = True, as in Keras' guide to transfer learning."""

    def sentences(called, **norm):
        x, y = keras.Input((4,)), keras.Input((4,))
        base = keras.Model(x, L.Dropout(0.5)(L.BatchNormalization()(L.Dense(3)(x), **norm)))
        return models.explain_inexactness(keras.Model(y, L.Dense(2)(base(y, **called))))

    assert sentences({"training": False}) == []
    assert len(sentences({})) == 3
    own_statistics, _bias = sentences({"training": False}, training=True)
    assert "takes its statistics from each rank's own samples" in own_statistics


def test_paths_that_are_dropped_draw():
    from keras.src.applications.convnext import StochasticDepth

    (only,) = explained(StochasticDepth(0.1))
    assert "draws random numbers" in only
    assert explained(StochasticDepth(0.0)) == []


def test_a_normalization_synchronized_by_tensorflow_is_named():
    (only,) = explained(L.BatchNormalization(synchronized=True))
    assert "also with synchronized=True" in only


class Own(L.Layer):
    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal((4,), seed=self.seeds)


class Drawn(L.Layer):
    def call(self, x):
        def noise():
            import tensorflow as tf

            return tf.random.normal((4,))

        return x + noise()


class Wide(L.Dense):
    def call(self, x):
        return super().call(x) * 2


class Recurrent(L.LSTM):
    pass


@pytest.mark.parametrize(
    ("layers", "shape", "count"),
    [
        ([Own()], (4,), 1),
        ([Drawn()], (4,), 1),
        ([Wide(3)], (4,), 0),
        ([Recurrent(3)], (4, 2), 0),
        ([L.LSTM(3)], (4, 2), 0),
        ([L.LSTM(3, recurrent_dropout=0.1)], (4, 2), 1),
        ([L.Bidirectional(L.GRU(2, dropout=0.2, name="inner"))], (4, 2), 2),
        ([L.Lambda(lambda x: x + keras.random.normal((4,)), output_shape=(4,))], (4,), 1),
        ([L.Lambda(lambda x: x * 2)], (4,), 0),
        ([L.GaussianNoise(0.0)], (4,), 0),
        ([L.GaussianNoise(0.1)], (4,), 1),
        ([L.SpatialDropout1D(0.1)], (4, 2), 1),
        ([L.Reshape((2, 2)), L.SpectralNormalization(L.Dense(3))], (4,), 0),
    ],
)
def test_random_layers(layers, shape, count):
    found = explained(*layers, shape=shape)
    assert len(found) == count, found
    assert all("random" in line for line in found)


def test_attention_with_dropout_is_named():
    inputs = keras.Input((4, 2))
    for dropout, count in ((0.0, 0), (0.1, 1)):
        attention = L.MultiHeadAttention(2, 2, dropout=dropout, name="attention")
        found = models.explain_inexactness(keras.Model(inputs, attention(inputs, inputs)))
        assert sum("'attention'" in line for line in found) == count


def test_a_model_that_draws_in_its_own_step_is_named():
    class Net(keras.Model):
        def call(self, x):
            return x

        def train_step(self, data):
            return {"loss": keras.random.normal(())}

    (only,) = models.explain_inexactness(Net(name="net"))
    assert "model 'net' (Net) draws" in only


def test_a_lepton_model_and_its_spec():
    plain = LeptonModel((4,), 2)
    assert models.explain_inexactness(plain) == []
    assert models.explain_inexactness(plain.spec()) == []
    (only,) = models.explain_inexactness(LeptonModel((4,), 2, dropout=0.25).spec())
    assert "dropout=0.25" in only
    built = LeptonModel((4,), 2, dropout=0.25)
    assert len(built.network.layers) == 8
    assert len(models.explain_inexactness(built)) == 3


def test_of_many_layers_alike_one_is_told_with_their_number():
    layers = [L.BatchNormalization(name=f"norm{place}") for place in range(5)]
    drop, few = L.Dropout(0.1, name="drop"), L.BatchNormalization(name="norm")
    normalized, dropped = explained(*layers, drop)
    assert normalized.startswith("layer 'norm0' (BatchNormalization) takes its statistics")
    assert normalized.endswith("(so do 4 more such layers, the last 'norm4')")
    assert "'drop'" in dropped
    assert len(explained(*layers[:2], few)) == 3
