"""Splits are read through their rows alone, so that samples may lie elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.prepared import Split
from lepton_kit.deploy.splits import first_rows, pieces, store_samples, targets


class Elsewhere(Split):
    """``x`` and ``y`` say shapes alone; the rows come from a source."""

    def __init__(self, x: np.ndarray, y: np.ndarray):
        super().__init__(x, y)
        object.__setattr__(self, "source", True)

    def rows(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        return np.stack([indices, indices], 1).astype(np.float32), indices * 10, None


def test_samples_that_lie_elsewhere_are_read_and_not_their_shapes(tmp_path: Path):
    split = Elsewhere(np.zeros((2500, 2), np.float32), np.zeros(2500, np.int64))
    assert [len(x) for x, _ in pieces(split)] == [1024, 1024, 452]
    assert first_rows(split, 3)[:, 0].tolist() == [0, 1, 2]
    assert targets(split).tolist() == [10 * k for k in range(2500)]
    assert targets(split, whole=False)[-1] == 24990
    ((key, path),) = store_samples(split, tmp_path)
    assert key is None
    assert np.load(path)[:, 1].tolist() == list(range(2500))


def test_several_inputs_are_stored_by_name(tmp_path: Path):
    split = Split({"a": np.arange(4), "b": np.ones((4, 2))}, np.arange(4))
    found = dict(store_samples(split, tmp_path))
    assert np.load(found["a"]).tolist() == [0, 1, 2, 3]
    assert np.load(found["b"]).shape == (4, 2)
    assert targets(split) is split.y
