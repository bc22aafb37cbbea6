"""Number formats, calibration data, conversion in a child process, and LiteRT files as models."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.compression.quantization.convert import convert, explain_failure
from lepton_kit.compression.quantization.formats import check_calibration, check_precisions, representative
from lepton_kit.compression.quantization.litert import LiteRTModel, dequantise, quantise
from lepton_kit.compression.quantization.scopes import Operation, layer_scopes
from lepton_kit.compression.quantization.tensors import weights
from lepton_kit.errors import CompressionError
from lepton_kit.processes.isolated import Crash, Workshop


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200),
    st.integers(1, 250),
    st.integers(0, 5),
)
def test_representative_samples_are_distinct_and_keep_the_share_of_each_class(labels, size, seed):
    labels = np.array(labels)
    chosen = representative(labels, len(labels), size=size, seed=seed)
    assert chosen.size == len(set(chosen.indices.tolist())) == min(size, len(labels))
    for value in np.unique(labels):
        wanted = (labels == value).mean() * chosen.size
        assert abs((labels[chosen.indices] == value).sum() - wanted) <= len(np.unique(labels))


def test_representative_choice_is_told_and_repeats_with_the_seed():
    labels = np.arange(40) % 4
    first, second = representative(labels, 40, size=8, seed=3), representative(labels, 40, size=8, seed=3)
    assert first.indices.tolist() == second.indices.tolist()
    assert first.choice == "8 of 40 training samples, the same share of each class"
    assert np.bincount(labels[first.indices]).tolist() == [2, 2, 2, 2]
    one_hot = representative(np.eye(4)[labels], 40, size=8, seed=3)
    assert one_hot.indices.tolist() == first.indices.tolist()


def test_representative_of_a_regression_is_uniform():
    assert "uniformly" in representative(np.linspace(0, 1, 30), 30, size=5).choice
    assert "uniformly" in representative(None, 30, size=5).choice


def test_an_empty_calibration_is_refused():
    with pytest.raises(CompressionError, match="calibration size: got 0"):
        representative(None, 10, size=0)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((5, 8, 8)), r"shape \(8, 8\); the model's input is \(8, 8, 1\)"),
        (np.zeros((5, 8, 9, 1)), r"shape \(8, 9, 1\)"),
        (np.zeros((0, 8, 8, 1)), "no samples"),
        (np.full((5, 8, 8, 1), np.nan), "sample 0 holds NaN"),
        (np.full((5, 8, 8, 1), "a"), "expected numbers"),
    ],
)
def test_unfit_calibration_data_is_refused(samples, message):
    with pytest.raises(CompressionError, match=message):
        check_calibration(samples, (8, 8, 1))


def test_calibration_data_fits_an_open_axis():
    check_calibration(np.zeros((2, 7, 3), np.uint8), (None, 3))


def test_impossible_formats_are_refused():
    with pytest.raises(CompressionError, match="got 'int3'; expected one of float32, float16"):
        check_precisions(["int3"])
    with pytest.raises(CompressionError, match="'int8' is impossible for the recurrent layer 'gru'"):
        check_precisions(["int8"], recurrent=["gru"])
    with pytest.raises(CompressionError, match="'mixed' needs keep_float"):
        check_precisions(["mixed"])


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20))
def test_quantising_and_back_is_off_by_half_a_step_at_most(values):
    details = {"dtype": np.int8, "quantization": (0.5, 3)}
    x = np.array(values, np.float32)
    back = dequantise(quantise(x, details), details)
    assert np.abs(back - np.clip(x, -65.5, 62.0)).max() <= 0.25 + 1e-5


def test_layer_scopes_tell_layers_apart_whose_names_differ_by_a_suffix():
    found = [Operation(("m/dense._1/MatMul",)), Operation(("m/dense_1._1/MatMul;m/dense_1._1/BiasAdd",))]
    scopes = layer_scopes(found, ["dense", "dense_1"])
    assert [[bool(re.search(scopes[name], one.scope)) for one in found] for name in ("dense", "dense_1")] == [
        [True, False],
        [False, True],
    ]
    with pytest.raises(
        CompressionError, match="no operation of layer 'conv' in the converted model; it has dense, dense_1"
    ):
        layer_scopes(found, ["conv"])


def test_a_refused_operation_is_explained_by_name_and_layer():
    text = "error: 'tf.Betainc' op is neither a custom op nor a flex op\nm/odd._1/Betainc"
    assert explain_failure("int8", text, ["odd", "dense"]).startswith(
        "int8: the converter does not support the operation tf.Betainc in layer 'odd'"
    )
    text = 'error: loc(fused["Erfinv:", "net_1/erfinv/Erfinv@__call"]): \'tf.Erfinv\' op is neither a custom op nor a flex op'
    assert "tf.Erfinv in layer 'erfinv'; replace it" in explain_failure("int8", text, ["dense"])


class Crashing:
    """A call whose child always dies."""

    def __call__(self, function, **arguments):
        raise Crash("gone", "SIGSEGV", "loc: error: bad while loop")


def test_a_converter_that_crashes_is_an_error_with_advice():
    with pytest.raises(CompressionError, match=r"int8: the converter was ended by SIGSEGV.*bad while loop"):
        convert(Crashing(), "m.keras", "int8", "o.tflite")


@pytest.mark.processes
def test_a_crash_takes_only_its_child(tmp_path):
    with Workshop() as workshop:
        workshop._process = FakeWorkshop.start()
        with pytest.raises(Crash, match="ended by SIGSEGV"):
            workshop("os:kill", pid="self")
        with pytest.raises(CompressionError, match="weights: got"):
            workshop("lepton_kit.data.sharding:cut", batch=3, weights=[])
        assert workshop("lepton_kit.data.sharding:cut", batch=3, weights=[1, 1]) == [2, 1]


class FakeWorkshop:
    """The same server without TensorFlow: ``os:kill`` kills its own child there, ``os:abort`` the server."""

    @staticmethod
    def start():
        import subprocess
        import sys

        from lepton_kit.processes.isolated import child_environment

        code = (
            "import os, signal; from lepton_kit.processes import isolated; isolated.load_tensorflow = lambda: None\n"
            "kill = os.kill; os.kill = lambda pid: kill(os.getpid(), signal.SIGSEGV)\n"
            "os.abort = lambda: kill(os.getppid(), signal.SIGKILL)\n"
            "isolated._serve()"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            text=True,
        )


@pytest.mark.processes
def test_a_workshop_that_dies_is_reported_and_started_anew():
    with Workshop() as workshop:
        workshop._process = FakeWorkshop.start()
        with pytest.raises(Crash, match="os:abort: the compression process ended with exit code -9"):
            workshop("os:abort")
        assert workshop._process is None


def as_file(workshop, model, precision, folder, kept):
    """The LiteRT file of a model; ``calibration.npy`` and ``float32.tflite`` lie in the folder."""
    output = folder / f"{precision}.tflite"
    convert(
        workshop,
        model,
        precision,
        output,
        calibration=folder / "calibration.npy",
        keep_float=[kept] if precision == "mixed" else [],
        float_file=folder / "float32.tflite",
    )
    return output


@pytest.mark.processes
def test_every_format_keeps_the_accuracy_of_the_digits(workshop, digits, digits_cnn, tmp_path):
    np.save(tmp_path / "calibration.npy", digits[0][:100])
    accuracy, size = {}, {}
    for precision in ("float32", "float16", "dynamic_int8", "int8", "int4", "mixed"):
        output = as_file(workshop, digits_cnn, precision, tmp_path, kept="conv_a")
        predicted = LiteRTModel(output).predict(digits[2])
        accuracy[precision] = (predicted.argmax(-1) == digits[3]).mean()
        size[precision] = output.stat().st_size
    assert accuracy["float32"] > 0.9
    for precision in ("float16", "dynamic_int8", "int8", "mixed"):
        assert abs(accuracy[precision] - accuracy["float32"]) < 0.02
    assert abs(accuracy["int4"] - accuracy["float32"]) < 0.1
    assert size["int4"] < size["int8"] < size["mixed"] < size["float16"] < size["float32"]
    integer = LiteRTModel(tmp_path / "int8.tflite")
    assert integer.inputs["x"]["dtype"] is np.int8
    assert integer.outputs["output_0"]["dtype"] is np.int8
    with pytest.raises(CompressionError, match=r"got samples of shape \(8, 8\)"):
        integer.predict(digits[2][..., 0])


@pytest.mark.processes
def test_an_embedding_is_rounded_and_the_last_layer_stays_float_if_asked(workshop, words, tmp_path):
    path, x, _ = words
    np.save(tmp_path / "calibration.npy", x)
    said, kinds, size = {}, {}, {}
    for precision in ("float32", "dynamic_int8", "int8", "int4", "mixed"):
        output = as_file(workshop, path, precision, tmp_path, kept="dense_1")
        said[precision] = LiteRTModel(output).predict(x)
        size[precision] = output.stat().st_size
        kinds[precision] = {
            name.split("/")[1]: kind for name, (_, kind) in weights(output).items() if "/" in name
        }
    for precision, error in (("dynamic_int8", 0.05), ("int8", 0.1), ("mixed", 0.1), ("int4", 0.5)):
        assert np.abs(said[precision] - said["float32"]).max() < error * np.abs(said["float32"]).max()
        assert precision in ("dynamic_int8", "int8") or kinds[precision]["words"] == "int8"
    assert size["int4"] < 0.7 * size["int8"]
    assert kinds["int4"]["dense_1"] == "int8"
    assert kinds["mixed"]["dense_1"] == "float32"


@pytest.mark.processes
def test_calibration_with_nan_is_refused_by_the_child(workshop, digits, digits_cnn, tmp_path):
    bad = digits[0][:10].copy()
    bad[4, 0, 0, 0] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(CompressionError, match="sample 4 holds NaN"):
        convert(workshop, digits_cnn, "int8", tmp_path / "o.tflite", calibration=tmp_path / "bad.npy")
    with pytest.raises(CompressionError, match="int8: needs a representative dataset"):
        convert(workshop, digits_cnn, "int8", tmp_path / "o.tflite")
    with pytest.raises(CompressionError, match="needs the float32 LiteRT file"):
        convert(workshop, digits_cnn, "int4", tmp_path / "o.tflite")
    assert not (tmp_path / "o.tflite").exists()


@pytest.mark.processes
@pytest.mark.parametrize("steps", [8, pytest.param(200, marks=pytest.mark.long)])
def test_recurrent_models_convert(workshop, digits, tmp_path, steps):
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((steps, 8)), keras.layers.GRU(6, name="gru"), keras.layers.Dense(3, name="out")]
    )
    model.save(tmp_path / "gru.keras")
    x = np.resize(digits[2][..., 0], (5, steps, 8))
    np.save(tmp_path / "calibration.npy", x)
    said = convert(workshop, tmp_path / "gru.keras", "float32", tmp_path / "f.tflite")
    difference = np.abs(LiteRTModel(tmp_path / "f.tflite").predict(x) - np.asarray(model(x))).max()
    assert difference < 1e-4
    arguments = (workshop, tmp_path / "gru.keras", "int8", tmp_path / "i.tflite")
    if steps == 8:
        assert said["notes"] == ["recurrent layers unrolled: gru"]
        convert(*arguments, calibration=tmp_path / "calibration.npy")
        assert np.abs(LiteRTModel(tmp_path / "i.tflite").predict(x) - np.asarray(model(x))).max() < 0.2
    else:
        assert said["notes"] == ["batch fixed at 1 because these recurrent layers loop: gru"]
        with pytest.raises(CompressionError, match="'int8' is impossible for the recurrent layer 'gru'"):
            convert(*arguments, calibration=tmp_path / "calibration.npy")


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="no such LiteRT file"):
        LiteRTModel(tmp_path / "none.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"not a flatbuffer")
    with pytest.raises(CompressionError, match="not a LiteRT file"):
        LiteRTModel(tmp_path / "broken.tflite")
    (tmp_path / "x.tflite").touch()
    with pytest.raises(CompressionError, match="threads: got 0"):
        LiteRTModel(tmp_path / "x.tflite", threads=0)
