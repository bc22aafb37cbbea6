"""Batch inference: in order, exactly once, over any number of workers, with clear errors."""

import importlib.util
import itertools
import json
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.compression.quantization.litert import LiteRTModel
from lepton_kit.data import arrays
from lepton_kit.deploy.exports import export
from lepton_kit.deploy.inference import WorkerPool, infer, parts_of
from lepton_kit.deploy.runners import by_name, samples_of
from lepton_kit.errors import CompressionError, ModelError

needs_litert = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None,
    reason="LiteRT comes with the extra lepton_kit[compression]",
)


@given(st.integers(1, 1000), st.integers(1, 40))
def test_parts_are_contiguous_complete_and_even(samples, workers):
    parts = parts_of(samples, workers)
    assert parts[0][0] == 0
    assert parts[-1][1] == samples
    assert all(first[1] == second[0] for first, second in itertools.pairwise(parts))
    sizes = [stop - start for start, stop in parts]
    assert len(parts) == min(workers, samples)
    assert max(sizes) - min(sizes) <= 1


def test_no_samples_and_wrong_options_are_refused():
    with pytest.raises(CompressionError, match="got no samples"):
        parts_of(0, 2)
    for options in ({"workers": 0}, {"batch": -1}, {"threads": 0}, {"workers": 1.5}):
        with pytest.raises(CompressionError, match=f"{next(iter(options))}: got"):
            infer("model.tflite", np.zeros((1, 2)), **options)
    with pytest.raises(CompressionError, match="no such LiteRT file"):
        infer("missing.tflite", np.zeros((1, 2)))
    with pytest.raises(CompressionError, match="split: got 'test'"):
        infer("missing.tflite", arrays(np.zeros((10, 2)), np.arange(10) % 2), split="test")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array(3.0), r"data: got the single value array\(3.\); expected an array of samples, rows first"),
        ({"a": np.zeros((2, 2)), "b": 3.0}, r"data\['b'\]: got the single value 3.0"),
        (
            np.array([[None, 1]]),
            "data: got an array of objects of several kinds or lengths; expected numbers",
        ),
        ([[1.0], [1.0, [2.0]]], r"data\[1\]: got an array of objects of several kinds or lengths"),
        (np.zeros(2, "datetime64[s]"), r"data: got an array of datetime64\[s\]; expected numbers or text"),
        (np.zeros((0, 4)), "data: got no samples; expected at least 1"),
        ([], "data: got no samples"),
        ((np.zeros((3, 2)), np.zeros((4, 2))), "data: got inputs of 3, 4 samples; expected as many"),
    ],
)
def test_what_is_no_samples_is_refused_before_a_worker_starts(samples, message, tmp_path):
    with pytest.raises(CompressionError, match=message):
        infer("missing.tflite", samples)
    with pytest.raises(CompressionError, match=message.replace("data", "samples", 1)):
        export("missing.keras", tmp_path / "out", samples=samples)
    assert not (tmp_path / "out").exists()


def test_text_as_objects_is_text_and_an_output_needs_its_folder(tmp_path):
    assert samples_of(np.array(["a", "bc"], object)).dtype == "<U2"
    with pytest.raises(CompressionError, match=r"output: got '.*nowhere/out.npy'; the folder"):
        infer("missing.tflite", np.zeros((1, 2)), output=tmp_path / "nowhere" / "out.npy")
    with pytest.raises(ModelError, match=r"m: got text \('a'\); the model takes numbers"):
        by_name(np.array([["a"]]), {"x": (1,)}, "m")
    assert by_name(np.array([["a"]]), {"x": (1,)}, "m", text=["x"])["x"].shape == (1, 1)


@pytest.fixture(scope="module")
def digits_file(workshop, digits_cnn, tmp_path_factory):
    from lepton_kit.compression.quantization.convert import convert

    path = tmp_path_factory.mktemp("infer") / "model.tflite"
    convert(workshop, digits_cnn, "float32", path)
    return path


