"""Situations in which people who compress Keras models were stuck elsewhere, by their public reports, with the kit's verbs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as kl

from lepton_kit.compression.pruning.callback import PruningCallback
from lepton_kit.compression.quantization import qat
from lepton_kit.compression.quantization.convert import convert
from lepton_kit.config import PruningConfig, QuantizationAwareConfig
from lepton_kit.deploy import compress, export, infer
from lepton_kit.errors import CompressionError
from tests.zoo import judge

pytestmark = [
    pytest.mark.processes,
    pytest.mark.conformance,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("ai_edge_litert", "tf2onnx", "onnxruntime")),
        reason="the formats come with lepton_kit[compression,onnx]",
    ),
]
QUICK = {"fine_tune_epochs": 1, "repetitions": 2, "memory": False}


@pytest.fixture(autouse=True)
def seed() -> None:
    keras.utils.set_random_seed(0)


def drawn(model: Any, samples: int = 120) -> tuple[Any, ...]:
    """(x, y, x held out, y held out) of a compiled model with one input and class numbers as targets."""
    random, cut = np.random.default_rng(0), samples * 3 // 4
    x = random.normal(size=(samples, *model.inputs[0].shape[1:])).astype("float32")
    y = np.asarray(model(x)).argmax(-1)  # its own answers, so that a file which answers otherwise scores less
    return x[:cut], y[:cut], x[cut:], y[cut:]


def classes(*layers: Any, shape: tuple[int, ...]) -> Any:
    model = keras.Sequential([keras.Input(shape), *layers])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_qat_of_a_transposed_convolution_with_its_batch_normalization(tmp_path):
    """tensorflow/tensorflow#43939, model-optimization#372, #602: not supported, neither is up-sampling."""
    norm, transposed = kl.BatchNormalization(), kl.Conv2DTranspose(8, 3, strides=2, padding="same")
    model = classes(
        kl.Conv2D(8, 3, activation="relu"), transposed, norm, kl.ReLU(), kl.UpSampling2D(2, interpolation="bilinear"),
        kl.Conv2D(2, 1, activation="softmax"), shape=(8, 8, 1),
    )  # fmt: skip
    norm.moving_variance.assign(np.linspace(0.5, 2, 8))
    card = compress(model, drawn(model), quantize=("qat8",), folder=tmp_path, **QUICK)
    assert card["qat8"].error is None
    assert card["qat8"].get("score") > 0.8


def test_qat_of_a_backbone_with_a_new_head(tmp_path):
    """tensorflow/model-optimization#292: a model inside a model is not taken."""
    x = keras.Input((16, 16, 3))
    y = kl.ReLU(6.0)(kl.BatchNormalization()(kl.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)))
    inner = kl.ReLU(6.0)(kl.BatchNormalization()(kl.DepthwiseConv2D(3, padding="same", use_bias=False)(y)))
    y = kl.Add()([y, kl.BatchNormalization()(kl.Conv2D(8, 1, use_bias=False)(inner))])
    backbone = keras.Model(x, kl.GlobalAveragePooling2D()(y), name="backbone")
    model = classes(backbone, kl.Dense(3, activation="softmax"), shape=(16, 16, 3))
    card = compress(model, drawn(model), quantize=("qat8", "int8"), folder=tmp_path, **QUICK)
    assert [row.error for row in card.rows] == [None] * len(card.rows)
    assert card["qat8"].get("score") > 0.8


def test_qat_of_a_model_that_begins_with_rescaling(tmp_path):
    """tensorflow/model-optimization#647: Rescaling is not supported."""
    model = classes(
        kl.Rescaling(1 / 255), kl.Conv2D(8, 3, activation="relu"), kl.GlobalAveragePooling2D(),
        kl.Dense(3, activation="softmax"), shape=(8, 8, 3),
    )  # fmt: skip
    card = compress(model, drawn(model), quantize=("qat8",), folder=tmp_path, **QUICK)
    assert card["qat8"].error is None


def test_a_pruned_file_is_as_large_and_the_card_says_so(tmp_path):
    """tensorflow/model-optimization#722, #760: pruning does not make the file smaller."""
    model = classes(kl.Dense(256, activation="relu"), kl.Dense(3, activation="softmax"), shape=(64,))
    card = compress(model, drawn(model), quantize=("int8",), sparsity=0.8, folder=tmp_path, **QUICK)
    sparse = next(row for row in card.rows if row.sparsity and row.precision == "float32")
    assert sparse.get("file_bytes") == pytest.approx(card["float32"].get("file_bytes"), rel=0.02)
    assert sparse.get("gzip_bytes") < 0.6 * card["float32"].get("gzip_bytes")
    small = next(row for row in card.rows if row.sparsity and row.precision == "int8")
    assert small.get("gzip_bytes") < 0.25 * card["float32"].get("gzip_bytes")


