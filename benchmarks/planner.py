"""How well `lk.plan` predicts: fitted on 1 and 2 workers, held against what 3 and 4 workers, other batches and two hosts measure.

    python benchmarks/planner.py [--short] [--kinds mlp cnn …] [--seconds 1.0] [--no-hosts] [--allreduce horovod] [--keep FILE]
    python benchmarks/planner.py --again FILE
    python benchmarks/planner.py --simulate FILE.svg [--kinds cnn]

Five kinds of models, one thread a worker. Measured for the fit: 1 and 2 workers at global batches 128 and 32, and a sum
between two agents on this machine. Predicted, then measured: 3 and 4 workers at both batches, 2 and 3 at batch 80, and 3 and
4 workers on two hosts (network namespaces on this machine, so they share its cores) over two links at batch 128. All runs of
a kind take turns, paused while another trains, and in each turn every number of workers is visited, down and up by turns: a
machine whose speed drifts within minutes does so for what is fitted as for what is predicted, and it is the law that is
judged. Steps are medians over the reports of all turns. Hosts need root, iproute2 and openssh-server. ``--short`` takes two kinds and one link.
``--allreduce horovod`` has all workers in one flat ring, those of a host too. ``--keep`` adds all that was measured to a file, a line for each
kind, and ``--again`` predicts from such a file what it holds, without measuring. ``--simulate`` draws throughput and efficiency of one kind for
1 to 4,096 workers on hosts like this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from kinds import KINDS, keras_model, samples
from slow_link import DEVICE, SlowLink

ROOT = Path(__file__).resolve().parents[1]
FIVE = ("mlp", "cnn", "lstm", "attention", "waves")
BATCHES, OTHER = (128, 32), 80
LINKS = ("1gbit/0.5", "100mbit/5")
FITTED, PREDICTED = (1, 2), (3, 4)
ACROSS = 4
TURNS = 4
PATIENT = 600.0
"""Seconds after which a silent worker counts as hung: runs are paused while others have their turns."""
LARGE, SMALL = 32_000, 9_000
"""Bytes of a packet: at 1 Gbit/s large, for the relay's sake; on slower links small, so that few bytes pass at once unshaped."""


@dataclass(frozen=True)
class Case:
    """A prediction beside what was measured then, in seconds a step."""

    kind: str
    what: str
    predicted: float
    low: float
    high: float
    measured: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1.0

    @property
    def held(self) -> bool:
        return self.low <= self.measured <= self.high

    def line(self) -> str:
        step = f"{1e3 * self.predicted:.2f} ({1e3 * self.low:.2f} to {1e3 * self.high:.2f})"
        held = "yes" if self.held else "no"
        return (
            f"| {self.kind} | {self.what} | {step} | {1e3 * self.measured:.2f} | {self.error:+.1%} | {held} |"
        )


def starter(kind: str, allreduce: str) -> Any:
    """Starts short runs of a kind of model that sum in this way."""
    import keras

    import lepton_kit as lk

    model = keras_model(kind)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = lk.data.arrays(*samples(kind), validation_split=0)

    def start(folder: Path, options: Any) -> Any:
        return lk.launch(model, data, runs_dir=folder, allreduce=allreduce, **options)

    return start


@contextmanager
def two_hosts(stack: ExitStack) -> Iterator[tuple[Any, SlowLink] | None]:
    """A lab of two hosts and the link between them."""
    from tests.hosts.lab import lab

    folder = Path(stack.enter_context(_folder()))
    hosts = stack.enter_context(lab(folder, "one", "two"))
    os.environ["LEPTON_SSH_COMMAND"] = hosts.ssh_command
    link = SlowLink([host.namespace for host in hosts.hosts.values()], "1gbit", 0.5)
    stack.callback(link.close)
    yield hosts, link


def _folder() -> Any:
    import tempfile

    return tempfile.TemporaryDirectory(prefix="lepton-bench-")


