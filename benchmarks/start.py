"""Time from Start to the first trained step: cold, a client's second launch, and from warm workers.

    python benchmarks/start.py [--rounds 3]

The digits sample and its default model on two workers. All take turns in one run, beside the import of the libraries
alone; printed are medians in seconds and the ratio to it. The second launch has another model, which nobody has
built before. Also: how long `import lepton_kit` takes and whether it loads TensorFlow.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import lepton_kit as lk

LIMIT_SECONDS = 180
LIBRARIES = "import tensorflow, keras, horovod.tensorflow"


def first_step(run: Any, start: float) -> float:
    """Seconds from ``start`` to the end of the first step that the run reports."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not len(run.view().time):
        if time.monotonic() > deadline or run.status == "failed":
            raise SystemExit(f"{run.id}: {run.status}: {run.cause}")
        time.sleep(0.01)
    return float(run.view().time[0]) - start


def launch(folder: str, width: int = 64) -> float:
    start = time.time()
    run = lk.launch(
        lk.LeptonModel((8, 8, 1), 10, width), lk.data.sample("digits"), workers=2, epochs=3, runs_dir=folder
    )
    seconds = first_step(run, start)
    run.wait(LIMIT_SECONDS)
    return seconds


def warm_start(folder: str, seconds: float) -> float:
    lk.warm(lk.LeptonModel((8, 8, 1), 10), lk.data.sample("digits"), workers=2, epochs=3)
    time.sleep(seconds)
    return launch(folder)


def timed(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, list[float]] = {
        name: []
        for name in (
            "import of the libraries",
            "cold start",
            "second launch",
            "warm start",
            "import lepton_kit",
            "bare Python",
        )
    }
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        launch(folder)
        for turn in range(options.rounds):
            rows["import of the libraries"].append(timed(LIBRARIES))
            lk.cool()
            rows["cold start"].append(launch(folder))
            rows["second launch"].append(launch(folder, 65 + turn))
            rows["warm start"].append(warm_start(folder, 3 * rows["cold start"][-1]))
            rows["import lepton_kit"].append(
                timed("import lepton_kit, sys; assert 'tensorflow' not in sys.modules")
            )
            rows["bare Python"].append(timed("pass"))
    base = rows["import of the libraries"]
    print("| | seconds (median) | / import of the libraries |\n|---|---:|---:|")
    for name, values in rows.items():
        ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
