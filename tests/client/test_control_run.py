"""The control of a run that prunes or rounds: the same in float, for as many steps."""

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.client import run as runs
from lepton_kit.errors import RunError

pytestmark = pytest.mark.processes


class Doubled(keras.layers.Layer):
    """A layer that no other process can import; its code has to travel with the model."""

    def call(self, inputs):
        return 2 * inputs


def kernels(run):
    return [weight for weight in run.model().get_weights() if weight.ndim == 2]


def train_to(run, step):
    while run.view().step < step:
        assert run.alive, run.cause
    assert not run.paths.final_model.exists()  # it may have been stopped before, but goes on now
    return run.stop().wait(120)


def test_the_control_is_the_same_run_in_float_and_is_found_again(tmp_path, monkeypatch):
    Doubled.__module__ = "__main__"  # as in a notebook
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), Doubled(), keras.layers.Dense(16), keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    data = lk.data.arrays(x, (x[:, 0] > 0).astype(int))
    options = {"global_batch": 16, "seed": 5, "runs_dir": tmp_path}
    run = lk.launch(
        model,
        data,
        epochs=100_000,
        workers=1,
        pruning={"sparsity": 0.5, "end_step": 8, "frequency": 2},
        **options,
    )
    with pytest.raises(RunError, match="its control trains as long, so it has to end first"):
        run.control_run()
    before = kernels(train_to(run, 20))
    after = kernels(train_to(run.resume(), run.view().step + 20))
    for one, other in zip(before, after, strict=True):
        assert np.count_nonzero(other) <= 0.6 * other.size
        assert np.array_equal(one == 0, other == 0)  # the masks outlive the workers that made them
        assert not np.array_equal(one, other)
    control = run.control_run().wait(120)
    assert control.status == "finished"
    assert control.view().step == run.view().step
    assert lk.open_run(run.id, tmp_path).control_run().id == control.id
    assert (control.config.pruning, control.config.seed, control.config.name) == (None, 5, "run-control")
    assert all(np.count_nonzero(kernel) == kernel.size for kernel in kernels(control))
    with pytest.raises(RunError, match="neither prunes nor rounds while it trains; it needs no control"):
        control.control_run()

    begun = []
    monkeypatch.setattr(runs, "begin", lambda name, folder, fill: begun.append(fill(folder)) or run.paths)
    run.paths.control_run.write_text(run.id)  # one that did not train as long
    assert run.control_run().id == run.id
    run.paths.control_run.write_text("deleted")
    assert run.control_run().id == run.id
    assert [config.training.max_steps for config in begun] == 2 * [run.view().step]
