"""The memory that reading a large table takes, in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest

MEGABYTES = 100
MEASURE = """
import resource, sys
from lepton_kit.data.tables import table
prepared = table(sys.argv[1], target="price").prepare(sys.argv[2])
assert len(prepared.preprocessing.columns) == 13, prepared.notes
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.soak
@pytest.mark.processes
def test_the_peak_is_at_most_three_times_the_file(tmp_path):
    path = tmp_path / "large.csv"
    rng = np.random.default_rng(0)
    count = 0
    with path.open("w") as file:
        file.write("id," + ",".join(f"x{k}" for k in range(10)) + ",city,seen,price\n")
        while file.tell() < MEGABYTES * 10**6:
            values, cities = rng.normal(size=(10_000, 10)), rng.integers(0, 50, 10_000)
            for row, city in zip(values, cities, strict=True):
                cells = ",".join(f"{value:.5f}" for value in row)
                day = 1 + count % 28
                file.write(f"{count},{cells},city {city},2020-01-{day:02d} 10:00,{1000 * row.sum():.2f}\n")
                count += 1
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "cache")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert told.returncode == 0, told.stderr[-2000:]
    # All of the process: Python, NumPy, pandas and pyarrow themselves take some 150 MB of it.
    assert int(told.stdout) <= 3 * path.stat().st_size
