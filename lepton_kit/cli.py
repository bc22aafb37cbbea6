"""The `lepton` command: the verbs of the package from a shell."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from lepton_kit.errors import ConfigError, LeptonError

ANSWER_SECONDS = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed or refused, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.verb(options)
    except LeptonError as failure:
        print(f"lepton: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lepton", description="Data-parallel training runs, from a shell.")
    parser.add_argument(
        "--runs-dir", default="runs", help="folder that holds the runs (default: %(default)s)"
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(
        name: str, action: Any, text: str, *, run: bool = False, reads: bool = False
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(verb=action)
        if run:
            made.add_argument(
                "run", metavar="ID", help="a run's id, the beginning of one, its folder, or latest"
            )
        if reads:
            made.add_argument("--json", action="store_true", help="print JSON")
        return made

    made = verb("run", _run, "Start the run that a configuration file describes, and watch it.", reads=True)
    made.add_argument("config", help="YAML or JSON file")
    made.add_argument("--detach", action="store_true", help="return at once; the run goes on")
    made = verb("runs", _runs, "List the runs.", reads=True)
    made = verb("watch", _watch, "Show the progress of a run until it ends.", run=True, reads=True)
    made.add_argument("--once", action="store_true", help="show the state now and return")
    made = verb("scale", _scale, "Change the number of workers of a run that is under way.", run=True)
    made.add_argument("workers", help="a whole number, or auto")
    made = verb("set", _set, "Change settings of a run that is under way.", run=True)
    made.add_argument("--learning-rate", type=float)
    made.add_argument("--log-seconds", type=float)
    for name, text in (
        ("pause", "Hold a run at its next commit."),
        ("resume", "Go on with a paused, stopped, failed or interrupted run."),
        ("stop", "End a run at its next commit, with a checkpoint."),
    ):
        verb(name, _steer(name), text, run=True)
    made = verb(
        "audit", _audit, "Prove from the log that each sample was used exactly once.", run=True, reads=True
    )
    made.add_argument(
        "--contents", action="store_true", help="hash every sample again, and name those that were changed"
    )
    made = verb("logs", _logs, "Print the log of a run's driver or of one worker.", run=True)
    made.add_argument("--worker", type=int)
    verb("config", _config, "Print the configuration that repeats a run.", run=True)
    verb("schema", _schema, "Print the JSON schema of configuration files.")
    made = verb(
        "compress",
        _compress,
        "Compress a finished run's model and print the report card.",
        run=True,
        reads=True,
    )
    made.add_argument("--sparsity", type=float, help="share of zero weights, in [0, 1)")
    made.add_argument("--structured", type=float, help="share of channels to remove, in [0, 1)")
    made.add_argument("--quantize", nargs="*", help="variants, such as int8 float16 dynamic_int8 int4")
    made.add_argument("--pattern", help="of the zeros: unstructured, 2:4 or block")
    made.add_argument("--keep-float", nargs="*", metavar="LAYER", help="layers that 'mixed' leaves in float")
    made.add_argument(
        "--skip", nargs="*", metavar="LAYER", help="layers that are neither pruned nor trained with rounding"
    )
    made.add_argument("--calibration-size", type=int, help="training samples that show int8 its ranges")
    made.add_argument("--cost", help="what a search makes cheap: latency, size or balanced")
    made.add_argument(
        "--max-accuracy-drop", type=float, help="search for the cheapest model within this bound"
    )
    made.add_argument("--fine-tune-epochs", type=int, help="of whatever is trained, and of the control")
    made.add_argument(
        "--no-control",
        dest="control",
        action="store_false",
        help="don't train the control of a run that pruned or rounded",
    )
    made = verb("export", _export, "Write a run's model, reload each file, compare it.", run=True, reads=True)
    made.add_argument("folder", help="where the files go")
    made.add_argument("--formats", nargs="+", help="of keras, saved_model, litert, onnx")
    made = verb("cache", _cache, "List or clear the decoded data that runs and notebooks share.", reads=True)
    made.add_argument("action", choices=("list", "clear"), nargs="?", default="list")
    made.add_argument("id", nargs="?", help="clear: one of the list, by its id or the beginning of it")
    made.add_argument(
        "--all",
        action="store_true",
        help="clear: also what runs have under names of their own in their folders",
    )
    made = verb(
        "predict",
        _predict,
        "Answer raw input with a run's model, or with an export (a folder or file).",
        run=True,
        reads=True,
    )
    made.add_argument(
        "input", nargs="+", help="a CSV file, images, a folder, arrays (.npy, .npz), or - for lines"
    )
    made.add_argument("--output", help="write all rows to this .csv, .parquet or .jsonl file")
    made.add_argument("--model", choices=("last", "best"), default="last", help="weights of the run")
    made.add_argument("--workers", type=int, help="processes that predict")
    made.add_argument("--batch-size", type=int, default=256)
    made = verb(
        "report",
        _report,
        "Show how well a run answers held-out samples, or write that as HTML.",
        run=True,
        reads=True,
    )
    made.add_argument("--output", help="an .html, .md or .json file, or a folder for all three")
    made = verb("describe", _describe, "Say what data hold, how they are read, and what looks wrong.")
    made.add_argument("path", help="a file, folder or archive")
    made.add_argument(
        "options", nargs="*", metavar="NAME=VALUE", help="options of the source, such as target=price"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    verb("doctor", _doctor, "Say whether this machine can train.", reads=True)
    return parser


def _run(options: argparse.Namespace) -> int:
    from lepton_kit.client.launch import launch_config

    run = launch_config(options.config, options.runs_dir)
    if options.detach:
        print(json.dumps({"id": run.id, "directory": str(run.directory)}) if options.json else run.id)
        return 0
    return _follow(run, options.json, once=False)


def _open(options: argparse.Namespace) -> Any:
    from lepton_kit.client.run import open_run

    return open_run(options.run, options.runs_dir)


def _runs(options: argparse.Namespace) -> int:
    from lepton_kit.client.run import runs

    table = runs(options.runs_dir).table()
    if options.json:
        print(table.to_json(orient="records"))
    else:
        print(
            table.to_string(index=False, na_rep="-")
            if len(table)
            else f"no runs in {Path(options.runs_dir).resolve()}"
        )
    return 0


def _watch(options: argparse.Namespace) -> int:
    return _follow(_open(options), options.json, options.once)


def _follow(run: Any, as_json: bool, once: bool) -> int:
    from lepton_kit.rundir.paths import FINAL_STATES
    from lepton_kit.rundir.view import describe

    live = sys.stdout.isatty() and not as_json
    shown = ""
    if not once and not as_json:
        print(f"{run.id} in {run.directory}")
    while True:
        status = run.status
        ended = status in (*FINAL_STATES, "interrupted")
        line = json.dumps(_state(run, status)) if as_json else describe(run.view())
        if line != shown and (live or ended or once or not as_json):
            print(
                f"\r\033[K{line}" if live else line,
                end="" if live and not (ended or once) else "\n",
                flush=True,
            )
            shown = line
        if ended or once:
            return 1 if status in ("failed", "interrupted") else 0
        time.sleep(0.2 if live else 1.0)


def _state(run: Any, status: str) -> dict[str, Any]:
    view = run.view()
    return {
        "id": run.id,
        "directory": str(run.directory),
        "status": status,
        "cause": run.cause,
        "step": view.step,
        "total_steps": view.total_steps,
        "loss": float(view.loss[-1]) if len(view.loss) else None,
        "epochs": view.epochs,
        "throughput": view.current_throughput,
        "eta_seconds": view.eta_seconds,
        "workers": view.counts(),
        "incidents": [incident["what"] for incident in view.incidents],
    }


def _scale(options: argparse.Namespace) -> int:
    workers = int(options.workers) if options.workers.lstrip("-").isdigit() else options.workers
    run = _open(options)
    answered = len(run.view().requests)
    run.scale(workers)
    return _answer(run, answered)


def _answer(run: Any, answered: int) -> int:
    """Wait a moment for the driver's word: 1 if it refuses, with its cause."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        for request in run.view().requests[answered:]:
            if request["verb"] == "scale":
                if not request["accepted"]:
                    print(f"lepton: refused: {request['cause']}", file=sys.stderr)
                return 0 if request["accepted"] else 1
        time.sleep(0.05)
    return 0  # a driver that is still starting, or busy, hears it later


