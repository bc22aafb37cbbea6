"""The verbs that keep order among runs: list, rename, tag, note, remove, restore."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.errors import ConfigError, LeptonError, RunError, writing

if TYPE_CHECKING:
    import pandas as pd

    from lepton_kit.client.run import Run
    from lepton_kit.client.table import Runs

IN_A_TERMINAL = ("id", "name", "status", "workers", "step", "total_steps", "loss")


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Tell the parser of these verbs; ``verb(name, action, text, run=, reads=)`` makes one."""
    made = verb("runs", runs, "List the runs, all or those that fit.", reads=True)
    made.add_argument(
        "query",
        nargs="*",
        help="words, and conditions on columns such as 'loss<0.2' tag=baseline 'time>2min'",
    )
    made.add_argument("--sort", metavar="COLUMN", help="such as loss, or --sort=-val_accuracy for downwards")
    made.add_argument(
        "--csv", nargs="?", const="-", metavar="FILE", help="write CSV, to a file if it is named"
    )
    made.add_argument("--ids", action="store_true", help="print ids alone, one a line, for other commands")
    made.add_argument("--trash", action="store_true", help="list the deleted runs instead")
    made = verb("rename", rename, "Call a run something else; its id stays.", run=True)
    made.add_argument("name", nargs="?", help="the name; none gives it back its first one")
    made = verb("tag", tag, "Add tags to a run, or take them away; print those it has.", run=True)
    made.add_argument("tags", nargs="*", metavar="TAG")
    made.add_argument("--remove", nargs="+", default=[], metavar="TAG", help="tags to take away")
    made = verb("note", note, "Write a note on a run, or print it.", run=True)
    made.add_argument("text", nargs="?", help="the note; '' takes it away")
    made = verb(
        "compare", compare, "Put runs beside each other: last figures, options that differ.", reads=True
    )
    made.add_argument("runs", nargs="+", metavar="ID", help="two runs or more, as for other verbs")
    made.add_argument("--output", metavar="FILE", help="write a page with curves (.html) or the tables (.md)")
    made.add_argument("--smoothing", type=float, default=0.0, help="of the curves, from 0 to below 1")
    made.add_argument("--x", default="step", help="step, epoch or seconds")
    made.add_argument("--log-x", action="store_true")
    made.add_argument("--log-y", action="store_true")
    made = verb("rm", remove, "Move runs into the trash, or remove them for good.")
    made.add_argument("runs", nargs="+", metavar="ID", help="as for other verbs")
    made.add_argument("--forever", action="store_true", help="remove the files; nothing brings them back")
    made.add_argument("--yes", action="store_true", help="do not ask")
    made = verb("restore", restore, "Bring runs back from the trash.")
    made.add_argument("runs", nargs="*", metavar="ID", help="default: the run that was deleted last")
    made = verb("trash", trash, "List the deleted runs, or remove them for good.", reads=True)
    made.add_argument("action", choices=("list", "clear"), nargs="?", default="list")
    made.add_argument("--yes", action="store_true", help="clear: do not ask")


def runs(options: argparse.Namespace) -> int:
    """List the runs."""
    from lepton_kit import runs

    found = runs(options.runs_dir, trash=options.trash)
    if options.query:
        found = found.find(" ".join(options.query))
    if options.sort:
        found = found.sort_by(options.sort)
    if options.ids:
        print("".join(f"{run.id}\n" for run in found), end="")
    elif options.csv is not None:
        _write_csv(found.table(), options.csv)
    elif options.json:
        print(found.table().to_json(orient="records"))
    else:
        fitting = f" that fit {' '.join(options.query)!r}" if options.query else ""
        print(_text(found) if found else f"no runs{fitting} in {found.folder}")
    return 0


def _text(found: Runs) -> str:
    """The table as a terminal shows it: without columns that say nothing."""
    from lepton_kit.client.in_text import in_text

    table = found.table()
    if all(str(one).startswith(str(name)) for one, name in zip(table["id"], table["name"], strict=True)):
        table = table.drop(columns="name")
    said = [name for name in table if name in IN_A_TERMINAL or table[name].replace("", None).notna().any()]
    return in_text(table[[name for name in said if name != "note"]], index=False, max_colwidth=60)


def _write_csv(table: pd.DataFrame, place: str) -> None:
    if place == "-":
        print(table.to_csv(index=False), end="")
        return
    with writing("--csv", Path(place)):
        table.to_csv(place, index=False)
    print(f"lepton: {len(table)} runs in {place}", file=sys.stderr)


