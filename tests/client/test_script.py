"""What repeats a run elsewhere: the file with absolute paths, and the Python; both with every option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import lepton_kit as lk
from lepton_kit.client.launch import plan
from lepton_kit.client.script import absolute, as_python
from lepton_kit.config import RunConfig, TrainingConfig, WorkersConfig
from lepton_kit.machine.gpus import STAND_IN
from lepton_kit.machine.topology import affinity
from tests.configs import any_config

CHANGED: dict[str, Any] = {
    "global_batch": 3,
    "epochs": 7,
    "max_steps": 9,
    "optimizer": "sgd",
    "learning_rate": 0.25,
    "loss": "mse",
    "metrics": ["mae"],
    "weighted_metrics": ["mse"],
    "optimizer_state": "reset",
    "embedding_gradients": "summed",
    "shuffle": False,
    "order": {"version": 1, "blocks": 4, "window": 2},
    "steps_per_epoch": 5,
    "initial_epoch": 2,
    "validate_every_epochs": [3, 5],
    "validation_batch_size": 6,
    "callbacks": [{"kind": "EarlyStopping", "monitor": "loss"}],
    "keep_best": "loss",
    "dtype_policy": "mixed_bfloat16",
    "arithmetic": {
        "epsilon": 1e-4,
        "tensor_float_32": False,
        "deterministic": True,
        "flash_attention": False,
    },
    "checkpoint_seconds": 1.5,
    "log_seconds": 0.5,
    "count": 2,
    "min_workers": 2,
    "max_workers": 3,
    "expects": [1, 3],
    "share": 2.0,
    "priority": 1,
    "standby": 1,
    "hosts": None,
    "driver": None,
    "spark": None,
    "threads": 1,
    "weights": [1.0, 2.0],
    "device": "cpu",
    "allreduce": "horovod",
    "wire": "float16",
    "hang_seconds": 4.0,
    "max_failures": 2,
    "places": [{"cores": str(affinity()[0])}, {"gpu": 0, "memory": 4000, "threads": 2}, {}],
}
MODEL = {"kind": "lepton", "input_shape": [3], "num_classes": 1, "task": "regression", "hidden_size": 4}


def changed(section: type) -> dict[str, Any]:
    return {name: CHANGED[name] for name in section.model_fields}  # type: ignore[attr-defined]  # the section is a pydantic class


def repeated(code: str, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """The configuration that a script would launch."""
    found = []

    class Started:
        def wait(self) -> None:
            pass

    def instead(model: Any, data: Any, **options: Any) -> Started:
        planned = plan(model, data, **options)
        data_spec = planned.dataset.spec()
        held = planned.callbacks or ()
        settings = planned.settings.replace(**{"training.callbacks": held})
        found.append(settings.of(planned.trained.spec(), data_spec))
        return Started()

    monkeypatch.setattr(lk, "launch", instead)
    exec(code, {})
    return found[0]


def test_every_option_is_repeated_by_the_file_and_by_the_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(STAND_IN, "1")
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=x[:, :1])
    model = lk.LeptonModel.from_spec(MODEL).fitted_to(lk.data.npz(tmp_path / "a.npz").prepare()).spec()
    config = RunConfig.from_dict(
        {
            "name": "demo",
            "seed": 5,
            "model": model,
            "data": lk.data.npz(tmp_path / "a.npz", validation_split=0.5).spec(),
            "training": changed(TrainingConfig),
            "workers": changed(WorkersConfig),
            "pruning": {"sparsity": 0.5},
            "quantization_aware": {"bits": 4},
        }
    )
    for section, defaults in ((config.training, TrainingConfig()), (config.workers, WorkersConfig())):
        same = {
            name for name in type(section).model_fields if getattr(section, name) == getattr(defaults, name)
        }
        assert same <= {"device", "count", "hosts", "driver", "spark"}, (
            "an option without a changed value tests nothing"
        )
    whole = absolute(config, tmp_path)
    assert whole == config
    assert RunConfig.from_dict(yaml.safe_load(whole.to_yaml())) == config
    assert repeated(as_python(whole), monkeypatch) == config


def test_hosts_are_repeated_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hosts = [{"name": "me@one", "slots": 2, "speed": 2.0}, {"name": "localhost", "via": "local"}]
    model = lk.LeptonModel.from_spec(
        {**MODEL, "input_shape": [8, 8, 1], "num_classes": 10, "task": "classification"}
    )
    spec = model.fitted_to(lk.data.sample("digits").prepare()).spec()
    config = any_config(model=spec, data={"kind": "sample", "name": "digits"}, workers={"hosts": hosts})
    assert "hosts=[" in as_python(config)
    found = repeated(as_python(config), monkeypatch)
    assert found.workers == config.workers


def test_a_spark_application_is_repeated_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = lk.LeptonModel.from_spec(
        {**MODEL, "input_shape": [8, 8, 1], "num_classes": 10, "task": "classification"}
    )
    spec = model.fitted_to(lk.data.sample("digits").prepare()).spec()
    asked = {"master": "yarn", "gang": True, "conf": {"spark.task.cpus": "2"}}
    config = any_config(
        model=spec, data={"kind": "sample", "name": "digits"}, workers={"count": 3, "spark": asked}
    )
    assert "hosts=" not in as_python(config)
    assert repeated(as_python(config), monkeypatch).workers == config.workers
    of_session = config.replace(**{"workers.spark": {"port": 4040}, "workers.hosts": None})
    code = as_python(of_session)
    assert "from pyspark.sql import SparkSession" in code
    assert "spark={'session': SparkSession.builder.getOrCreate(), 'port': 4040}" in code


@pytest.mark.parametrize("name", ["digits", "credit"])
def test_a_sample_is_repeated_by_its_name(name: str):
    code = as_python(any_config(data={"kind": "sample", "name": name}))
    assert f"data = lk.data.sample({name!r})" in code
    assert "batch_size=128" in code


def test_stored_models_and_arrays_are_repeated_from_where_they_lie(tmp_path: Path):
    callback = {
        "kind": "object",
        "path": "model/callbacks.pkl",
        "index": 0,
        "name": "Own",
        "directory": "there",
    }
    config = any_config(
        model={"kind": "object", "path": "model/model.pkl", "notes": ["it draws"], "schedule": "S()"},
        data={"kind": "arrays", "path": "data"},
        training={"callbacks": [callback, {"kind": "CSVLogger", "filename": "log.csv"}]},
    )
    whole = absolute(config, tmp_path)
    assert whole.model["path"] == str(tmp_path / "model" / "model.pkl")
    assert (whole.model["notes"], whole.schedule) == (["it draws"], "S()")
    assert whole.data["path"] == str(tmp_path / "data")
    assert whole.training.callbacks[0]["path"] == str(tmp_path / "model" / "callbacks.pkl")
    assert whole.training.callbacks[1]["filename"] == str(tmp_path / "log.csv")
    code = as_python(whole)
    assert f"lk.models.build({{'kind': 'object', 'path': {str(tmp_path / 'model' / 'model.pkl')!r}}}" in code
    assert f"lk.data.Dataset.from_spec({{'kind': 'arrays', 'path': {str(tmp_path / 'data')!r}}})" in code
