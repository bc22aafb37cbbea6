"""Keep the table of situations in docs/fit.md true: what the conformance suite checks, with each verdict."""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "fit.md"
BEGIN, END = "<!-- table: written by scripts/conformance_table.py -->", "<!-- end of table -->"


def lines() -> str:
    """The table in Markdown, a heading for each section. Loads Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT))
    from tests.conformance.situations import SECTIONS, SITUATIONS

    counts = {
        verdict: sum(one.verdict == verdict for one in SITUATIONS)
        for verdict in ("exact", "explained", "refused")
    }
    found = [
        f"{len(SITUATIONS)} situations: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}."
    ]
    for title, situations in SECTIONS.items():
        found += ["", f"### {title}", "", "| situation | by | verdict |", "|---|---|---|"]
        found += [f"| {_plain(one.name)} | {_by(one)} | {_verdict(one)} |" for one in situations]
    return "\n".join(found)


def _by(situation) -> str:
    verb = "`lk.fit`" if situation.via == "fit" else "`launch`"
    return verb if situation.workers == 2 else f"{verb}, {situation.workers} workers"


def _verdict(situation) -> str:
    said = f"“{_plain(situation.word)}”" if situation.word else ""
    if situation.verdict == "exact":
        return f"exact; the run says {said}" if said else "exact"
    return f"{situation.verdict}: {'the error' if situation.verdict == 'refused' else 'the run'} says {said}"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")


def replaced(text: str, table: str) -> str:
    """The page with its table replaced. Raises `ValueError` when the markers are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name}: the markers {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    """Check the table, or write it; 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table into docs/fit.md")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    fresh = replaced(text, lines())
    if options.write:
        PAGE.write_text(fresh, encoding="utf-8")
    elif fresh != text:
        print(
            "docs/fit.md: its table is out of date; `python scripts/conformance_table.py --write` renews it",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
