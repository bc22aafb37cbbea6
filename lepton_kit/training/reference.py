"""Plain Keras on the whole large batch, in one process: what a distributed run has to equal.

`python -m lepton_kit.training.reference RUN_FOLDER OUTPUT.npz` repeats the steps of a run with `train_on_batch`, with
none of the code that trains in workers but the order of the samples, and writes the weights.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np


def train(folder: Path, output: Path) -> None:
    """Train the run's model by Keras' own loop and write ``weights``, their names, and what breaks exactness."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from lepton_kit import models
    from lepton_kit.config import RunConfig
    from lepton_kit.data import Dataset, sharding
    from lepton_kit.training import job

    config = RunConfig.load(folder / "config.yaml")
    data = Dataset.from_spec(config.data, folder).prepare()
    model = job.build_model(config, folder, data)
    batch, samples = config.training.global_batch, len(data.train)
    for step in range(length_of(config, samples).total_steps):
        (indices,) = sharding.shard(
            seed=config.seed, step=step, samples=samples, global_batch=batch, weights=[1]
        )
        x, y = data.train.take(indices)
        model.train_on_batch(_floats(x), y)
    names = [variable.path for variable in model.variables]
    trainable = {variable.path for variable in model.trainable_variables}
    about = {
        "names": names,
        "trainable": [name in trainable for name in names],
        "inexact": models.explain_inexactness(model),
    }
    np.savez(output, *[variable.numpy() for variable in model.variables], about=np.array(json.dumps(about)))


def _floats(x: object) -> object:
    if isinstance(x, dict):
        return {name: _floats(part) for name, part in x.items()}
    assert isinstance(x, np.ndarray)
    return x.astype(np.float32) if x.dtype == np.uint8 else x


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
