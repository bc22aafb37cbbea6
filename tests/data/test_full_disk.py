"""A disk that is full while data are decoded or a run is stored is an error in words, and the process lives on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import on_a_small_disk

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys
from pathlib import Path
import numpy as np
small = Path(sys.argv[1])
os.environ["XDG_CACHE_HOME"] = str(small / "cache")
import lepton_kit as lk
from lepton_kit.config import RunConfig
from lepton_kit.data import stream, streams
from lepton_kit.runtime.folder import begin
streams.SPARE_BYTES = 0
x, y = np.ones((20_000, 100), np.float32), np.arange(20_000) % 3
np.savez(small.parent / "a.npz", x=x, y=y)
def ragged():
    for size in (1, 2):
        for start in range(0, 400):
            yield np.ones((4, 300 * size), np.float32), np.zeros(4)
def fill(folder):
    (folder / "model.bin").write_bytes(bytes(5_000_000))
    return None
for attempt in (
    lambda: lk.data.npz(small.parent / "a.npz").prepare(),
    lambda: stream(ragged()),
    lambda: lk.launch(lk.LeptonModel((100,), 3), (x, y), runs_dir=small / "runs"),
    lambda: begin("demo", small / "runs", fill),
):
    try:
        attempt()
    except lk.errors.LeptonError as failure:
        print(type(failure).__name__, str(failure).replace(str(small), "SMALL"))
print(sorted(str(path.relative_to(small)) for path in small.rglob("*") if path.is_file()))
"""


@pytest.mark.processes
def test_every_place_where_much_is_written_says_that_the_disk_is_full(tmp_path: Path):
    answer = on_a_small_disk(tmp_path, SCRIPT, size="4m", timeout=120)
    assert answer.returncode == 0, answer.stderr
    *lines, left = answer.stdout.splitlines()
    full = "No space left on device"
    assert [line.split(full)[0] for line in lines] == [
        "DataError SMALL/cache/lepton_kit/data: the data cache cannot be written (",
        "DataError SMALL/cache/lepton_kit/data: the data cache cannot be written (",
        "DataError SMALL/runs: the data can't be stored with the run (",
        "RunError SMALL/runs: the run can't be stored (",
    ]
    assert all("MB are free there" in line for line in lines)
    assert left == "[]"
