"""Pause of training when workers come, go or are killed: lepton_kit beside plain Horovod elastic.

    python benchmarks/elastic.py [--skip-plain]

Both train the same small model on the digits sample. Printed are the seconds without a finished step around a change of
the number of workers, the seconds from a kill to the next finished step, and their ratios.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE = 180.0
SETTLE_SECONDS = 3.0
BATCH = 128
GLOO_SECONDS = "60"
"""Plain Horovod's default of 30 s is too short for a peer that imports TensorFlow on a busy machine: rank 0 aborts."""


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(0.01)


def standstill(times: list[float], since: float, through: float) -> float:
    """The longest time without a finished step around ``since`` .. ``through`` (unix seconds)."""
    near = [t for t in times if since - 1.0 <= t <= through + 1.0]
    return max((after - before for before, after in itertools.pairwise(near)), default=float("nan"))


def next_after(times: list[float], moment: float) -> float:
    return min((t for t in times if t > moment), default=float("nan")) - moment


# ---------------------------------------------------------------------- lepton_kit


def lepton(folder: Path) -> dict[str, float]:
    """The three figures of lepton_kit, with one warm standby, from its own event log."""
    import lepton_kit as lk
    from lepton_kit.rundir import EventReader

    run = lk.launch(
        lk.LeptonModel((8, 8, 1), 10, 64, 3), lk.data.sample("digits"), workers=1, standby=1, global_batch=BATCH,
        epochs=1_000_000, log_seconds=0.01, runs_dir=folder,
    )  # fmt: skip
    view = run.view

    def settled(size: int) -> None:
        until(
            lambda: view().counts()["training"] == size and view().counts()["standby"] == 1, f"{size} workers"
        )
        time.sleep(SETTLE_SECONDS)

    def times() -> list[float]:
        return [event["time"] for event in EventReader(run.paths.events).poll() if event["kind"] == "steps"]

    try:
        until(lambda: view().step > 0, "the first step")
        settled(1)
        asked, formed = time.time(), len(view().generations)
        run.scale(2)
        until(lambda: len(view().generations) > formed, "growth")
        settled(2)
        up = standstill(times(), asked, view().generations[-1]["time"])
        pid = next(worker["pid"] for worker in view().workers if worker["rank"] == 1)
        formed = len(view().generations)
        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(view().generations) > formed, "recovery")
        formed_at = view().generations[formed]["time"]
        settled(2)
        recovery = next_after([t for t in times() if t >= formed_at], killed)
        asked, formed = time.time(), len(view().generations)
        run.scale(1)
        until(lambda: len(view().generations) > formed, "shrinking")
        time.sleep(SETTLE_SECONDS)
        down = standstill(times(), asked, view().generations[-1]["time"])
    finally:
        run.stop()
        run.wait()
    return {"scale-up": up, "scale-down": down, "kill to next step": recovery}


# ---------------------------------------------------------------------- plain Horovod elastic


def plain_worker(log: str) -> None:
    """The training script that Horovod's documentation asks for, on the same model and data."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import horovod.tensorflow as hvd
    import tensorflow as tf
    from horovod.common.elastic import ObjectState
    from horovod.common.exceptions import HorovodInternalError

    import lepton_kit as lk
    from lepton_kit import models

    hvd.init()
    for configure in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
        getattr(tf.config.threading, configure)(1)
    data = lk.data.sample("digits").prepare()
    model = models.build(lk.LeptonModel((8, 8, 1), 10, 64, 3).spec(), Path("."), 0)
    loss, _, _ = models.compile_defaults(model, data)
    model.compile(optimizer="adam", loss=loss)
    model.optimizer.build(model.trainable_variables)
    x, y = data.train.take(np.arange(BATCH))
    variables = [v.value for v in (*model.variables, *model.optimizer.variables)]

    class State(ObjectState):
        def __init__(self, **values: Any):
            self._kept = [v.numpy() for v in variables]
            super().__init__(bcast_object=hvd.broadcast_object, get_rank=hvd.rank, **values)

        def save(self) -> None:
            self._kept = [v.numpy() for v in variables]
            super().save()

        def restore(self) -> None:
            for variable, value in zip(variables, self._kept, strict=True):
                variable.assign(value)
            super().restore()

        def sync(self) -> None:
            hvd.broadcast_variables(variables, root_rank=0)
            super().sync()

    @hvd.elastic.run
    def train(state: State) -> None:
        @tf.function
        def step(x: Any, y: Any) -> None:
            with tf.GradientTape() as tape:
                value = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
            gradients = hvd.grouped_allreduce(tape.gradient(value, model.trainable_variables), op=hvd.Average)
            model.optimizer.apply(gradients, model.trainable_variables)

        share = BATCH // hvd.size()
        features, targets = tf.constant(x[:share], tf.float32), tf.constant(y[:share])
        with open(log, "a", encoding="ascii") as file:
            while True:
                try:
                    step(features, targets)
                except (
                    tf.errors.OpError
                ) as failure:  # the wrapper takes a failed group for the end of training
                    if "orovod" not in str(failure):
                        raise
                    raise HorovodInternalError(str(failure)) from None
                state.step += 1
                file.write(f"{time.time():.4f} {hvd.rank()} {hvd.size()} {os.getpid()}\n")
                file.flush()
                if state.step % 10 == 0:
                    state.commit()

    train(State(step=0))


class Plain:
    """Horovod's own elastic driver, with a virtual host per worker so that a failed one costs only itself."""

    def __init__(self, log: Path):
        self.log, self.wanted = log, 1
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def drive(self) -> None:
        from horovod.runner.common.util import secret
        from horovod.runner.common.util.timeout import Timeout
        from horovod.runner.elastic.discovery import HostDiscovery
        from horovod.runner.elastic.settings import ElasticSettings
        from horovod.runner.gloo_run import launch_gloo_elastic
        from horovod.runner.http.http_server import RendezvousServer

        plain = self

        class Discovery(HostDiscovery):
            def find_available_hosts_and_slots(self) -> dict[str, int]:
                return {f"worker-{k}": 1 for k in range(plain.wanted)}

        settings = ElasticSettings(
            discovery=Discovery(), min_num_proc=1, max_num_proc=4, elastic_timeout=600, reset_limit=None,
            cooldown_range=[1, 2], num_proc=1, verbose=0, key=secret.make_secret_key(), nics=["lo"],
            start_timeout=Timeout(120, "workers did not start"), output_filename=None, run_func_mode=False,
        )  # fmt: skip
        command = [sys.executable, os.path.abspath(__file__), "--plain-worker", str(self.log)]
        launch_gloo_elastic(
            command,
            self.execute,
            settings,
            dict(os.environ),
            lambda _: {"lo"},
            RendezvousServer(0),
            sys.executable,
        )

    def execute(self, command: str, slot: Any, events: list[threading.Event] | None) -> tuple[int, float]:
        with open(self.log.with_name("plain.out"), "ab") as out:
            process = subprocess.Popen(
                ["bash", "-c", command], start_new_session=True, stdout=out, stderr=out
            )
        self.processes[slot.hostname] = process

        def end(event: threading.Event) -> None:
            event.wait()
            self.kill(slot.hostname)

        for event in events or []:
            threading.Thread(target=end, args=(event,), daemon=True).start()
        return process.wait(), time.time()

    def kill(self, host: str) -> None:
        process = self.processes[host]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def rows(self) -> list[tuple[float, int, int]]:
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text(encoding="ascii").splitlines()]
        return sorted((float(line[0]), int(line[1]), int(line[2])) for line in lines if len(line) == 4)

    def times(self, size: int | None = None, since: float = 0.0) -> list[float]:
        return [t for t, _, rows_size in self.rows() if t > since and size in (None, rows_size)]


