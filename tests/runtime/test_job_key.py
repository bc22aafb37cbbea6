"""Which prepared worker serves which run: the contents of frozen data count, not where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lepton_kit.config import RunConfig
from lepton_kit.data import arrays
from lepton_kit.data.frozen import KEPT, with_data
from lepton_kit.runtime.worker import job_key
from tests.configs import any_config


def frozen(folder: Path, shift: float = 0.0) -> RunConfig:
    data = arrays(np.arange(20, dtype=np.float32)[:, None] + np.float32(shift), np.arange(20) % 2)
    return with_data(any_config().replace(data=KEPT), data.prepare(), folder)


def test_equal_contents_are_one_job_wherever_they_lie(tmp_path: Path):
    one, same, other = (
        job_key(frozen(tmp_path / name, shift), str(tmp_path / name))
        for name, shift in (("a", 0.0), ("b", 0.0), ("c", 1.0))
    )
    assert one == same != other


def test_data_that_are_not_frozen_are_told_apart_by_their_path(tmp_path: Path):
    config = any_config().replace(data=KEPT)
    assert job_key(config, str(tmp_path / "a")) != job_key(config, str(tmp_path / "b"))
    assert job_key(config, str(tmp_path / "a")) == job_key(config.replace(name="x"), str(tmp_path / "a"))
