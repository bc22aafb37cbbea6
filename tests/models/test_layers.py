"""SyncBatchNormalization: two real Horovod ranks against one process on the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lepton_kit.errors import ModelError
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.runtime.rendezvous import Rendezvous
from lepton_kit.training import collective
from tests.models import sync_rank

HERE = Path(__file__).parent


def two_ranks(cuts):
    server = Rendezvous()
    members = on_this_machine(2, server.address)
    server.begin(members)
    ranks = []
    try:
        for member in members:
            own = {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
            environment = {
                **os.environ,
                **collective.environment(member, cycle_milliseconds=1.0, cache_capacity=1024),
                **own,
            }
            command = [sys.executable, str(HERE / "sync_rank.py"), json.dumps(cuts)]
            ranks.append(
                subprocess.Popen(
                    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
        outputs = [rank.communicate(timeout=300) for rank in ranks]
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
                rank.wait()
        server.close()
    lines = [[line for line in out.splitlines() if line.startswith("RESULT")] for out, _ in outputs]
    said = "\n".join(f"rank {rank}:\n{err[-3000:]}" for rank, (_, err) in enumerate(outputs))
    assert all(lines), said
    return [json.loads(found[0].removeprefix("RESULT")) for found in lines]


@pytest.mark.processes
def test_two_uneven_ranks_equal_one_process():
    import keras

    first, second = two_ranks([(9, 3), (12, 0)])
    plain = sync_rank.network(keras, keras.layers.BatchNormalization)
    one = sync_rank.results(plain, *sync_rank.batch(), lambda gradients: gradients)
    for ranks in zip(first, second, strict=True):
        outputs = np.array(ranks[0]["outputs"] + ranks[1]["outputs"])
        assert np.abs(outputs - one["outputs"]).max() < 1e-5
        for rank in ranks:
            for name in ("gradients", "moving"):
                for mine, expected in zip(rank[name], one[name], strict=True):
                    assert np.abs(np.array(mine) - expected).max() < 1e-5
        assert ranks[0]["moving"] == ranks[1]["moving"]


def test_alone_it_is_the_plain_layer():
    import keras

    from lepton_kit.models import SyncBatchNormalization

    kinds = (SyncBatchNormalization, keras.layers.BatchNormalization)
    one, two = (
        sync_rank.results(sync_rank.network(keras, kind), *sync_rank.batch(), lambda g: g) for kind in kinds
    )
    for name in one:
        for mine, expected in zip(one[name], two[name], strict=True):
            assert np.allclose(mine, expected, atol=1e-5)


def test_a_mask_and_another_axis():
    import keras

    from lepton_kit.models import SyncBatchNormalization

    x = np.random.default_rng(0).normal(2, 3, (6, 5, 4)).astype("float32")
    mask = np.arange(30).reshape(6, 5) % 3 > 0
    for options, extra in (({}, {"mask": mask}), ({"axis": 1}, {})):
        one, two = (
            kind(**options)(x, training=True, **extra)
            for kind in (SyncBatchNormalization, keras.layers.BatchNormalization)
        )
        assert np.abs(np.array(one) - np.array(two)).max() < 1e-5


def test_synchronize_keeps_weights_and_compilation(tmp_path):
    import keras

    from lepton_kit import models

    inner = sync_rank.network(keras, keras.layers.BatchNormalization)
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    model.compile("sgd", "mse")
    model.fit(sync_rank.batch()[0], np.zeros((12, 2)), verbose=0)
    copy = models.synchronize_batch_normalization(model)
    x = sync_rank.batch()[0]
    assert np.allclose(copy(x), model(x))
    assert copy.compiled
    assert sum("(BatchNormalization)" in line for line in models.explain_inexactness(model)) == 2
    assert not any("(BatchNormalization)" in line for line in models.explain_inexactness(copy))
    spec = models.store(copy, tmp_path / "model")
    assert np.allclose(models.build(spec, tmp_path, 0)(x), model(x))
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert models.synchronize_batch_normalization(plain) is plain


def test_a_subclassed_model_is_refused():
    import keras

    from lepton_kit import models

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = keras.layers.BatchNormalization()

        def call(self, x):
            return self.norm(x)

    model = Own()
    model(np.zeros((1, 2)))
    with pytest.raises(ModelError, match="only functional and sequential"):
        models.synchronize_batch_normalization(model)
