"""Run storms of faults for so many minutes, print what they left, and write docs/reliability.md from it.

    python scripts/soak.py [--minutes 60] [--write]

Each storm is one run: faults for a minute, then it is stopped, audited, and its weights are compared with those of plain
Keras after as many steps. Storms take turns between the two ways to sum gradients.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.soak.storm import Found

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
STORM_SECONDS = 60.0
WAYS = ("auto", "horovod")


def weather(minutes: float, seed: int) -> list[Found]:
    """Storms until the time is over; the last one may take longer."""
    from tests.soak.saboteur import EVERYTHING
    from tests.soak.storm import storm

    end, found = time.monotonic() + 60 * minutes, []
    while time.monotonic() < end:
        way = WAYS[len(found) % len(WAYS)]
        with tempfile.TemporaryDirectory(prefix="lepton-soak-") as folder:
            one = storm(Path(folder), seed + len(found), STORM_SECONDS, EVERYTHING, ["kill_driver"], way)
        print(
            f"{one.story}\n  {one.steps} steps, weights {one.weights:.1e}, longest pause {one.longest_pause:.1f} s, "
            f"{len(one.problems)} problems, {one.left} processes left",
            file=sys.stderr,
            flush=True,
        )
        found.append(one)
    return found


def page(found: Sequence[Found], minutes: float, machine: str, day: str) -> str:
    """The page about these storms."""
    faults = sum((one.faults for one in found), Counter[str]())
    rows = [f"| {name} | {count} |" for name, count in sorted(faults.items())]
    problems = [problem for one in found for problem in one.problems]
    return "\n".join(
        [
            "# Reliability: storms of faults",
            "",
            "`make soak` does random things to runs: it kills, stops, fills, moves and damages what it can, and asks for",
            "changes meanwhile. After each storm the run is stopped, its log is audited (`lk.audit`), and its weights are",
            "compared with those of plain Keras after as many steps in one process. `make test` runs a short storm.",
            "",
            f"Measured {day} on {machine}: {len(found)} storms in {minutes:.0f} minutes, {sum(faults.values())} faults, "
            f"{sum(one.steps for one in found)} steps, {sum(one.generations for one in found)} generations.",
            "",
            "| | measured |",
            "|---|---|",
            f"| samples lost or used twice (findings of the audit) | {len(problems)} |",
            f"| largest difference of a weight from plain Keras | {max(one.weights for one in found):.1e} |",
            f"| longest pause of training within one driver's life | {max(one.longest_pause for one in found):.1f} s |",
            f"| processes left behind | {sum(one.left for one in found)} |",
            "",
            "| fault | times |",
            "|---|---|",
            *rows,
            "",
            "A pause is the time from the last step before a change of the workers to the moment when all have the state again;",
            "it holds the time in which a hung worker is not yet known to hang (`hang_seconds`, 4 here), and what the machine",
            "does beside. Not counted is the time until a killed driver is resumed, which is up to the user.",
            "Full disks are simulated by a limit to the size of files, and machines that lose power not at all.",
            *(
                ["", "What the audit found:", "", *(f"- {problem}" for problem in problems)]
                if problems
                else []
            ),
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no storm after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    start = time.monotonic()
    found = weather(options.minutes, options.seed)
    machine = f"{os.cpu_count()} cores ({platform.system()} {platform.machine()}, load {os.getloadavg()[0]:.0f} at the end)"
    text = page(found, (time.monotonic() - start) / 60, machine, date.today().isoformat())
    print(text)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    return int(any(one.problems or one.left for one in found))


if __name__ == "__main__":
    sys.exit(main())
