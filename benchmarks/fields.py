"""Execute the domain notebooks with several seeds and print each held-out figure: mean and spread beside its baseline.

    python benchmarks/fields.py [--only driving_lidar,finance_risk] [--seeds 5] [--write]

Every notebook of `notebooks/domains/` runs whole, on the CPU, once for each seed from 0: ``SEED = 0`` in its cell tagged
``parameters`` becomes the seed. Runs and exports go to a temporary folder. The dictionaries ``figures`` and ``baseline``
are read from the kernel at the end. ``--write`` renews the rows of these notebooks in `docs/fields.md`
after each seed; those of others stay. A minute or so for each notebook and seed on two quiet cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import lepton_kit as lk

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks" / "domains"
PAGE = ROOT / "docs" / "fields.md"
CELL_SECONDS = 1800
END_SECONDS = 60
MARK = "figures of this run: "
ASK = f"import json as _json; print({MARK!r} + _json.dumps([figures, baseline], default=float))"
HEAD = """\
# Figures of the fields

Each notebook in [notebooks/domains](../notebooks/domains) trains a small model on the sample data of one field and tells a
figure on held-out samples that no choice saw. One run may be lucky, so here is each figure over several seeds: weights at
the start and the order of samples change with the seed, the held-out samples do not. The baselines are those of the
`NOTES.md` beside the data, or a rule that the notebook names, such as always the more frequent class; where none is known the
cell is empty.

`python benchmarks/fields.py --write` (`--only NAME` for one notebook); the standard deviation is that of the seeds (n - 1).

| notebook | figure | baseline | mean | standard deviation | lowest | highest | seeds |
|---|---|---:|---:|---:|---:|---:|---:|
"""
ROW = re.compile(r"^\| \[(\w+)\]\(.*\) \|.*\|$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What one execution gave: held-out figures, and the baseline of those that have one."""

    figures: Mapping[str, float]
    baseline: Mapping[str, float]


def seeded(notebook: Any, seed: int) -> Any:
    """The notebook with ``SEED = seed``, without outputs, and with a cell at the end that prints its figures.

    Raises `ValueError` where not exactly one cell is tagged ``parameters``, or where that has no line ``SEED = 0``.
    """
    changed = nbformat.from_dict(json.loads(json.dumps(notebook)))
    tagged = [cell for cell in changed.cells if "parameters" in cell.metadata.get("tags", ())]
    if len(tagged) != 1:
        raise ValueError(f"{len(tagged)} cells are tagged parameters; expected one")
    tagged[0].source, count = re.subn(r"^SEED = 0\b", f"SEED = {seed}", tagged[0].source, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"the cell tagged parameters has {count} lines SEED = 0; expected one")
    for cell in changed.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    changed.cells.append(nbformat.v4.new_code_cell(ASK))
    return changed


def outcome(outputs: Sequence[Any]) -> Outcome:
    """The figures that the last cell printed. Raises `ValueError` for what is no number, or a baseline of nothing."""
    text = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
    line = next((line for line in text.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise ValueError("the last cell printed no figures")
    figures, baseline = json.loads(line.removeprefix(MARK))
    for name, value in {**figures, **baseline}.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name}: got {value!r}; expected a finite number")
    unknown = sorted(set(baseline) - set(figures))
    if unknown or not figures:
        raise ValueError(f"baseline of {', '.join(unknown) or 'nothing'}; figures: {', '.join(figures)}")
    return Outcome(figures, baseline)


def execute(path: Path, seed: int) -> Outcome:
    """Run one notebook with one seed, in a temporary copy of its place in the project."""
    with tempfile.TemporaryDirectory(prefix="lepton-fields-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "notebooks" / "domains"
        home.mkdir(parents=True)
        (Path(folder) / "data_samples").symlink_to(ROOT / "data_samples")  # ../../data_samples is there too
        notebook = seeded(nbformat.read(path, as_version=4), seed)
        paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        }
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            resources={"metadata": {"path": str(home)}},
            record_timing=False,
            store_widget_state=False,
        )
        try:
            client.execute(env=environment)
        finally:
            _end_runs(home / "runs")
        return outcome(notebook.cells[-1].outputs)


def _end_runs(folder: Path) -> None:
    """End what a notebook that failed or was interrupted left training; runs outlive their kernel."""
    for run in lk.runs(folder):
        if run.alive:
            with contextlib.suppress(lk.errors.LeptonError, TimeoutError):
                run.stop().wait(END_SECONDS)


def lines(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """The rows of a notebook in the table: one a figure. Raises `ValueError` where seeds differ in what they tell."""
    names = list(outcomes[0].figures)
    if any(list(one.figures) != names or one.baseline != outcomes[0].baseline for one in outcomes):
        raise ValueError(f"{name}: its figures or baselines have other names or values with another seed")
    found = []
    for figure in names:
        values = [float(one.figures[figure]) for one in outcomes]
        spread = shown(statistics.stdev(values)) if len(values) > 1 else ""
        base = outcomes[0].baseline.get(figure)
        cells = [
            f"[{name}](../notebooks/domains/{name}.ipynb)",
            figure.replace("|", "/"),
            "" if base is None else shown(base),
            f"{shown(statistics.fmean(values))}",
            spread,
            shown(min(values)),
            shown(max(values)),
            str(len(values)),
        ]
        found.append(f"| {' | '.join(cells)} |")
    return found


def shown(value: float) -> str:
    """A figure as the table has it: three places, or four digits where it is large."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1e5 else f"{value:.4g}"


def page(old: str, fresh: Mapping[str, Sequence[str]]) -> str:
    """The page with the rows of the notebooks that ran; rows of others stay. Notebooks stand in order of their names."""
    rows: dict[str, list[str]] = {}
    for match in ROW.finditer(old):
        rows.setdefault(match[1], []).append(match[0])
    rows |= {name: list(found) for name, found in fresh.items()}
    return HEAD + "".join(f"{line}\n" for name in sorted(rows) for line in rows[name])


def chosen(only: str | None, folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks that are meant, in order. Raises `ValueError` for a name that is not there."""
    there = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    names = list(there) if only is None else [name.strip() for name in only.split(",")]
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        raise ValueError(f"--only: no notebook {', '.join(unknown) or folder}; there are {', '.join(there)}")
    return [there[name] for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="NAME[,NAME]", help="some notebooks (default: all)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="0 to N - 1 (default 5)")
    parser.add_argument("--write", action="store_true", help="renew the rows of docs/fields.md")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds: got {options.seeds}; expected at least 1")
    try:
        paths = chosen(options.only)
    except ValueError as failure:
        parser.error(str(failure))
    failed = []
    for path in paths:
        outcomes: list[Outcome] = []
        try:
            for seed in range(options.seeds):
                began = time.monotonic()
                outcomes.append(execute(path, seed))
                told = ", ".join(f"{name} {shown(value)}" for name, value in outcomes[-1].figures.items())
                print(f"{path.stem}, seed {seed}, {time.monotonic() - began:.0f} s: {told}", flush=True)
                found = lines(path.stem, outcomes)
                if options.write:  # after each seed, so that what was measured survives an interruption
                    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
                    PAGE.write_text(page(old, {path.stem: found}), encoding="utf-8")
            print("\n".join(["", *HEAD.splitlines()[-2:], *found, ""]), flush=True)
        except (CellExecutionError, ValueError) as failure:
            failed.append(path.stem)
            print(f"{path.stem}, seed {len(outcomes)}: {failure}", file=sys.stderr, flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}; their rows hold the seeds before that, if any", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
