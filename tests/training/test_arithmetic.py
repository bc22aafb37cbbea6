"""What a notebook sets for its whole process in Keras and TensorFlow, its workers have set, too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.client.launch import plan
from lepton_kit.errors import ConfigError
from lepton_kit.specs import Arithmetic
from lepton_kit.training import arithmetic

ALL = {"epsilon": 1e-4, "tensor_float_32": False, "deterministic": True, "flash_attention": False}
SETTING = """
import keras, tensorflow as tf
from lepton_kit.specs import Arithmetic
from lepton_kit.training import arithmetic
assert arithmetic.now() is None, arithmetic.now()
told = Arithmetic(**{told})
arithmetic.take(told)
assert arithmetic.now() == told, arithmetic.now()
"""


@pytest.mark.parametrize("name", ALL)
def test_each_setting_is_told_once_it_is_set(name: str):
    code = SETTING.replace("{told}", repr({name: ALL[name]}))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_nothing_is_told_where_nothing_is_loaded():
    code = "import sys; from lepton_kit.training.arithmetic import now; assert now() is None; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.fixture
def coarse() -> Iterator[None]:
    keras.config.set_epsilon(0.05)
    yield
    keras.config.set_epsilon(arithmetic.EPSILON)


def percentages() -> tuple[keras.Model, lk.data.Dataset]:
    """A model whose loss divides by what it is to tell, and by epsilon where that is less."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-4), "mean_absolute_percentage_error")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(256, 4)).astype(np.float32)
    return model, lk.data.arrays(
        x, draw.uniform(0.001, 0.2, (256, 1)).astype(np.float32), validation_split=0.0
    )


@pytest.mark.processes
def test_workers_train_with_the_notebooks_epsilon(coarse: None):
    found = lk.certify(*percentages(), steps=8, workers=2, global_batch=64)
    assert found.max_difference < 1e-6
    usual = lk.certify(*percentages(), steps=8, workers=2, global_batch=64, arithmetic={"epsilon": 1e-7})
    assert usual.max_difference > 1e-3  # plain fit here has the notebook's


def test_what_was_asked_goes_before_what_the_notebook_has(coarse: None):
    assert plan(*percentages()).settings.training.arithmetic == Arithmetic(epsilon=0.05)
    asked = plan(*percentages(), arithmetic={"deterministic": True}).settings.training.arithmetic
    assert asked == Arithmetic(deterministic=True)
    with pytest.raises(ConfigError, match=r"arithmetic\.epsilon: got 2; expected less than 1"):
        plan(*percentages(), arithmetic={"epsilon": 2})
