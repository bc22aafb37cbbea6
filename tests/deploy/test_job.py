"""The compression job on real networks: variants, the control of a run, other devices, the search."""

import os
import signal
import time
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lepton_kit as lk
from lepton_kit.data import arrays
from lepton_kit.deploy import fpga, sensitivity
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.compress import CompressionJob, compress
from lepton_kit.deploy.report.job import run_job
from lepton_kit.deploy.report.job_file import Job
from lepton_kit.deploy.report.tuning import MOST_EPOCHS, Task
from lepton_kit.deploy.subject import find_home, find_subject
from lepton_kit.errors import CompressionError, ModelError
from lepton_kit.processes.isolated import Crash, Workshop, fresh_call
from lepton_kit.rundir import Status, send_request
from tests.processes import processes_of


class Held(keras.callbacks.Callback):
    """Holds the third epoch until a file is there: what happens to the run happens in its midst, on any machine."""

    def __init__(self, file: str):
        super().__init__()
        self.file = file

    def on_epoch_begin(self, epoch, logs=None):
        while epoch == 2 and not os.path.exists(self.file):
            time.sleep(0.02)


@pytest.mark.processes
def test_a_run_trained_for_four_bits_on_two_workers_keeps_them_on_its_card(tmp_path):
    run = lk.launch(
        lk.LeptonModel((8, 8, 1), 10, hidden_size=16, num_layers=2),
        lk.data.sample("digits"),
        workers=2,
        epochs=12,
        learning_rate=0.01,
        quantization_aware=4,
        pruning={"sparsity": 0.5, "end_step": 60, "frequency": 10},
        callbacks=[Held(str(tmp_path / "scaled"))],
        runs_dir=tmp_path / "runs",
    )
    while run.view().step < 20 and run.alive:
        time.sleep(0.05)
    run.scale(3)
    while run.view().wanted != 3 and run.alive:
        time.sleep(0.05)
    (tmp_path / "scaled").touch()
    assert run.wait(240).status == "finished"
    told = []
    card = compress(run, quantize=("int8",), memory=False, repetitions=3, tell=told.append)
    assert [row.name for row in card.rows] == ["keras", "control-run", "float32", "qat4", "int8"]
    control = run.control_run()
    assert any(text.startswith(f"training the control {control.id}") for text in told)
    assert control.view().step == run.view().step
    assert control.config.quantization_aware is control.config.pruning is None
    assert card["control-run"].get("nonzero_parameters") > 0.9 * card["control-run"].get("parameters")
    assert sum(flag.startswith("scores 0.") for row in card.rows for flag in row.flags) == 2

    control.paths.final_model.unlink()
    again = compress(run, quantize=(), memory=False, repetitions=3, folder=tmp_path / "again")
    assert again["control-run"].error.startswith(
        f"the control {control.id} has no model, its status is finished"
    )
    alone = compress(run, quantize=(), memory=False, repetitions=3, control=False, folder=tmp_path / "alone")
    assert [row.name for row in alone.rows] == ["keras", "float32", "qat4"]
    assert len(lk.runs(tmp_path / "runs")) == 2
    own = card["qat4"]
    assert own.error is None
    assert own.notes == ("its rounding was trained in the run itself",)
    assert own.get("score") > 0.7
    assert abs(own.get("difference")) < 0.03
    assert own.get("nonzero_parameters") < 0.6 * own.get("parameters")
    assert len(sensitivity(run).layers) == 3
    design = fpga.convert(run, estimate=False)
    assert abs(design.score.value - own.get("score")) < 0.05
    assert design.notes[0].startswith("weights as trained for 4 bits")


def a_job(digits, digits_cnn, folder, **changes) -> Job:
    data = arrays(digits[0], digits[1], validation=(digits[2][:200], digits[3][:200]))
    home = find_home(digits_cnn, folder)
    model, stored = find_subject(digits_cnn, data, home)
    values = {"quantize": ("int8",), "fine_tune_epochs": 1, "repetitions": 3, "memory": False}
    return Job(str(home), str(model), str(stored), **{**values, **changes})