def _set(options: argparse.Namespace) -> int:
    changes = {"learning_rate": options.learning_rate, "log_seconds": options.log_seconds}
    _open(options).set(**{name: value for name, value in changes.items() if value is not None})
    return 0


def _steer(name: str) -> Any:
    def act(options: argparse.Namespace) -> int:
        getattr(_open(options), name)()
        return 0

    return act


def _audit(options: argparse.Namespace) -> int:
    from lepton_kit.client.audit import audit

    found = audit(_open(options), contents=options.contents)
    if options.json:
        print(
            json.dumps({"exactly_once": found.exactly_once, "steps": found.steps, "problems": found.problems})
        )
    else:
        print(found)
    return 0 if found.exactly_once else 1


def _logs(options: argparse.Namespace) -> int:
    print(_open(options).logs(options.worker), end="")
    return 0


def _config(options: argparse.Namespace) -> int:
    print(_open(options).to_config(), end="")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from lepton_kit.config import json_schema

    print(json_schema())
    return 0


def _compress(options: argparse.Namespace) -> int:
    from lepton_kit.deploy import compress

    names = (
        "sparsity", "structured", "quantize", "pattern", "keep_float", "skip", "calibration_size", "cost",
        "max_accuracy_drop", "fine_tune_epochs", "control",
    )  # fmt: skip
    wanted = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    card = compress(_open(options), tell=lambda text: print(text, file=sys.stderr, flush=True), **wanted)
    print(card.table().reset_index().to_json(orient="records") if options.json else card.to_markdown())
    return 0