class Sampled:
    """A run that is visited in turns with these numbers of workers, over each link where it has any, and paused between."""

    def __init__(
        self, stack: ExitStack, start: Any, options: dict[str, Any], shaped: SlowLink | None = None,
        links: Sequence[str | None] = (None,),
    ):  # fmt: skip
        from lepton_kit.client.plans.runs import started

        self._counts, self._shaped, self._links = sorted(options["expects"], reverse=True), shaped, links
        self._run = stack.enter_context(started(start, options | {"hang_seconds": PATIENT}))
        self._slices: dict[str | None, list[tuple[int, int]]] = {link: [] for link in links}
        self._settle()

    def _settle(self) -> None:
        """Pause once it trains: all that a start takes is over before a turn."""
        from lepton_kit.client.plans.runs import visit

        visit(self._run, self._counts[:1], 0.0)
        self._hold()

    def _hold(self) -> None:
        self._run.pause()
        self._until(lambda: self._run.status == "paused")

    def _until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENT
        while not reached():
            if not self._run.alive or time.monotonic() > deadline:
                raise SystemExit(f"{self._run.id}: {self._run.status}: {self._run.cause}")
            time.sleep(0.05)

    def turn(self, seconds: float) -> None:
        """Visit all numbers of workers, the other way round than the time before."""
        from lepton_kit.client.plans.runs import visit
        from lepton_kit.planning.scaling import Link

        for link in self._links:
            if link is not None and self._shaped is not None:
                rate, milliseconds = link.split("/")
                self._shaped.reshape(
                    rate, float(milliseconds), LARGE if Link.read(link).bits >= 1e9 else SMALL
                )
            before = len(self._events())
            self._run.resume()
            self._until(lambda: self._run.status == "running")
            visit(self._run, self._counts, seconds)
            self._counts.reverse()
            self._hold()
            self._slices[link].append((before, len(self._events())))

    def _events(self) -> list[dict[str, Any]]:
        from lepton_kit.rundir.events import EventReader

        return list(EventReader(self._run.paths.events).stream())

    def rows(self, places: int) -> tuple[list[Any], int]:
        """Measured steps, for each link those of its turns; and the parameters of the model."""
        from lepton_kit.planning.measured_steps import read
        from lepton_kit.planning.scaling import Link

        events, found = self._events(), []
        for link, slices in self._slices.items():
            told: list[dict[str, Any]] = []
            for first, last in slices:
                # A reader that begins here has to be told first what there was: the plan, the workers, and the ring.
                before = events[:first]
                told += [one for one in before if one["kind"] in ("plan", "workers")]
                told += [one for one in before if one["kind"] == "generation"][-1:]
                told += events[first:last]
            across = None if link is None else Link.read(link)
            rows = read(told, places, across).rows
            found += [
                row if across is None else replace(row, setting=replace(row.setting, together=True))
                for row in rows
            ]
        return found, next(int(one["parameters"]) for one in events if one["kind"] == "plan")


@dataclass
class Measured:
    """What was measured of a kind of model: steps that a law is fitted to, and those that it has to predict."""

    kind: str
    parameters: int
    known: list[Any]
    later: list[Any]

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(vars(self) | {"known": _plain(self.known), "later": _plain(self.later)})

    @classmethod
    def read(cls, line: str) -> Measured:
        """From a line of JSON."""
        from lepton_kit.planning.estimating import Row
        from lepton_kit.planning.scaling import Link, Setting

        def rows(found: list[dict[str, Any]]) -> list[Row]:
            return [Row(**one | {"setting": setting(one["setting"])}) for one in found]

        def setting(told: dict[str, Any]) -> Setting:
            return Setting(**told | ({"link": Link(**told["link"])} if "link" in told else {}))

        told = json.loads(line)
        return cls(told["kind"], told["parameters"], rows(told["known"]), rows(told["later"]))


def _plain(rows: list[Any]) -> list[dict[str, Any]]:
    """Rows as JSON has them, in five digits; of a setting what is not as usual."""
    return [_rounded(asdict(row) | {"setting": _unusual(row.setting)}) for row in rows]


def _unusual(setting: Any) -> dict[str, Any]:
    usual = {one.name: one.default for one in fields(setting)}
    told = {name: value for name, value in vars(setting).items() if value != usual[name]}
    return told | ({"link": vars(told["link"])} if "link" in told else {})


def _rounded(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _rounded(value) for name, value in told.items()}
    return float(f"{told:.5g}") if isinstance(told, float) else told