@given(st.integers(1, 100), st.floats(0, 0.99))
def test_a_thin_model_trains_longer_and_costs_less_than_the_whole_one(whole, share):
    epochs = Task("thin", Path("thin.keras"), {"structured": share}).epochs(whole)
    assert whole <= epochs <= MOST_EPOCHS * whole
    assert (epochs - 0.5) * (1 - share) ** 2 <= whole  # half an epoch is rounding
    for changes in ({}, {"sparsity": share}, {"structured": None, "bits": 4}):
        assert Task("whole", Path("whole.keras"), changes).epochs(whole) == whole


@pytest.mark.processes
def test_a_card_of_a_pruned_and_quantized_network(workshop, digits, digits_cnn, tmp_path):
    card = run_job(
        a_job(digits, digits_cnn, tmp_path, structured=(0.5,), quantize=("int8", "qat4")), workshop
    )
    names = [row.name for row in card.rows]
    formats = ["float32", "int8", "qat4"]
    assert names == ["keras", *formats, *(f"structured-50+{name}" for name in formats), "control"]
    assert [row.error for row in card.rows] == [None] * len(names)
    plain, small = card["int8"], card["structured-50+int8"]
    assert small.get("parameters") < 0.6 * plain.get("parameters")
    assert small.get("file_bytes") < plain.get("file_bytes") < card["float32"].get("file_bytes")
    assert card["qat4"].get("gzip_bytes") < 0.8 * card["int8"].get("gzip_bytes")
    longer = "fine-tuned for 2 epochs, as it has fewer channels"
    assert [longer in row.notes for row in (small, card["structured-50+qat4"], plain, card["qat4"])] == [
        True, True, False, False,
    ]  # fmt: skip
    assert abs(card["qat4"].get("difference")) < 0.1
    assert card["keras"].get("difference") == 0
    assert card["float32"].get("score") == card["keras"].get("score") > 0.85
    for one in card.rows:
        assert {one.figures[f"latency_{b}_{t}"].origin for b in (1, 32) for t in ("one", "all")} == {
            "measured"
        }
        assert one.figures["score"].low <= one.get("score") <= one.figures["score"].high
        assert one.figures["peak_memory_bytes"].origin == "not_run"
        assert one.figures["energy"].origin in ("measured", "estimated")
        assert one.figures["energy"].low <= one.get("energy") <= one.figures["energy"].high
    assert "160 of" in card.settings["calibration"] or "200 of" in card.settings["calibration"]
    errors = card.tensor_errors("int8")
    assert 0 < errors["relative"].max() < 0.05
    assert ReportCard.load(tmp_path).rows == card.rows
    assert not (Path(tmp_path) / "work").exists()


@pytest.mark.processes
def test_memory_and_another_device_are_measured_in_a_fresh_process(workshop, digits, digits_cnn, tmp_path):
    given = tmp_path / "given.npy"
    np.save(given, digits[2][:7])
    card = run_job(
        a_job(digits, digits_cnn, tmp_path, quantize=("int8",), gpu="", calibration=((None, str(given)),)),
        workshop,
    )
    assert card.settings["calibration"] == "7 samples that were given"
    assert card["int8"].error is None
    assert card["keras-gpu"].target == "GPU"
    assert "sees no GPU here; it needs a build with CUDA" in card["keras-gpu"].error
    samples = [[None, str(samples_file(digits, tmp_path))]]
    memory = {"path": str(card.path("float32")), "inputs": samples}
    assert fresh_call("lepton_kit.deploy.report.measure:peak_memory", **memory) > 1_000_000
    with pytest.raises(ModelError, match=r"none\.tflite: no model"):
        fresh_call("lepton_kit.deploy.report.measure:peak_memory", **{**memory, "path": "none.tflite"})
    with pytest.raises(Crash, match="os:abort: the process was ended by SIGABRT"):
        fresh_call("os:abort")
    with pytest.raises(Crash, match="ended by exit code 3"):
        fresh_call("os:_exit", status=3)

    asked = {"kind": "CPU", "path": str(card.path("keras")), "inputs": samples, "repetitions": 3}
    times = fresh_call("lepton_kit.deploy.report.measure:keras_on", output=str(tmp_path / "out.npz"), **asked)
    assert all(0 < one["low"] <= one["median"] <= one["high"] for one in (times["1"], times["32"]))
    assert np.load(tmp_path / "out.npz")["output_0000"].shape == (32, 10)