@needs_litert
@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 3])
def test_every_sample_once_and_in_order(digits_file, digits, workers, tmp_path):
    x = digits[2][:101]
    result = infer(digits_file, x, workers=workers, batch=16, threads=1, output=tmp_path / "out.npy")
    expected = LiteRTModel(digits_file).predict(x)
    np.testing.assert_allclose(result.outputs, expected, atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)
    assert result.workers == workers
    assert result.throughput.origin == "measured"
    assert result.throughput.value > 0


@needs_litert
@pytest.mark.processes
def test_a_dataset_gives_its_held_out_split(digits_file, digits):
    data = arrays(digits[0][:20], digits[1][:20], validation=(digits[2][:7], digits[3][:7]))
    assert len(infer(digits_file, data, workers=2).outputs) == 7
    assert len(infer(digits_file, data, workers=1, split="train").outputs) == 20


@needs_litert
@pytest.mark.processes
def test_a_keras_file_gives_the_same_outputs(digits_file, digits_cnn, digits):
    x = digits[2][:9]
    result = infer(digits_cnn, x, workers=1, batch=4)
    np.testing.assert_allclose(result.outputs, LiteRTModel(digits_file).predict(x), atol=1e-4)


@needs_litert
@pytest.mark.processes
def test_samples_of_another_shape_are_refused_in_words(digits_file, digits_cnn, digits):
    for model in (digits_file, digits_cnn):
        with pytest.raises(CompressionError, match=r"got samples of shape \(8, 7, 1\); the .* \(8, 8, 1\)$"):
            infer(model, digits[2][:4, :, :7], workers=1)
        with pytest.raises(CompressionError, match="got a dictionary of 'a', 'b'; the model takes one array"):
            infer(model, {"a": digits[2][:4], "b": digits[2][:4]}, workers=1)
    with pytest.raises(CompressionError, match=r"got text \('a'\); the input takes numbers"):
        LiteRTModel(digits_file).predict(np.full((1, 8, 8, 1), "a"))


@pytest.mark.processes
def test_several_inputs_and_outputs(tmp_path):
    from tests.zoo import kinds

    model, _, held, _ = kinds.made("several of both")
    expected = [np.asarray(one) for one in model(held, training=False)]
    result = infer(model, held, workers=2, batch=5, output=tmp_path / "out.npy")
    for place, one in enumerate(expected):
        np.testing.assert_allclose(result.outputs[place], one, atol=1e-5)
        np.testing.assert_allclose(np.load(tmp_path / f"out-{place}.npy"), one, atol=1e-5)
    assert repr(result) == "InferenceResult(24 samples, 2 workers)"


@needs_litert
@pytest.mark.processes
def test_a_broken_model_is_told_with_the_workers_samples(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"nothing")
    with pytest.raises(
        CompressionError, match=r"inference worker \d \(samples \d to \d\).*not a LiteRT file"
    ):
        infer(tmp_path / "broken.tflite", np.zeros((4, 2), np.float32), workers=2)


@needs_litert
@pytest.mark.processes
def test_a_killed_worker_is_told_and_leaves_no_process(digits_file, digits, tmp_path):
    np.save(tmp_path / "samples.npy", digits[2][:10])
    inputs = [[None, str(tmp_path / "samples.npy")]]
    pool = WorkerPool(tmp_path, digits_file, inputs, ((0, 5), (5, 10)), 5, 1)
    with pool:
        ((shape, dtype),) = pool.wait_ready()
        assert shape == (10,)
        np.lib.format.open_memmap(tmp_path / "o.npy", mode="w+", dtype=dtype, shape=(10, *shape)).flush()
        pool.processes[1].send_signal(signal.SIGKILL)
        pool.processes[1].wait()
        with pytest.raises(CompressionError, match=r"worker 1 \(samples 5 to 9\) was ended by SIGKILL"):
            pool.go([tmp_path / "o.npy"])
    assert all(process.poll() is not None for process in pool.processes)
    assert json.loads((tmp_path / "worker-0.json").read_text())["stop"] == 5
