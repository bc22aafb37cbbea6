"""The configuration: a round trip loses nothing, and a mistake is named with what would be right."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lepton_kit.data
from lepton_kit.config import SHALLOW, RunConfig, RunSettings, _parsed, json_schema
from lepton_kit.data import Dataset
from lepton_kit.data.dataset import KINDS
from lepton_kit.errors import ConfigError
from lepton_kit.models.lepton import FIELDS, LeptonModel
from lepton_kit.specs import DataSpec, LeptonSpec
from tests.configs import DATA, MODEL, any_config

texts = st.text(min_size=1, max_size=5)
models = st.fixed_dictionaries(
    {"kind": st.just("lepton"), "input_shape": st.lists(st.integers(1, 99), min_size=1, max_size=3)}
    | {"num_classes": st.integers(1, 99), "input_range": st.none() | st.just([-1.0, 0.5])}
) | st.fixed_dictionaries(
    {"kind": st.sampled_from(["keras", "object"]), "path": texts, "schedule": st.none() | texts}
    | {"notes": st.lists(texts, max_size=2)}
)
data = st.fixed_dictionaries(
    {"kind": st.just("npz"), "path": texts, "x": texts | st.lists(texts) | st.dictionaries(texts, texts)}
    | {"scale": st.none() | st.just([0.5, 1.0]) | st.dictionaries(texts, st.just([2.0, 0.0]))}
) | st.fixed_dictionaries({"kind": st.just("table"), "path": texts, "target": texts})
configs = st.builds(
    RunConfig.from_dict,
    st.fixed_dictionaries(
        {
            "name": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,20}\Z"),
            "seed": st.integers(0, 2**32 - 1),
            "model": models,
            "data": data,
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


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_what_is_written_is_read_again(config: RunConfig):
    assert RunConfig.from_dict(yaml.safe_load(config.to_yaml())) == config
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_file_is_read_as_yaml_or_json(tmp_path: Path):
    config = any_config()
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    (tmp_path / "run.json").write_text(json.dumps(config.to_dict()))
    assert RunConfig.load(tmp_path / "run.yaml") == RunConfig.load(tmp_path / "run.json") == config


def base(**sections: Any) -> dict[str, Any]:
    return {"model": MODEL, "data": DATA, **sections}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (base(training={"epoch": 3}), ["training.epoch: got 3", "did you mean 'epochs'?"]),
        (base(worker={}), ["worker: got {}", "did you mean 'workers'?"]),
        (base(pruning={"sparsty": 0.5}), ["pruning.sparsty", "did you mean 'sparsity'?"]),
        (base(training={"zzz": 3}), ["one of the keys global_batch, epochs"]),
        ({"data": DATA}, ["model: got None; expected this key to be there"]),
        (base(training={"epochs": 0}), ["training.epochs: got 0; expected greater than or equal to 1"]),
        (base(workers={"count": 0}), ["workers.count", "a whole number of at least 1, or auto"]),
        (
            base(workers={"count": 1, "min_workers": 3, "max_workers": 2}),
            ["workers.max_workers: got 2; expected at least min_workers (3)"],
        ),
        (base(workers={"count": 8, "max_workers": 4}), ["got 4; expected at least count (8)"]),
        (base(training={"initial_epoch": 5}), ["training.initial_epoch: got 5", "below epochs (5)"]),
        (base(training={"validate_every_epochs": 0}), ["at least 1, or a list of epochs, counted from 1"]),
        (base(pruning=3), ["pruning: got 3; expected a mapping of settings"]),
        (base(model=3), ["model: got 3; expected a mapping with a kind: lepton, keras, object"]),
        (base(model={}), ["model.kind: got None; expected one of lepton, keras, object"]),
        (base(model={"kind": "lepto"}), ["model.kind: got 'lepto'; expected one of lepton"]),
        (base(model={**MODEL, "hiden_size": 3}), ["model.hiden_size: got 3", "did you mean 'hidden_size'?"]),
        (base(model={**MODEL, "cell": "rnn"}), ["model.cell: got 'rnn'; expected 'conv', 'gru' or 'lstm'"]),
        (base(model={**MODEL, "input_shape": [0]}), ["model.input_shape.0: got 0; expected greater than 0"]),
        (base(model={"kind": "keras"}), ["model.path: got None; expected this key to be there"]),
        (
            base(data={"kind": "nzp", "path": "a"}),
            ["data.kind: got 'nzp'; expected one of image_folder, npz"],
        ),
        (base(data={"kind": "npz", "path": ""}), ["data.path: got ''; expected at least 1 character"]),
        (base(data={"kind": "npz", "path": "a", "x": 3}), ["data.x: got 3; expected an array's name"]),
        (
            base(data={"kind": "npz", "path": "a", "scale": "b"}),
            ["data.scale: got 'b'; expected standardize, (factor"],
        ),
        (base(data={"kind": "text", "path": "a", "colour": 1}), ["one of the keys kind, path"]),
        (base(training={"learning_rate": float("nan")}), ["training.learning_rate"]),
        (base(name="../x"), ["name: got '../x'"]),
        (base(version=2), ["version: got 2"]),
        (base(training={"epochs": True}), ["training.epochs: got True; expected a number"]),
        (base(training={"max_steps": False}), ["training.max_steps: got False; expected a number, or null"]),
        (base(workers={"count": True}), ["workers.count: got True"]),
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
        (
            b"seed: 1\nname: [a\n",
            r"got 'name: \[a'; expected valid YAML \(line 3, column 1: expected ',' or ']'",
        ),
        (b"seed: 1\n\tname: a", r"got '\\tname: a'; expected valid YAML \(line 2, column 1: found character"),
        (b"[" * 5000, "valid YAML"),
        (b"[" * 100_000, "valid YAML"),  # libyaml would overflow the stack
        (b"- " * 100_000, "valid YAML"),
        ("\n".join(" " * k + "a:" for k in range(2000)).encode(), "valid YAML"),
        (b"\xff\xfe\x00", "readable YAML or JSON file"),
        (b"- 1", "a mapping of sections"),
        (b"training: {epochs: 0}", r"training\.epochs: got 0"),
        (b"modle: {}", "did you mean 'model'"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        RunConfig.load(path)
    assert "broken.yaml" in str(caught.value)


@pytest.mark.parametrize("long", [False, True])
def test_both_readers_of_yaml_find_the_same(long: bool):
    text = any_config().to_yaml() + (f"# {'x' * SHALLOW}\n" if long else "")
    assert RunConfig.from_dict(_parsed(text)) == any_config()
    assert _parsed(text) == yaml.safe_load(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml.*readable"):
        RunConfig.load(tmp_path / "none.yaml")


def test_a_configuration_does_not_change():
    config = any_config()
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


def test_the_schema_knows_every_kind_of_model_and_data():
    schema = json.loads(json_schema())
    assert set(schema["properties"]["model"]["discriminator"]["mapping"]) == {"lepton", "keras", "object"}
    assert set(schema["properties"]["data"]["discriminator"]["mapping"]) == {*KINDS, "arrays", "sample"}


def defaults(section: Any) -> dict[str, Any]:
    empty = inspect.Parameter.empty
    return {
        name: empty if field.is_required() else field.default for name, field in section.model_fields.items()
    }


def signature(function: Any) -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_data_spec_has_the_options_of_its_verb_with_their_defaults(kind: str):
    found = next(
        one
        for one in get_args(get_args(DataSpec)[0])
        if get_args(one.model_fields["kind"].annotation) == (kind,)
    )
    expected = signature(getattr(lepton_kit.data, KINDS[kind][1]))
    ours = defaults(found)
    ours.pop("kind")
    assert ours == expected


def test_a_model_spec_has_the_fields_of_a_lepton_model_with_their_defaults():
    ours = defaults(LeptonSpec)
    assert (ours.pop("notes"), ours.pop("remarks"), ours.pop("kind")) == ((), (), inspect.Parameter.empty)
    assert ours == signature(LeptonModel)
    assert set(ours) == set(FIELDS)


def test_a_spec_reads_as_the_mapping_that_it_was_made_from():
    spec = any_config(model={**MODEL, "notes": ["it draws"]}).model
    assert LeptonModel.from_spec(spec).spec() == {**dict(spec)}
    assert (spec.get("path"), spec["num_classes"], spec["notes"], len(spec)) == (None, 10, ["it draws"], 11)
    assert "notes" not in list(spec)
    with pytest.raises(KeyError):
        spec["colour"]


def test_a_file_from_before_specs_had_types_is_read(tmp_path: Path):
    old = {"kind": "npz", "path": str(tmp_path / "a.npz"), "x": "x", "y": "y", "seed": 0, "scale": None}
    config = RunConfig.from_dict(base(data=old, model={"kind": "keras", "path": "model/model.keras"}))
    assert Dataset.from_spec(config.data) == Dataset.from_spec(old)
    assert (config.model["path"], config.schedule) == ("model/model.keras", None)


def test_a_rate_where_a_schedule_decides_is_refused():
    stored = {"kind": "keras", "path": "a.keras", "schedule": "CosineDecay(0.1)"}
    config = any_config(model=stored)
    config.check_rate(None)
    with pytest.raises(ConfigError, match=r"learning_rate: got 0\.1; expected none: .* CosineDecay\(0\.1\)"):
        config.check_rate(0.1)
    any_config(model=stored, training={"optimizer": "sgd"}).check_rate(0.1)


@pytest.mark.parametrize("weights", ["autox", 3, {"a": 1}])
def test_weights_that_are_none_say_what_is_allowed(weights):
    with pytest.raises(
        ConfigError, match=r"workers\.weights: got .*; expected a number above 0 for each worker, or auto"
    ):
        RunSettings.from_dict({"workers": {"weights": weights}})
