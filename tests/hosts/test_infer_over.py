"""Inference over hosts: every sample once and in order, by slots and speed, and clear words where it can't be."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.deploy import infer_host, infer_over
from lepton_kit.deploy.infer_over import _files
from lepton_kit.errors import CompressionError, RunError

X = np.random.default_rng(0).normal(size=(61, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])


@pytest.mark.processes
@pytest.mark.long
def test_hosts_answer_every_sample_once_and_in_order(model: keras.Model, tmp_path: Path):
    hosts = [{"name": "localhost/a", "via": "local", "speed": 2.0}, {"name": "localhost/b", "via": "local"}]
    found = lk.infer(model, X, hosts=hosts, batch=8, threads=1, output=tmp_path / "out.npy")
    assert found.parts == ((0, 41), (41, 61))
    assert found.workers == 2
    np.testing.assert_allclose(found.outputs, model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    assert (tmp_path / "out.npy").exists()
    assert found.throughput.value is not None


@pytest.mark.processes
def test_a_broken_model_is_told_with_the_hosts_samples(tmp_path: Path):
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    with pytest.raises(CompressionError, match=r"inference on localhost/a \(samples 0 to 60\): "):
        lk.infer(tmp_path / "broken.tflite", X, hosts="localhost/a")


def test_a_host_that_does_not_start_is_named(
    tmp_path: Path, model: keras.Model, monkeypatch: pytest.MonkeyPatch
):
    fake = tmp_path / "ssh"
    fake.write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    fake.chmod(0o755)
    monkeypatch.setenv("LEPTON_SSH_COMMAND", str(fake))
    with pytest.raises(CompressionError, match=r"gpu-box \(samples 0 to 60\) ended: Permission denied"):
        lk.infer(model, X, hosts="gpu-box")


def test_a_host_with_other_versions_is_refused(model: keras.Model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(infer_over, "differences", lambda _: ["keras 2.0 there, 3.15 here"])
    with pytest.raises(RunError, match=r"localhost/a: would compute something else: keras 2\.0 there"):
        lk.infer(model, X, hosts="localhost/a")


def test_workers_and_hosts_together_are_refused(model: keras.Model):
    with pytest.raises(CompressionError, match="workers: got 3; expected none with hosts"):
        lk.infer(model, X, workers=3, hosts="localhost/a")


def test_an_allocation_is_refused(model: keras.Model):
    with pytest.raises(CompressionError, match="hosts: got slurm; expected hosts that ssh reaches"):
        lk.infer(model, X, hosts="slurm")


def test_code_beside_a_model_goes_along(tmp_path: Path):
    for name in ("model.keras", "custom.pkl", "other.txt"):
        (tmp_path / name).touch()
    assert [name for name, _ in _files(tmp_path / "model.keras")] == ["model/model.keras", "model/custom.pkl"]
    assert len(dict(_files(tmp_path))) == 3


def test_a_host_writes_no_file_outside_its_folder(tmp_path: Path):
    import io
    import json

    header = {"files": [["../evil", 1]], "model": "m", "inputs": [], "workers": 1, "batch": 1, "threads": 1}
    said = io.BytesIO()
    infer_host.main(io.BytesIO(json.dumps(header).encode() + b"\nx"), said)
    assert "its name leaves the folder" in json.loads(said.getvalue().splitlines()[1])["error"]
