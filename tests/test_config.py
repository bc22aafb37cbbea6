"""The configuration: a round trip loses nothing, and a mistake is named with what would be right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton_kit.config import RunConfig, json_schema
from lepton_kit.errors import ConfigError

configs = st.builds(
    RunConfig.from_dict,
    st.fixed_dictionaries(
        {
            "name": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,20}\Z"),
            "seed": st.integers(0, 2**32 - 1),
            "model": st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
            "data": st.just({"kind": "npz", "path": "a/b.npz"}),
            "training": st.fixed_dictionaries(
                {
                    "global_batch": st.integers(1, 10**6),
                    "epochs": st.integers(1, 10**6),
                    "learning_rate": st.none() | st.floats(1e-9, 1e3),
                    "metrics": st.none() | st.lists(st.sampled_from(["accuracy", "mse"])).map(tuple),
                }
            ),
            "workers": st.fixed_dictionaries(
                {
                    "count": st.integers(1, 64) | st.just("auto"),
                    "standby": st.integers(0, 16),
                    "weights": st.none() | st.lists(st.floats(0.1, 9), min_size=1, max_size=4),
                }
            ),
            "pruning": st.none() | st.fixed_dictionaries({"sparsity": st.floats(0, 0.99)}),
        }
    ),
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_what_is_written_is_read_again(config: RunConfig):
    assert RunConfig.from_dict(yaml.safe_load(config.to_yaml())) == config
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_file_is_read_as_yaml_or_json(tmp_path: Path):
    config = RunConfig(model={"kind": "lepton"}, data={"kind": "npz"})
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    (tmp_path / "run.json").write_text(json.dumps(config.to_dict()))
    assert RunConfig.load(tmp_path / "run.yaml") == RunConfig.load(tmp_path / "run.json") == config


def base(**sections: Any) -> dict[str, Any]:
    return {"model": {}, "data": {}, **sections}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (base(training={"epoch": 3}), ["training.epoch: got 3", "did you mean 'epochs'?"]),
        (base(worker={}), ["worker: got {}", "did you mean 'workers'?"]),
        (base(pruning={"sparsty": 0.5}), ["pruning.sparsty", "did you mean 'sparsity'?"]),
        (base(training={"zzz": 3}), ["one of the keys global_batch, epochs"]),
        ({"data": {}}, ["model: got None; expected this key to be there"]),
        (base(training={"epochs": 0}), ["training.epochs: got 0; expected greater than or equal to 1"]),
        (base(workers={"count": 0}), ["workers.count", "a whole number of at least 1, or auto"]),
        (base(workers={"min_workers": 3, "max_workers": 2}), ["max_workers of at least min_workers (3)"]),
        (base(training={"learning_rate": float("nan")}), ["training.learning_rate"]),
        (base(name="../x"), ["name: got '../x'"]),
        (base(version=2), ["version: got 2"]),
    ],
)
def test_a_mistake_is_named_with_the_rule(values: dict[str, Any], words: list[str]):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(values)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [", "valid YAML"),
        (b"\xff\xfe\x00", "readable YAML or JSON file"),
        (b"- 1", "a mapping of sections"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        RunConfig.load(path)
    assert "broken.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml.*readable"):
        RunConfig.load(tmp_path / "none.yaml")


def test_a_configuration_does_not_change():
    config = RunConfig(model={}, data={})
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
    changed = config.replace(**{"workers.count": 4, "pruning.sparsity": 0.25})
    assert changed.workers.count == 4
    assert changed.pruning is not None
    assert (changed.pruning.sparsity, config.pruning) == (0.25, None)


def test_the_schema_names_every_field_with_its_bounds():
    schema = json.loads(json_schema())
    assert set(schema["properties"]) == set(RunConfig.model_fields)
    assert schema["$defs"]["TrainingConfig"]["properties"]["epochs"]["minimum"] == 1
    assert schema["$defs"]["TrainingConfig"]["additionalProperties"] is False