def test_a_gpu_stands_in_the_same_table(digits, digits_cnn, tmp_path, monkeypatch):
    """What a GPU answered is scored like any row; the answer here is the CPU's, under the GPU's name."""

    def fresh(function, *, gpus, kind, **arguments):
        assert (gpus, kind) == ("0", "GPU")
        return fresh_call(function, kind="CPU", **arguments)

    with Workshop() as workshop:
        monkeypatch.setattr("lepton_kit.deploy.report.bench.fresh_call", fresh)
        card = run_job(a_job(digits, digits_cnn, tmp_path, quantize=(), gpu="0"), workshop)
    gpu, keras = card["keras-gpu"], card["keras"]
    assert gpu.error is None
    assert gpu.get("score") == keras.get("score")
    assert gpu.get("difference") == 0
    assert gpu.get("throughput") > 0
    assert {key for key in gpu.figures if key.startswith("latency")} == {"latency_1_one", "latency_32_one"}
    assert list(card.table()["target"]) == ["CPU", "CPU", "GPU"]


def samples_file(digits, folder):
    np.save(folder / "samples.npy", digits[2][:32])
    return folder / "samples.npy"


@pytest.mark.processes
def test_a_bounded_search_in_its_own_process_is_watched_and_names_its_winner(digits, digits_cnn, tmp_path):
    data = arrays(digits[0], digits[1], validation=(digits[2][:200], digits[3][:200]))
    options = {"quantize": ("int8",), "repetitions": 3, "memory": False, "structured": 0, "sparsity": 0}
    job = compress(
        digits_cnn, data, max_accuracy_drop=0.9, cost="size", folder=tmp_path, wait=False, **options
    )
    said = []
    card = job.result(said.append)
    assert said[0] == "loading TensorFlow"
    view = job.view()
    assert view.doing == said[-1]
    assert view.status is job.status is Status.FINISHED
    assert not job.running
    assert card.best == "int8"
    assert card.trail[0]["trunk"] == "as it came"
    assert card[card.best].get("gzip_bytes") == min(one.get("gzip_bytes") for one in card.rows)


@pytest.mark.processes
def test_a_target_is_met_by_removing_as_much_as_a_look_before_training_says(
    workshop, digits, digits_cnn, tmp_path
):
    first = run_job(a_job(digits, digits_cnn, tmp_path / "formats"), workshop)
    limit = first["int8"].get("file_bytes") / 2
    changes = {"target": ("file_bytes", limit), "refine": True, "quantize": ("int8", "qat8")}
    card = run_job(a_job(digits, digits_cnn, tmp_path / "search", **changes), workshop)
    best = card[card.best]
    assert best.structured > 0
    assert best.get("file_bytes") <= limit
    small = [row for row in card.rows if row.role == "variant" and row.get("file_bytes") <= limit]
    assert best.get("score") == max(row.get("score") for row in small)
    assert card.settings["goal"].startswith(f"{card.best} is the best score with size <= ")
    trained = [step["trunk"] for step in card.trail if "trunk" in step]
    looked = [step for step in card.trail if "probe" in step]
    assert trained[0] == "as it came"
    first_look = next(step for step in looked if step["probe"] == trained[1])
    assert first_look["inside"]
    assert {bool(step["inside"]) for step in looked} == {True, False}
    assert ReportCard.load(tmp_path / "search").trail == card.trail

    changes["target"] = ("file_bytes", 500.0)
    card = run_job(a_job(digits, digits_cnn, tmp_path / "far", **changes | {"quantize": ("int8",)}), workshop)
    assert card.best is None
    assert card.settings["choice"] == "none: no variant is within the limit"
    assert "no variant has size <= 0.5 kB; the nearest is int8: size " in card.to_markdown()