def _export(options: argparse.Namespace) -> int:
    from lepton_kit.deploy import export

    found = export(
        _open(options), options.folder, **({"formats": options.formats} if options.formats else {})
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


def _cache(options: argparse.Namespace) -> int:
    from lepton_kit.data import cache

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
    print(f"{len(found)} {'removed from' if cleared else 'in'} {cache.cache_root()}, {total:,.1f} MB{kept}")
    return 0


def _predict(options: argparse.Namespace) -> int:
    from lepton_kit.deploy import answering

    if options.output:
        answering.check_output(options.output)
    raw = answering.read_input(options.input, sys.stdin)
    if answering.is_export(options.run):
        from lepton_kit.deploy import load

        predictor = load(options.run)
    else:
        predictor = _open(options).predictor(options.model)
    table = predictor.predict(raw, workers=options.workers, batch_size=options.batch_size)
    for note in table.attrs["notes"]:
        print(f"lepton: {note}", file=sys.stderr)
    if options.output:
        print(f"lepton: {len(table):,} rows in {answering.write(table, options.output)}", file=sys.stderr)
    elif options.json:
        answering.write_lines(table, sys.stdout)
    else:
        print(table.to_string(max_rows=answering.SHOWN_ROWS, max_cols=answering.SHOWN_COLUMNS))
    return 0


def _report(options: argparse.Namespace) -> int:
    card = _open(options).report()
    if options.output:
        print(card.save(options.output))
    else:
        print(card.facts.to_json() if options.json else card.to_markdown())
    return 0


def _describe(options: argparse.Namespace) -> int:
    from lepton_kit.data import describe
    from lepton_kit.errors import ConfigError

    wanted = {}
    for given in options.options:
        name, equals, value = given.partition("=")
        if not equals:
            raise ConfigError("describe", given=given, rule="NAME=VALUE, such as target=price")
        wanted[name] = _plain(value)
    found = describe(options.path, **wanted)
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)
    return 0 if found.failure is None else 1


def _plain(text: str) -> Any:
    """A value as JSON has it, such as a number or list; all else is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _doctor(options: argparse.Namespace) -> int:
    from lepton_kit.doctor import examine

    report = examine()
    print(report.to_json() if options.json else report.to_text())
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
