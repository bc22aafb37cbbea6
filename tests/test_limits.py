"""Absurd numbers are refused by the name that the user gave them, before anything starts."""

from __future__ import annotations

import pytest

import lepton_kit as lk
from lepton_kit.client.launch import plan
from lepton_kit.errors import ConfigError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("workers", 10_000), ("workers", 0), ("workers", -1), ("max_workers", 10**6), ("expects", [0]), ("expects", [2, 10_000]), ("standby", 10_000),
        ("global_batch", 0), ("global_batch", 10**9), ("batch_size", 10**18), ("epochs", 0), ("epochs", 1e9),
        ("learning_rate", -1), ("learning_rate", 0), ("learning_rate", 1e9), ("learning_rate", float("nan")),
        ("seed", -1), ("seed", 2**70), ("name", "a/b"), ("checkpoint_seconds", -1), ("hang_seconds", 0),
    ],
)  # fmt: skip
def test_a_launch_names_the_option_that_is_out_of_range(option, value):
    model = lk.LeptonModel((8, 8, 1), 10, hidden_size=8, num_layers=1)
    with pytest.raises(ConfigError, match=f"^{option}: got ") as refused:
        plan(model, lk.data.sample("digits"), **{option: value})
    assert "expected" in str(refused.value)


@pytest.mark.parametrize(("option", "value"), [("hidden_size", 10**9), ("num_layers", 10**6)])
def test_a_network_beyond_all_measure_is_refused(option, value):
    with pytest.raises(
        ConfigError, match=rf"model.{option}: got {value}; expected a whole number of at most"
    ):
        lk.LeptonModel((8, 8, 1), 10, **{option: value})