@pytest.mark.processes
def test_a_job_is_known_by_its_folder_and_alone_in_it(digits, digits_cnn, tmp_path, monkeypatch):
    data = arrays(digits[0], digits[1], validation=(digits[2][:200], digits[3][:200]))
    options = {"quantize": ("int8",), "memory": False, "folder": tmp_path, "wait": False}
    compress(digits_cnn, data, **options)
    elsewhere = CompressionJob(str(tmp_path))
    assert elsewhere.running
    with pytest.raises(
        CompressionError, match=r"a compression is under way here.*CompressionJob\('/.*'\)\.result\(\)"
    ):
        compress(digits_cnn, data, **options)
    group = driver_of(elsewhere)
    send_request(elsewhere.paths, "pause")
    elsewhere.cancel()
    pause, stop = elsewhere.view().requests
    assert (pause["verb"], pause["accepted"], pause["cause"]) == (
        "pause",
        False,
        "a compression can only be stopped",
    )
    assert (stop["verb"], stop["accepted"]) == ("stop", True)
    assert not elsewhere.running
    assert processes_of(group) == []
    deadline = time.monotonic() + 30
    while psutil.pid_exists(group):  # a zombie too has a pid, until a thread takes its exit status
        assert time.monotonic() < deadline, "a zombie stays"
        time.sleep(0.01)
    with pytest.raises(CompressionError, match="the compression was cancelled"):
        elsewhere.result()
    elsewhere.cancel()
    assert repr(elsewhere) == f"CompressionJob({tmp_path.name}, stopped)"

    deaf = compress(digits_cnn, data, **options)
    os.killpg(driver_of(deaf), signal.SIGSTOP)
    monkeypatch.setattr("lepton_kit.deploy.report.compress.CANCEL_SECONDS", 0.5)
    deaf.cancel()
    assert deaf.status is Status.INTERRUPTED


def driver_of(job):
    """The number of the job's process, once it has one."""
    deadline = time.monotonic() + 60
    while not (pid := job.paths.read_status()["driver_pid"]):
        assert time.monotonic() < deadline, "the job never said that it began"
        time.sleep(0.01)
    return pid


@pytest.mark.processes
def test_a_job_that_fails_or_dies_says_so(digits, digits_cnn, tmp_path):
    data = arrays(digits[0], digits[1], validation=(digits[2][:200], digits[3][:200]))
    options = {"quantize": ("int8",), "memory": False, "folder": tmp_path}
    for option, formats in (("skip", "int8"), ("keep_float", "mixed")):
        with pytest.raises(
            CompressionError, match=f"{option}: no layer 'conv'; expected one of .*mean 'conv_[ab]'"
        ):
            compress(digits_cnn, data, **{**options, option: "conv", "quantize": formats})
    assert not (tmp_path / "job.json").exists()
    job = compress(digits_cnn, data, wait=False, **options)
    os.killpg(driver_of(job), signal.SIGKILL)
    with pytest.raises(CompressionError, match=r"ended before it had a card; see .*driver\.log"):
        job.result()
    assert job.status is Status.INTERRUPTED


@pytest.mark.processes
def test_the_seed_of_a_job_decides_the_order_of_its_fine_tuning(workshop, digits, digits_cnn, tmp_path):
    job = a_job(digits, digits_cnn, tmp_path)

    def losses(seed, name):
        said = workshop(
            "lepton_kit.deploy.report.tune:fine_tune",
            model=job.model,
            data=job.data,
            output=str(tmp_path / name),
            epochs=1,
            seed=seed,
        )
        return said["loss"]

    first, again, other = losses(0, "a.keras"), losses(0, "b.keras"), losses(1, "c.keras")
    assert first == again
    assert first != other