def measured(
    kind: str, hosts: tuple[Any, SlowLink] | None, links: list[str], seconds: float, allreduce: str
) -> Measured:
    """Short runs of a kind with all settings, in turns."""
    from lepton_kit.client.plans.runs import asked
    from lepton_kit.machine.devices import usable_cores

    start, places, all_counts = starter(kind, allreduce), usable_cores(), (*FITTED, *PREDICTED)
    with ExitStack() as stack:
        run = partial(Sampled, stack, start)
        both = [run(asked(batch, all_counts)) for batch in BATCHES]
        others, agents = [run(asked(OTHER, (2, 3)))], []
        if hosts is not None:
            lab, shaped = hosts
            agents = [run(asked(BATCHES[0], (2,), across=True))]
            specs = [
                {"name": name, "slots": ACROSS // 2, "threads": 1, "interface": DEVICE} for name in lab.hosts
            ]
            options = asked(BATCHES[0], (ACROSS, ACROSS - 1), across=True) | {"hosts": specs}
            others.append(run(options, shaped, links))
        for _ in range(TURNS):
            for one in (*both, *agents, *others):
                one.turn(seconds)
        known, later = [], [row for one in others for row in one.rows(places)[0]]
        for one in both:
            rows, parameters = one.rows(places)
            known += [row for row in rows if row.setting.workers in FITTED]
            later += [row for row in rows if row.setting.workers in PREDICTED]
        known += [row for one in agents for row in one.rows(places)[0]]
    return Measured(kind, parameters, known, later)


def held_against(found: Measured) -> list[Case]:
    """All predictions of a kind beside what was measured."""
    from lepton_kit.planning.estimating import fit

    kind, known = found.kind, found.known
    law = fit(known, found.parameters)
    print(f"{kind}: " + ", ".join(f"{n} {v:.3g}" for n, v in law.costs.items()), file=sys.stderr)
    for row in known:
        print("  fitted", _what(row), f"{1e3 * row.seconds:.2f} ms ± {row.scatter:.1%}, law {1e3 * law.step(row.setting).value:.2f}",
              {n: round(1e3 * v, 2) for n, v in row.parts.items()}, file=sys.stderr)  # fmt: skip
    return [_case(kind, law, row) for row in found.later]


def _what(row: Any) -> str:
    setting = row.setting
    across = f", 2 hosts {setting.link}" if setting.hosts > 1 else ""
    return f"{setting.workers} workers, batch {setting.batch}{across}"


def _case(kind: str, law: Any, row: Any) -> Case:
    step = law.step(row.setting)
    return Case(kind, _what(row), step.value, step.low, step.high, row.seconds)


def simulate(kind: str, path: Path, seconds: float) -> None:
    """Draw a plan for 1 to 4,096 workers, with the global batch as it is and growing with the workers."""
    import keras

    import lepton_kit as lk
    from lepton_kit.client.plans import picture, told
    from lepton_kit.planning.scaling import Link, Setting

    model = keras_model(kind)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    plan = lk.plan(
        model, lk.data.arrays(*samples(kind), validation_split=0), global_batch=BATCHES[0], workers=2, threads=1,
        seconds=seconds, across=True,
    )  # fmt: skip
    link, each = Link.read("10gbit/0.05"), 32
    curves = []
    for name, batch in (("global batch 4096", None), (f"{each} a worker", each)):
        points = []
        for power in range(13):
            count = 2**power
            setting = Setting(
                count,
                batch * count if batch else 4096,
                plan.base.places,
                max(1, count // plan.base.places),
                link,
            )
            points.append((count, plan.of(setting).efficiency))
        curves.append(picture.Curve(name, points))
    text = told.picture(curves, "", unit="efficiency")
    title = f"{kind}: scaling efficiency on hosts of {plan.base.places} cores, links of 10 Gbit/s and 0.05 ms"
    picture = picture.draw(curves, quantity=title, text=text, moments={})
    path.write_text(picture.svg, encoding="utf-8")
    for curve in curves:
        print(
            f"| {curve.name} | " + " | ".join(f"{count}: {found.value:.2f}" for count, found in curve.points)
        )
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS))
    parser.add_argument("--links", nargs="+", default=list(LINKS), help="rate/milliseconds")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each visit")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--no-hosts", action="store_true")
    parser.add_argument("--allreduce", choices=["auto", "horovod"], default="auto")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--again", type=Path)
    parser.add_argument("--simulate", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    if options.simulate:
        simulate((options.kinds or ["cnn"])[0], options.simulate, options.seconds)
        return
    began = time.monotonic()
    print("| model | setting | predicted ms a step (nine of ten) | measured | error | held |")
    print("|---|---|---:|---:|---:|---|")
    cases = []
    for found in again(options.again) if options.again else measuring(options):
        cases += (told := held_against(found))
        print("\n".join(one.line() for one in told), flush=True)
    errors = [abs(one.error) for one in cases]
    held = sum(one.held for one in cases)
    print(
        f"\n{len(cases)} predictions: median error {statistics.median(errors):.1%}, worst {max(errors):.1%}, interval holds "
        f"{held} of {len(cases)} ({held / len(cases):.0%}); {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}"
    )


def again(kept: Path) -> Iterator[Measured]:
    """What an earlier call has kept."""
    yield from (Measured.read(line) for line in kept.read_text(encoding="utf-8").splitlines())


def measuring(options: argparse.Namespace) -> Iterator[Measured]:
    """Each kind, measured now and kept if that is asked for."""
    from tests.hosts.lab import why_not

    kinds = options.kinds or list(FIVE[:2] if options.short else FIVE)
    links = options.links[:1] if options.short else options.links
    reason = "not asked for" if options.no_hosts else why_not()
    with ExitStack() as stack:
        hosts = None
        if reason is None:
            hosts = stack.enter_context(two_hosts(stack))
        else:
            print(f"no hosts are measured: {reason}", file=sys.stderr)
        for kind in kinds:
            found = measured(kind, hosts, links, options.seconds, options.allreduce)
            if options.keep:
                with options.keep.open("a", encoding="utf-8") as file:
                    file.write(found.line() + "\n")
            yield found


if __name__ == "__main__":
    main()
