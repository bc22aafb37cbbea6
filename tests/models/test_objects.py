"""A model as an object: in another process it predicts, loses, derives and steps as it does where it was made."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lepton_kit.models import objects
from tests.models import object_facts
from tests.models.object_table import TABLE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """{name: (facts here, facts of the pickle in another process)}."""
    import keras

    folder = tmp_path_factory.mktemp("objects")
    here = {}
    for name, make in TABLE.items():
        keras.utils.set_random_seed(1)
        try:
            model, *rows = make()
            content = objects.dumps(model)
            copy_of_rows = [row.numpy() if hasattr(row, "numpy") else row for row in rows]
            rows_file = folder / f"{name}.rows"
            rows_file.write_bytes(pickle.dumps(rows))
            (folder / f"{name}.pkl").write_bytes(content)
            del copy_of_rows
            here[name] = object_facts.facts(model, *rows)
        except Exception as failure:
            here[name] = failure
    command = [sys.executable, str(Path(object_facts.__file__)), str(folder)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    there = {
        name: pickle.loads((folder / f"{name}.facts").read_bytes())
        for name in TABLE
        if (folder / f"{name}.pkl").exists()
    }
    return here, there


@pytest.mark.processes
@pytest.mark.parametrize("name", TABLE)
def test_the_object_is_the_same_elsewhere(elsewhere, name):
    here, there = elsewhere[0][name], elsewhere[1].get(name)
    if isinstance(here, Exception):
        raise here
    assert "error" not in there, there["error"]
    assert here.keys() == there.keys()
    for fact, values in here.items():
        assert len(values) == len(there[fact]), fact
        for one, two in zip(values, there[fact], strict=True):
            if isinstance(one, np.ndarray) and one.dtype.kind not in "US":
                assert np.allclose(np.float64(one), np.float64(two), rtol=1e-5, atol=1e-6), fact
            else:
                assert one == two, fact