@keras.saving.register_keras_serializable(package="reports")
class Block(keras.layers.Layer):
    """A layer that is made of Keras' own."""

    def __init__(self, units: int, **more: Any):
        super().__init__(**more)
        self.units = units
        self.first, self.second = kl.Dense(units, activation="relu"), kl.Dense(units)

    def build(self, shape: Any) -> None:
        self.first.build(shape)
        self.second.build((*shape[:-1], self.units))

    def call(self, x: Any) -> Any:
        return x + self.second(self.first(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def test_qat_of_a_layer_that_is_made_of_others_names_it_and_leaves_it_in_float_when_told(tmp_path):
    """tensorflow/model-optimization#756, #620: unknown layer, while reading the model again."""
    model = classes(kl.Dense(16), Block(16, name="block"), kl.Dense(3, activation="softmax"), shape=(8,))
    told = compress(model, drawn(model), quantize=("qat8", "int8"), folder=tmp_path / "a", **QUICK)
    assert "layer 'block' (Block) can't be trained quantization-aware" in told["qat8"].error
    assert "name it in skip" in told["qat8"].error
    assert told["int8"].get("score") > 0.8
    left = compress(model, drawn(model), quantize=("qat8",), skip=("block",), folder=tmp_path / "b", **QUICK)
    assert left["qat8"].error is None


@keras.saving.register_keras_serializable(package="reports")
class Repeated(keras.layers.Layer):
    """Up-sampling in one dimension by a repeat, and cut to a length."""

    def call(self, x: Any) -> Any:
        return keras.ops.repeat(x, 2, axis=1)[:, :-1]


def test_int8_of_one_dimensional_convolutions_with_own_up_sampling_and_cropping(tmp_path):
    """tensorflow/tensorflow#60903: half of the accuracy is lost."""
    model = classes(
        kl.Conv1D(8, 5, strides=2, padding="same", activation="relu"), Repeated(), kl.Conv1D(8, 5, activation="relu"),
        kl.Flatten(), kl.Dense(3, activation="softmax"), shape=(60, 3),
    )  # fmt: skip
    card = compress(model, drawn(model), quantize=("int8",), folder=tmp_path, **QUICK)
    assert card["int8"].get("score") > 0.9


def test_int8_of_recurrent_layers_does_not_end_the_process(tmp_path):
    """tensorflow/tensorflow#76672: the converter crashes; #35551: so it does with go_backwards."""
    model = classes(
        kl.Bidirectional(kl.GRU(8, return_sequences=True)), kl.LSTM(8, go_backwards=True),
        kl.Dense(3, activation="softmax"), shape=(10, 4),
    )  # fmt: skip
    card = compress(model, drawn(model), quantize=("int8", "dynamic_int8"), folder=tmp_path, **QUICK)
    assert [row.error for row in card.rows] == [None] * len(card.rows)
    assert card["int8"].get("score") > 0.8


def test_inputs_and_outputs_keep_their_order_in_int8(tmp_path):
    """tensorflow/tensorflow#33303, #47927, #55242, #56985: the order changes with names, and again with full int8."""
    b, a = keras.Input((7,), name="z_first"), keras.Input((17,), name="a_second")
    both = kl.Dense(16, activation="relu")(kl.Concatenate()([b, a]))
    outputs = [kl.Dense(size, name=name)(both) for size, name in ((2, "z"), (3, "m"), (2, "a"))]
    model = keras.Model([b, a], outputs)
    model.compile("adam", ["mse", "mse", "mse"])
    x = [np.random.default_rng(0).normal(size=(80, size)).astype("float32") for size in (7, 17)]
    y = [np.asarray(one) for one in model(x)]
    card = compress(
        model,
        ([one[:60] for one in x], [one[:60] for one in y], [one[60:] for one in x], [one[60:] for one in y]),
        quantize=("int8",),
        folder=tmp_path,
        **QUICK,
    )
    found = infer(card.path("int8"), {"a_second": x[1][60:], "z_first": x[0][60:]}).outputs
    assert judge.error(list(found), [one[60:] for one in y]) < 0.05


def test_a_file_that_was_read_again_goes_to_onnx(tmp_path):
    """onnx/tensorflow-onnx#2448, #2319, #2348: KeyError of a tensor's name, Sequential has no output_names."""
    model = classes(kl.Conv2D(8, 1), kl.Flatten(), kl.Dense(3, activation="softmax"), shape=(8, 8, 3))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x, *_ = drawn(model)
    made = export(again, tmp_path / "out", formats=("onnx",), samples=x)
    path = next(Path(tmp_path / "out").glob("*.onnx"))
    assert judge.error(judge.onnx(path, {"x": x}), [np.asarray(model(x))]) < 1e-4, made


def test_a_full_integer_file_takes_the_samples_as_they_are(tmp_path):
    """tensorflow/tensorflow#53278, #99052: numbers that were not scaled by the file's own step give nonsense."""
    model = classes(kl.Dense(16, activation="relu"), kl.Dense(3, activation="softmax"), shape=(6,))
    data = drawn(model)
    card = compress(model, data, quantize=("int8",), folder=tmp_path, **QUICK)
    assert judge.error([infer(card.path("int8"), data[2]).outputs], [np.asarray(model(data[2]))]) < 0.05
    with pytest.raises(CompressionError, match="shape"):
        infer(card.path("int8"), data[2][:, :5])


def aware(model: Any, x: Any, y: Any, loss: str = "mse", callbacks: Any = ()) -> Any:
    """A copy of the model that was trained with rounding for a moment."""
    copy = qat.quantization_aware(model, QuantizationAwareConfig(bits=8))
    copy.compile("adam", loss)
    copy.fit(x, y, epochs=3, batch_size=16, verbose=0, callbacks=list(callbacks))
    return copy


def said(call: Any, model: Any, precision: str, x: Any, folder: Path) -> Any:
    """What the LiteRT file of a model says to samples."""
    model.save(folder / "made.keras")
    np.save(folder / "x.npy", x)
    file = folder / f"{precision}.tflite"
    convert(call, folder / "made.keras", precision, file, calibration=[[None, str(folder / "x.npy")]])
    return judge.litert(file, {"x": x})[0]


def test_a_regression_trained_with_rounding_is_not_cut_off_at_the_range_of_relu6(workshop, tmp_path):
    """tensorflow/tensorflow#44007: answers from 0 to 95 end at 6; model-optimization#407: relu6 by name is unknown."""
    x = np.random.default_rng(0).normal(size=(128, 4)).astype("float32")
    y = 50 + 40 * np.tanh(x[:, :1])
    relu6 = kl.Dense(16, activation=keras.activations.relu6)
    model = keras.Sequential([keras.Input((4,)), relu6, kl.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(x, y, epochs=30, verbose=0)
    copy = aware(model, x, y)
    found = said(workshop, copy, "qat8", x, tmp_path)
    assert found.max() > 80
    assert judge.error([found], [np.asarray(copy(x))]) < 0.01


def test_qat_of_a_sigmoid_head_and_of_slices(workshop, tmp_path):
    """tensorflow/tensorflow#48925: only some activations; model-optimization#1139: no slices."""
    x = keras.Input((8, 8, 3))
    y = kl.Conv2D(6, 3, activation="relu")(x)
    y = kl.Concatenate()([kl.Conv2D(4, 1)(y[..., :3]), kl.Conv2D(4, 1)(y[..., 3:])])
    model = keras.Model(x, kl.Dense(3, activation="sigmoid")(kl.GlobalAveragePooling2D()(y)))
    given = np.random.default_rng(0).normal(size=(48, 8, 8, 3)).astype("float32")
    copy = aware(model, given, given[:, 0, 0] > 0, "binary_crossentropy")
    found = said(workshop, copy, "qat8", given, tmp_path)
    assert judge.error([found], [np.asarray(copy(given))]) < 0.05


def test_pruning_reaches_its_share_in_few_steps_and_in_both_directions_of_an_lstm():
    """model-optimization#973, #975: nothing is pruned in large batches or of few samples; #374: no Bidirectional."""
    model = keras.Sequential([keras.Input((6, 4)), kl.Bidirectional(kl.LSTM(8)), kl.Dense(3)])
    model.compile("adam", "mse")
    random = np.random.default_rng(0)
    pruning = PruningCallback(PruningConfig(sparsity=0.75))
    x, y = random.normal(size=(40, 6, 4)), random.normal(size=(40, 3))
    model.fit(x, y, batch_size=512, verbose=0, callbacks=[pruning])  # one step
    kernels = [np.asarray(weight) for weight in model.weights if weight.name.endswith("kernel")]
    assert [float((kernel == 0).mean()) for kernel in kernels] == [0.75] * 5


def test_zeros_stay_zeros_while_a_pruned_convolution_is_trained_with_rounding(workshop, tmp_path):
    """model-optimization#720: zeros drift away; #1031: no Conv1D."""
    conv = kl.Conv1D(8, 3, activation="relu")
    model = keras.Sequential([keras.Input((20, 3)), conv, kl.GlobalAveragePooling1D(), kl.Dense(4)])
    random = np.random.default_rng(0)
    x, y = random.normal(size=(48, 20, 3)).astype("float32"), random.normal(size=(48, 4))
    copy = aware(model, x, y, callbacks=[PruningCallback(PruningConfig(sparsity=0.5))])
    kernels = [np.asarray(weight) for weight in copy.weights if weight.name.endswith("kernel")]
    assert [float((kernel == 0).mean()) for kernel in kernels] == [0.5, 0.5]
    assert judge.error([said(workshop, copy, "qat8", x, tmp_path)], [np.asarray(copy(x))]) < 0.05


@pytest.mark.parametrize("masked", [False, True])
def test_recurrent_layers_keep_activations_and_masks_in_onnx(masked, workshop, tmp_path):
    """tensorflow-onnx#2211: activations of a Bidirectional are lost; #1871: a masked LSTM becomes something else."""
    lstm = kl.LSTM(4, activation="relu", recurrent_activation="relu", return_sequences=True)
    begin = [keras.Input((5,), dtype="int32"), kl.Embedding(9, 3, mask_zero=True)] if masked else []
    model = keras.Sequential([*(begin or [keras.Input((5, 3))]), kl.Bidirectional(lstm)])
    random = np.random.default_rng(0)
    x = random.integers(0, 9, (16, 5)).astype("int32") if masked else random.normal(size=(16, 5, 3))
    export(model, tmp_path, formats="onnx", samples=x, call=workshop)
    found = judge.onnx(tmp_path / "model.onnx", {"x": x})
    assert judge.error(found, [np.asarray(model(x))]) < 1e-4


def test_a_sequential_model_that_was_never_told_its_input_is_converted(workshop, tmp_path):
    """keras#19108: such a model can't be converted."""
    model = keras.Sequential(
        [kl.Flatten(), kl.Dense(8, activation="relu"), kl.Dense(3, activation="softmax")]
    )
    x = np.random.default_rng(0).normal(size=(40, 4, 4)).astype("float32")
    model(x)
    for precision, limit in (("float32", 1e-4), ("int8", 0.1)):
        found = said(workshop, model, precision, x, tmp_path)
        assert judge.error([found], [np.asarray(model(x))]) < limit


def test_scores_beside_boxes_in_pixels_are_lost_in_int8_and_the_card_says_so(tmp_path):
    """ultralytics/ultralytics#1695, #17327: joined with boxes up to 640, all scores are 0; as an output of their own they stay."""
    x = keras.Input((8, 8, 3))
    y = kl.Conv2D(8, 3, strides=4, padding="same", activation="relu")(x)
    boxes = kl.Rescaling(640.0)(kl.Conv2D(4, 1, activation="sigmoid")(y))
    scores = kl.Conv2D(3, 1, activation="sigmoid")(y)
    given = np.random.default_rng(0).normal(size=(90, 8, 8, 3)).astype("float32")
    said = {}
    for name, outputs in (("joined", kl.Concatenate()([boxes, scores])), ("apart", [boxes, scores])):
        model = keras.Model(x, outputs)
        model.compile("adam", "mse" if name == "joined" else ["mse", "mse"])
        told = keras.tree.map_structure(np.asarray, model(given))
        data = (
            given[:60],
            keras.tree.map_structure(lambda a: a[:60], told),
            given[60:],
            keras.tree.map_structure(lambda a: a[60:], told),
        )
        card = compress(model, data, quantize=("int8", "dynamic_int8"), folder=tmp_path / name, **QUICK)
        said[name] = {row.name: [one for one in row.notes if "always answer" in one] for row in card.rows}
    assert "output 0: 3 of its 7 parts always answer the same in this file" in said["joined"]["int8"][0]
    assert not any(said["joined"][name] for name in ("float32", "dynamic_int8"))
    assert not any(said["apart"].values())