def plain(made: Plain) -> dict[str, float]:
    """The same figures, by plain Horovod elastic."""
    try:
        until(lambda: made.times(size=1), "plain Horovod's first step")
        time.sleep(SETTLE_SECONDS)
        asked = time.time()
        made.wanted = 2
        until(lambda: made.times(size=2), "plain Horovod's growth")
        time.sleep(SETTLE_SECONDS)
        up = standstill(made.times(), asked, made.times(size=2)[0])
        killed = time.time()
        made.kill("worker-1")
        until(lambda: made.times(since=killed + 0.1), "plain Horovod's recovery")
        recovery = next_after(made.times(), killed + 0.1) + 0.1
        until(lambda: len(made.times(size=2, since=killed + 0.1)) > 50, "plain Horovod's replacement")
        time.sleep(SETTLE_SECONDS)
        asked = time.time()
        made.wanted = 1
        until(lambda: made.times(size=1, since=asked), "plain Horovod's shrinking")
        time.sleep(SETTLE_SECONDS)
        down = standstill(made.times(), asked, made.times(size=1, since=asked)[0])
    finally:
        for host in made.processes:
            made.kill(host)
    return {"scale-up": up, "scale-down": down, "kill to next step": recovery}


def in_main_thread(made: Plain) -> None:
    """Horovod's driver wants the main thread, and has threads of its own that do not end."""

    def tell() -> None:
        code = 1
        try:
            print(json.dumps(plain(made)), flush=True)
            code = 0
        finally:
            shutil.rmtree(made.log.parent, ignore_errors=True)
            os._exit(code)

    os.environ["HOROVOD_GLOO_TIMEOUT_SECONDS"] = GLOO_SECONDS
    threading.Thread(target=tell, daemon=True).start()
    made.drive()
    raise SystemExit("plain Horovod ended by itself:\n" + made.log.with_name("plain.out").read_text()[-2000:])


def measure(which: str) -> dict[str, float]:
    """One side in a process of its own."""
    result = subprocess.run(
        [sys.executable, __file__, "--measure", which], stdout=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    if result.returncode != 0:
        raise SystemExit(f"{which}: failed with exit code {result.returncode}")
    figures = json.loads(result.stdout.splitlines()[-1])
    print(f"{which}: {figures}", file=sys.stderr)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain-worker", metavar="LOG", help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=("lepton", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--skip-plain", action="store_true", help="measure lepton_kit alone")
    parser.add_argument(
        "--parameters", nargs="+", type=float, metavar="MILLIONS", help="large models instead"
    )
    options = parser.parse_args()
    if options.plain_worker:
        plain_worker(options.plain_worker)
    elif options.measure:
        with tempfile.TemporaryDirectory(prefix="lepton-elastic-") as folder:
            if options.measure == "lepton":
                print(json.dumps(lepton(Path(folder))))
            else:
                in_main_thread(Plain(Path(folder) / "steps.txt"))
    else:
        ours = measure("lepton")
        theirs = {} if options.skip_plain else measure("plain")
        load = os.getloadavg()[0]
        print(
            f"seconds without a finished step (measured; {os.cpu_count()} cores, load {load:.1f} at the end)\n"
        )
        print(f"| {'':18} | lepton_kit | plain Horovod elastic | ratio |\n|---|---|---|---|")
        for name, seconds in ours.items():
            other = theirs.get(name)
            cells = ("not_run", "–") if other is None else (f"{other:.2f}", f"{other / seconds:.1f}")
            print(f"| {name:18} | {seconds:10.2f} | {cells[0]:>21} | {cells[1]:>5} |")


if __name__ == "__main__":
    main()
