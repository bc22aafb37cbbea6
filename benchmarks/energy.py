"""What counting energy costs: processor time of looks at the machine's book, with runs of several sizes in it.

The counters are files as Linux has them, in a folder of this benchmark; a run's tree is this process with children that sleep.
Each run looks every 5 s; one of them reads for all, the others fetch their part.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lepton_kit.runtime.energy.book import Book
from lepton_kit.runtime.energy.counters import Counters
from lepton_kit.runtime.energy.meter import EVERY_SECONDS, EnergyMeter
from lepton_kit.runtime.pool.folder import PoolFolder

LOOKS, AIM = 200, 0.001


def packages(root: Path, count: int) -> None:
    """So many packages with memory, as Linux shows them."""
    for number in range(count):
        for name, kind in [(f"intel-rapl:{number}", f"package-{number}"), (f"intel-rapl:{number}:0", "dram")]:
            folder = root / name
            folder.mkdir()
            (folder / "name").write_text(f"{kind}\n")
            (folder / "energy_uj").write_text("123456789\n")
            (folder / "max_energy_range_uj").write_text("262143328850\n")


def looked(root: Path, runs: int, workers: int) -> tuple[float, float]:
    """Median processor seconds of a look that reads for all runs, each a process with so many children, and of another's look."""
    sleeper = "import subprocess, sys\nfor _ in range(int(sys.argv[1])): subprocess.Popen(['sleep', '600'])\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", sleeper, str(workers)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(runs)
    ]
    try:
        for one in started:
            assert one.stdout is not None
            one.stdout.readline()
        with tempfile.TemporaryDirectory() as folder:
            book = Book(PoolFolder(Path(folder) / "book"))
            meters = [EnergyMeter(book, [Counters(root)], one.pid) for one in started]
            spent: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(LOOKS):
                for fresh, times in spent.items():
                    before = time.process_time()
                    meters[-1].measure(float("inf"), fresh)
                    times.append(time.process_time() - before)
            return statistics.median(spent[True]), statistics.median(spent[False])
    finally:
        for one in started:
            os.killpg(one.pid, 9)
            one.wait()


def main() -> int:
    """Print a table; 1 if a run costs more than the aim."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        packages(root, 2)
        for runs, workers in [(1, 2), (1, 16), (8, 2), (30, 2)]:
            reads, looks = looked(root, runs, workers)
            each = (reads + (runs - 1) * looks) / runs / EVERY_SECONDS
            rows.append((runs, workers, reads, looks, each))
    print(
        "| runs in the book | workers of each | a look that reads | another look | of a core, for each run |"
    )
    print("|---|---|---|---|---|")
    for runs, workers, reads, looks, each in rows:
        print(f"| {runs} | {workers} | {1e3 * reads:.2f} ms | {1e3 * looks:.2f} ms | {100 * each:.3f} % |")
    return int(max(each for *_, each in rows) > AIM)


if __name__ == "__main__":
    sys.exit(main())
