"""The verbs for what runs have become, for data and for the machine."""

from __future__ import annotations

import argparse
import ast
import json
import sys
import time
from typing import Any

from lepton_kit.cli import runs
from lepton_kit.errors import ConfigError


def compress(options: argparse.Namespace) -> int:
    """Compress a run's model."""
    from lepton_kit.deploy import compress

    names = (
        "sparsity", "structured", "quantize", "pattern", "keep_float", "skip", "calibration_size", "cost",
        "metric", "max_accuracy_drop", "max_drop", "target", "fine_tune_epochs", "control",
    )  # fmt: skip
    wanted = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    card = compress(
        runs.open_run_of(options), tell=lambda text: print(text, file=sys.stderr, flush=True), **wanted
    )
    print(card.table().reset_index().to_json(orient="records") if options.json else card.to_markdown())
    return 0


def export(options: argparse.Namespace) -> int:
    """Export a run's model."""
    from lepton_kit.deploy import export

    found = export(
        runs.open_run_of(options), options.folder, **({"formats": options.formats} if options.formats else {})
    )
    if options.json:
        print(
            json.dumps(
                {name: {"path": str(one.path), "difference": one.difference} for name, one in found.items()}
            )
        )
    else:
        for name, one in found.items():
            print(
                f"{name:12} {one.path}  differs by at most {one.difference:.1e} (measured on {one.samples} samples)"
            )
    return 0


def cache(options: argparse.Namespace) -> int:
    """List or clear decoded data."""
    from lepton_kit.data import cache
    from lepton_kit.data.files import cache_root

    if options.action == "list" and (options.id or options.all):
        raise ConfigError("cache list", given=options.id or "--all", rule="nothing more; clear takes these")
    if options.action == "clear" and options.id and options.all:
        raise ConfigError("cache clear", given=f"{options.id} --all", rule="an id or --all, not both")
    cleared = options.action == "clear"
    found = cache.clear(options.id, everything=options.all) if cleared else cache.entries()
    if options.json:
        print(json.dumps([entry.to_dict() for entry in found]))
        return 0
    for entry in found:
        runs = ", ".join(run.name for run in entry.runs) or "no run"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
        print(
            f"{entry.key:39} {entry.size_bytes / 1e6:10,.1f} MB  {used}  {entry.kind} {entry.source}  ({runs})"
        )
    total = sum(entry.size_bytes for entry in found) / 1e6
    kept = f"; {len(cache.entries())} are kept" if cleared else ""
    print(f"{len(found)} {'removed from' if cleared else 'in'} {cache_root()}, {total:,.1f} MB{kept}")
    return 0


def predict(options: argparse.Namespace) -> int:
    """Answer raw input."""
    from lepton_kit.deploy import answering

    if options.output:
        answering.check_output(options.output)
    raw = answering.read_input(options.input, sys.stdin)
    if answering.is_export(options.run):
        from lepton_kit.deploy import load

        predictor = load(options.run, trust=options.trust)
    else:
        predictor = runs.open_run_of(options).predictor(options.model)
    table = predictor.predict(
        raw, workers=options.workers, hosts=options.hosts, batch_size=options.batch_size, top=options.top
    )
    for note in table.attrs["notes"]:
        print(f"lepton: {note}", file=sys.stderr)
    column = answering.name_column(table)
    if column != answering.NAME and (options.output or options.json):
        print(
            f"lepton: {answering.NAME!r} is the target, so the inputs' names stand in {column!r}",
            file=sys.stderr,
        )
    if options.output:
        print(f"lepton: {len(table):,} rows in {answering.write(table, options.output)}", file=sys.stderr)
    elif options.json:
        answering.write_lines(table, sys.stdout)
    else:
        print(table.to_string(max_rows=answering.SHOWN_ROWS, max_cols=answering.SHOWN_COLUMNS))
    return 0


def report(options: argparse.Namespace) -> int:
    """Show how well a run answers."""
    if options.output:
        from lepton_kit.deploy.modelcard.card import check_place

        check_place(options.output)
    card = runs.open_run_of(options).report()
    if options.output:
        print(card.save(options.output))
    else:
        print(card.facts.to_json() if options.json else card.to_markdown())
    return 0


def describe(options: argparse.Namespace) -> int:
    """Describe data."""
    from lepton_kit.data import describe

    wanted = {}
    for given in options.options:
        name, equals, value = given.partition("=")
        if not equals:
            raise ConfigError("describe", given=given, rule="NAME=VALUE, such as target=price")
        wanted[name] = plain(value)
    found = describe(options.path, **wanted)
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)
    return 0 if found.failure is None else 1


def plain(text: str) -> Any:
    """A value as JSON or Python spells it, such as a number, a list or False; all else is a text.

    >>> plain("[1, 2]"), plain("False"), plain("{'price': '.'}"), plain("price")
    ([1, 2], False, {'price': '.'}, 'price')
    """
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def devices(options: argparse.Namespace) -> int:
    """Show what there is to train on."""
    from lepton_kit.client.devices import devices

    found = devices(options.hosts)
    print(json.dumps(found.to_dict()) if options.json else found)
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Examine this machine, or hosts."""
    if options.hosts is not None:
        from lepton_kit.client.cluster import Cluster

        checked = Cluster(options.hosts).check(options.data)
        print(json.dumps(checked.to_dict()) if options.json else checked)
        return 1 if checked.problems else 0
    from lepton_kit.doctor import examine

    report = examine()
    print(report.to_json() if options.json else report.to_text())
    return 0 if report.ok else 1
