"""The `lepton` command: the verbs of the package from a shell."""

from __future__ import annotations

import argparse
import codecs
import difflib
import os
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from io import TextIOWrapper
from typing import Any, NoReturn

import lepton_kit
from lepton_kit.cli import completion, hosts, keeping, planning, results, runs, submitting
from lepton_kit.errors import LeptonError

OPENS = ("run", "submit", "resume", "plan", "compress", "export", "predict", "report")
"""Verbs that load a model, and with it perhaps code."""
RUNS_DIR = "folder that holds the runs (default: $LEPTON_RUNS_DIR, else runs)"
FOREGROUND = "end the run with this command: SIGTERM stops it with a checkpoint, as interrupted"


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed or refused, 2 wrong usage."""
    _print_anything()
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == [completion.ASK]:
        return completion.answer(_parser(), given[1:])
    options = _parser().parse_args(given)
    try:
        return int(options.verb(options))
    except LeptonError as failure:
        print(f"lepton: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _leave_output()
        return 1
    except OSError as failure:  # a folder that is read-only or not there, a full disk, also behind `> file`
        where = f"{failure.filename}: " if failure.filename else ""
        print(f"lepton: {where}{failure.strerror or failure}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _leave_output()
        return 1


def _leave_output() -> None:
    """Let what could not be written go, so that the end of Python does not try again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _print_anything() -> None:
    """Let a terminal or a file whose encoding lacks a sign have it in ASCII (``\\u2248``) instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and (
            stream.errors == "strict" or codecs.lookup(stream.encoding).name != "utf-8"
        ):
            stream.reconfigure(errors="backslashreplace")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that says what a misspelt verb, choice or option was perhaps meant to be."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, with a suggestion, and exit with code 2."""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            known = re.findall(r"[\w-]+", wrong[2])
            message = f"{wrong[1]}: not one of {', '.join(known)}{did_you_mean(wrong[1], known)}"
        super().error(message)

    def parse_args(self, arguments: Any = None, namespace: Any = None) -> Any:
        """Like `ArgumentParser.parse_args`; an unknown option is told by the verb that it was given to."""
        found, unknown = self.parse_known_args(arguments, namespace)
        if unknown:
            parser: Parser = getattr(found, "parser", self)
            options = [name for action in parser._actions for name in action.option_strings]
            meant = did_you_mean(unknown[0].partition("=")[0], options)
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """A question with the nearest of the known words, or nothing.

    >>> did_you_mean("wacth", ["watch", "runs"]), did_you_mean("xyz", ["watch"])
    ('; did you mean watch?', '')
    """
    near = difflib.get_close_matches(given, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def versions() -> str:
    """The versions that a report of a fault should name."""
    found = {"Python": sys.version.split()[0]}
    for name, package in (("TensorFlow", "tensorflow"), ("Keras", "keras"), ("Horovod", "horovod")):
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return (
        f"lepton_kit {lepton_kit.__version__} ({', '.join(f'{name} {one}' for name, one in found.items())})"
    )


def _parser() -> Parser:
    parser = Parser(
        prog="lepton",
        description="Data-parallel training runs, from a shell.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=versions())
    parser.add_argument("--runs-dir", help=RUNS_DIR)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=Parser)

    def verb(name: str, action: Any, text: str, *, run: bool = False, reads: bool = False) -> Parser:
        made: Parser = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(verb=action, parser=made)
        made.add_argument(
            "--runs-dir", default=argparse.SUPPRESS, help=RUNS_DIR
        )  # before the verb, or after it
        if run:
            made.add_argument(
                "run", metavar="ID", help="a run's id, the beginning of one, its folder, or latest"
            )
        if name in OPENS:
            made.add_argument(
                "--trust",
                action="store_true",
                help="load the model's own code (.pkl) though it comes from elsewhere",
            )
        if reads:
            made.add_argument("--json", action="store_true", help="print JSON")
        return made

    made = verb(
        "run", runs.run, "Start the run that a configuration file describes, and watch it.", reads=True
    )
    made.add_argument("config", help="YAML or JSON file")
    made.add_argument("--detach", action="store_true", help="return at once; the run goes on")
    made.add_argument("--foreground", action="store_true", help=FOREGROUND)
    made.add_argument("--hosts", help="train there: gpu-box:4,lab-3:2 (name:slots), a hosts.yaml, or slurm")
    made.add_argument(
        "--spark", metavar="MASTER", help="workers are tasks there: spark://head:7077, yarn, k8s://…"
    )
    keeping.add_verbs(verb)
    submitting.add_verbs(verb)
    planning.add_verb(verb)
    made = verb("watch", runs.watch, "Show the progress of a run until it ends.", run=True, reads=True)
    made.add_argument("--once", action="store_true", help="show the state now and return")
    made = verb("scale", runs.scale, "Change the number of workers of a run that is under way.", run=True)
    made.add_argument("workers", help="a whole number, or auto")
    made = verb("set", runs.set, "Change settings of a run that is under way.", run=True)
    made.add_argument("--learning-rate", type=float)
    made.add_argument("--log-seconds", type=float)
    made = verb(
        "workers",
        runs.workers,
        "Show each worker: its speed, where its time goes, what hinders it.",
        run=True,
        reads=True,
    )
    made = verb("energy", runs.energy, "Print what a run took, and what that costs.", run=True, reads=True)
    made.add_argument("--prices", metavar="FILE", help="YAML file of prices (default: the shipped one)")
    made.add_argument("--instance", metavar="NAME", help="by the hours of this cloud instance of the file")
    made.add_argument("--grams-per-kwh", type=float, metavar="G", help="CO2 of your electricity")
    made = verb("trace", runs.trace, "Write where the time of each rank went, for Perfetto.", run=True)
    made.add_argument("file", nargs="?", default="trace.json", help="trace.json without one")
    made.add_argument("--steps", type=int, default=1000, help="of the last so many steps")
    text = "Watch a run until it ends; run a command on a straggler, a stall, a NaN loss or a full disk."
    made = verb("alert", runs.alert, text, run=True)
    made.add_argument(
        "command", help="of the shell; LEPTON_RUN, LEPTON_ALERT and LEPTON_TEXT say what there is"
    )
    made.add_argument("--stall-seconds", type=float, default=120.0, help="no step for so long is a stall")
    made = verb("slow", runs.slow, "Make a worker slow for real, for a lesson or a test.", run=True)
    made.add_argument("rank", type=int, help="the rank that the worker has now")
    made.add_argument("--factor", type=float, help="compute so many times as long, 1 to 20; 1 undoes it")
    made.add_argument(
        "--data-seconds", type=float, help="wait so long for the samples of each step, 0 to 5; 0 undoes it"
    )
    for name, text in (
        ("pause", "Hold a run at its next commit; one that waits in line is held back there."),
        ("stop", "End a run at its next commit, with a checkpoint."),
    ):
        verb(name, runs.steer(name), text, run=True)
    text = "Go on with a paused, stopped, failed or interrupted run."
    made = verb("resume", runs.resume, text, run=True, reads=True)
    made.add_argument(
        "--hosts",
        metavar="HOSTS",
        help="go on there: gpu-box:4,lab-3:2, a hosts.yaml, or slurm; none: on this machine alone",
    )
    made.add_argument(
        "--workers", type=runs.workers_of, metavar="N", help="how many train; without: as before"
    )
    made.add_argument("--foreground", action="store_true", help=FOREGROUND)
    made = verb(
        "audit",
        runs.audit,
        "Prove from the log that each sample was used exactly once.",
        run=True,
        reads=True,
    )
    made.add_argument(
        "--contents", action="store_true", help="hash every sample again, and name those that were changed"
    )
    made = verb("logs", runs.logs, "Print the log of a run's driver or of one worker.", run=True)
    made.add_argument("--worker", type=int)
    verb("config", runs.config, "Print the configuration that repeats a run.", run=True)
    verb("schema", runs.schema, "Print the JSON schema of configuration files.")
    made = verb(
        "compress",
        results.compress,
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
    made.add_argument("--metric", help="of the score: auto, or dice for maps of classes")
    made.add_argument("--cost", help="what a search makes cheap: latency, size or balanced")
    made.add_argument(
        "--max-accuracy-drop", type=float, help="search for the cheapest model within this bound"
    )
    made.add_argument(
        "--max-drop",
        help="the same as 0.01, 2%% (of the float model's value), or auc=0.01 for a metric of the model",
    )
    made.add_argument(
        "--target",
        help="search for the best score that meets it, such as 'latency <= 0.02 ms' or 'size <= 50 kB'",
    )
    made.add_argument("--fine-tune-epochs", type=int, help="of whatever is trained, and of the control")
    made.add_argument(
        "--no-control",
        dest="control",
        action="store_false",
        help="don't train the control of a run that pruned or rounded",
    )
    made = verb(
        "export", results.export, "Write a run's model, reload each file, compare it.", run=True, reads=True
    )
    made.add_argument("folder", help="where the files go")
    made.add_argument("--formats", nargs="+", help="of keras, saved_model, litert, onnx")
    made = verb(
        "cache", results.cache, "List or clear the decoded data that runs and notebooks share.", reads=True
    )
    made.add_argument("action", choices=("list", "clear"), nargs="?", default="list")
    made.add_argument("id", nargs="?", help="clear: one of the list, by its id or the beginning of it")
    made.add_argument(
        "--all",
        action="store_true",
        help="clear: also what runs have under names of their own in their folders",
    )
    made = verb(
        "predict",
        results.predict,
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
    made.add_argument("--hosts", help="predict there: gpu-box:4,lab-3:2 (name:slots), or a hosts.yaml")
    made.add_argument("--batch-size", type=int, default=256)
    made.add_argument("--top", type=int, help="the likeliest classes, so many, instead of all probabilities")
    made = verb(
        "report",
        results.report,
        "Show how well a run answers held-out samples, or write that as HTML.",
        run=True,
        reads=True,
    )
    made.add_argument("--output", help="an .html, .md or .json file, or a folder for all three")
    made = verb("describe", results.describe, "Say what data hold, how they are read, and what looks wrong.")
    made.add_argument("path", help="a file, folder or archive")
    made.add_argument(
        "options", nargs="*", metavar="NAME=VALUE", help="options of the source, such as target=price"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    made = verb(
        "completion", completion.script, "Print the script that completes words of this command in a shell."
    )
    made.add_argument("shell", choices=tuple(completion.SCRIPTS))
    made = verb("spark-archive", runs.spark_archive, "Pack this environment for Spark's executors.")
    made.add_argument("file", nargs="?", default="lepton_kit.tar.gz", help="lepton_kit.tar.gz without one")
    hosts.add_verb(verb)
    made = verb("devices", results.devices, "Show what there is to train on, and who has it.", reads=True)
    made.add_argument("--hosts", help="list these too: gpu-box:4,lab-3:2, a hosts.yaml, or slurm")
    verb("pool", runs.pool, "Show who has what of this machine, and who waits in line.", reads=True)
    made = verb("doctor", results.doctor, "Say whether this machine, or hosts, can train.", reads=True)
    made.add_argument("--hosts", help="look at these instead: gpu-box:4,lab-3:2, a hosts.yaml, or slurm")
    made.add_argument(
        "--data", metavar="CONFIG", help="with --hosts: whether the data of this run's file are there"
    )
    return parser