def rename(options: argparse.Namespace) -> int:
    """Give a run another name."""
    (run,) = _named([options.run], options.runs_dir)
    run.name = options.name
    print(f"{run.id} is called {run.name}")
    return 0


def tag(options: argparse.Namespace) -> int:
    """Change or print tags."""
    (run,) = _named([options.run], options.runs_dir)
    missing = [tag for tag in options.remove if tag not in run.tags]
    if missing:
        raise ConfigError(
            "--remove", given=missing[0], rule=f"one of its tags: {', '.join(run.tags) or 'none'}"
        )
    if options.tags or options.remove:
        run.tags = [tag for tag in (*run.tags, *options.tags) if tag not in options.remove]
    print("\n".join(run.tags))
    return 0


def note(options: argparse.Namespace) -> int:
    """Change or print the note."""
    (run,) = _named([options.run], options.runs_dir)
    if options.text is not None:
        run.note = options.text
    print(run.note)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare runs."""
    from lepton_kit import compare

    found = compare(*options.runs, runs_dir=options.runs_dir)
    if options.output:
        drawn = {
            "x": options.x,
            "smoothing": options.smoothing,
            "log_x": options.log_x,
            "log_y": options.log_y,
        }
        print(found.save(options.output, **drawn))
    else:
        print(
            json.dumps(found.to_dict()) if options.json else found.to_markdown(),
            end="\n" if options.json else "",
        )
    return 0


def remove(options: argparse.Namespace) -> int:
    """Delete runs; all that are named are found before the first one goes."""
    chosen = _named(options.runs, options.runs_dir, also_in_trash=options.forever)
    if options.forever:
        _ask(f"remove {_many(chosen)} for good", options.yes)
    failures = []
    for run in chosen:
        try:
            run.delete(forever=options.forever)
        except LeptonError as failure:
            failures.append(str(failure))
            print(f"lepton: {failure}", file=sys.stderr)
        else:
            print(f"{run.id} is {'removed' if options.forever else 'in the trash'}")
    if not options.forever and len(failures) < len(chosen):
        print("lepton: `lepton restore` brings the last one back", file=sys.stderr)
    return 1 if failures else 0


def restore(options: argparse.Namespace) -> int:
    """Bring runs back."""
    from lepton_kit import runs

    buried = runs(options.runs_dir, trash=True)
    if not buried:
        raise RunError(f"the trash of {buried.folder.parent if buried.folder else options.runs_dir} is empty")
    chosen = _named(options.runs, buried.folder) if options.runs else [buried[-1]]
    for run in chosen:
        print(f"{run.restore().id} is back in {run.directory.parent}")
    return 0


def trash(options: argparse.Namespace) -> int:
    """List or empty the trash."""
    from lepton_kit import runs
    from lepton_kit.client.in_text import in_text
    from lepton_kit.rundir.trash import disk_bytes

    found = runs(options.runs_dir, trash=True)
    if options.action == "list":
        table = found.table()
        table["megabytes"] = [round(disk_bytes(run.paths) / 1e6, 1) for run in found]
        if options.json:
            print(table.to_json(orient="records"))
        else:
            shown = in_text(table[["id", "status", "began", "megabytes"]], index=False)
            print(shown if found else f"nothing in {found.folder}")
        return 0
    if found:
        _ask(f"remove {_many(found)} for good", options.yes)
    for run in found:
        run.delete(forever=True)
    print(f"{_many(found)} removed from {found.folder}")
    return 0


def _named(names: list[str], runs_dir: str | Path | None, also_in_trash: bool = False) -> list[Run]:
    """The runs that are named, each once; also such whose configuration can't be read."""
    from lepton_kit.client.run import Run
    from lepton_kit.rundir import find_run
    from lepton_kit.rundir.paths import TRASH, runs_folder

    found = {}
    for name in names:
        try:
            paths = find_run(name, runs_dir)
        except RunError:
            if not also_in_trash:
                raise
            paths = find_run(name, runs_folder(runs_dir) / TRASH)
        found[paths.root] = Run(paths)
    return list(found.values())


def _many(found: Any) -> str:
    return f"{len(found)} run{'' if len(found) == 1 else 's'}"


def _ask(what: str, yes: bool) -> None:
    """Ask whether that is meant; without a terminal only ``--yes`` says so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes", given="nothing", rule=f"--yes, to {what} where nobody can be asked")
    if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise RunError("nothing was removed")
