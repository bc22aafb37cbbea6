"""How far servers of one architecture lie from the mean: the interval of the table of power, from SPECpower results.

Takes the data folder of a copy of github.com/cloud-carbon-footprint/cloud-carbon-coefficients (Apache-2.0): its file of
results and its lists of processors by architecture. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path

import pandas as pd

FAMILIES = (
    *("amd-epyc-gen1", "amd-epyc-gen2", "amd-epyc-gen3", "intel-haswell", "intel-broadwell", "intel-skylake"),
    *("intel-cascadelake", "intel-coffeelake"),
)
ENDS = (0.05, 0.95)


def spreads(results: pd.DataFrame, names: list[str]) -> dict[str, tuple[float, float, float]]:
    """Watts a thread, idle and full: the mean, and the 5th and 95th percentile as multiples of it."""
    pattern = "|".join(rf"\b{re.escape(name)}(?![\w ]*v\d)\b" for name in names)
    rows = results[results["CPU Description"].astype(str).str.contains(pattern)]
    threads = pd.to_numeric(rows["Total Threads"], errors="coerce")
    found = {}
    for title, column in (("idle", "avg. watts @ active idle"), ("full", "avg. watts @ 100%")):
        watts = pd.to_numeric(rows[column], errors="coerce") / threads
        mean = float(watts.mean())
        found[title] = (mean, *(float(watts.quantile(end)) / mean for end in ENDS))
    return found


def main() -> int:
    """Print a table and the median of all ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "data", type=Path, help="folder with SPECpower-full-results.csv and amd-epyc-gen1.csv …"
    )
    folder = parser.parse_args().data
    results = pd.read_csv(folder / "SPECpower-full-results.csv")
    print("| architecture | idle W | 5 % | 95 % | full W | 5 % | 95 % |\n|---|---|---|---|---|---|---|")
    lows, highs = [], []
    for family in FAMILIES:
        listed = (folder / f"{family}.csv").read_text(encoding="utf-8").splitlines()
        found = spreads(results, [name.strip() for name in listed if name.strip()])
        cells = [f"{mean:.2f} | {low:.2f} | {high:.2f}" for mean, low, high in found.values()]
        print(f"| {family} | {' | '.join(cells)} |")
        lows += [low for _, low, _ in found.values()]
        highs += [high for *_, high in found.values()]
    inside = sum(low >= 0.6 for low in lows) + sum(high <= 1.6 for high in highs)
    print(f"medians {statistics.median(lows):.2f} and {statistics.median(highs):.2f}; "
          f"{inside} of {len(lows) + len(highs)} ends lie within 0.6 and 1.6")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
