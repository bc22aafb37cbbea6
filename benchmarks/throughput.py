"""Training throughput side by side: plain Keras, hand-written Horovod, no communication, lepton_kit, torch DDP.

    python benchmarks/throughput.py [--models cnn mlp] [--rounds 5] [--seconds 4]

Two workers with one thread each, global batch 128, 8,192 random samples; `fit` has one process with two threads, `fit_20`
also `steps_per_execution=20`.
All contestants stay loaded and take turns, so that a change in the machine's speed meets all of them; a turn lasts
some seconds. Printed are medians of samples/s and ratios taken round by round. torch is measured if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from kinds import KINDS, keras_model, samples

GLOBAL_BATCH = 128
MODELS = ("cnn", "mlp")
"""Those that are measured if none is named, torch too; of the others only Keras' contestants are."""
KERAS_CONTESTANTS = ("fit", "fit_20", "no_communication", "hand_written")


# ---------------------------------------------------------------------- contestants' processes


def serve(contestant: str, kind: str, block: int) -> None:
    """A contestant's process: trains for the seconds that a line of input names, then prints the samples it trained."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    make = torch_block if contestant == "torch_ddp" else keras_block
    train, batch = make(contestant, kind, block)
    for _ in range(3):
        train()
    print("ready", flush=True)
    for line in sys.stdin:
        steps, start = 0, time.perf_counter()
        # Blocks until the time is up; ranks that communicate agree on a number of blocks beforehand.
        blocks, seconds = int(line.split()[0]), float(line.split()[1])
        while (blocks and steps < blocks) or (not blocks and time.perf_counter() - start < seconds):
            train()
            steps += 1
        print(steps * block * batch, time.perf_counter() - start, flush=True)


def keras_block(contestant: str, kind: str, steps: int) -> tuple[Any, int]:
    """A function that trains so many steps, and the samples that this process sees in a step."""
    import keras
    import tensorflow as tf

    alone = contestant.startswith("fit")
    threads = 2 if alone else 1
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    x, y = samples(kind)
    model = keras_model(kind)
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(1e-3)
    if alone:
        model.compile(optimizer, loss_function, steps_per_execution=20 if contestant == "fit_20" else 1)
        stream = tf.data.Dataset.from_tensor_slices((x, y)).cache().repeat()
        stream = stream.batch(GLOBAL_BATCH, drop_remainder=True).prefetch(4)
        return lambda: model.fit(stream, steps_per_epoch=steps, epochs=1, verbose=0), GLOBAL_BATCH
    size, rank = (int(os.environ[f"HOROVOD_{name}"]) for name in ("SIZE", "RANK"))
    if contestant == "hand_written":
        import horovod.tensorflow as hvd

        hvd.init()
    optimizer.build(model.trainable_variables)
    stream = tf.data.Dataset.from_tensor_slices((x, y)).shard(size, rank).cache().repeat()
    batches = iter(stream.batch(GLOBAL_BATCH // size, drop_remainder=True).prefetch(4))

    @tf.function
    def step(xs: Any, ys: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_function(ys, model(xs, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        if contestant == "hand_written":
            gradients = hvd.grouped_allreduce(gradients, op=hvd.Average)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def train() -> None:
        for _ in range(steps):
            loss = step(*next(batches))
        loss.numpy()

    return train, GLOBAL_BATCH // size


def torch_block(contestant: str, kind: str, steps: int) -> tuple[Any, int]:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.distributed.init_process_group("gloo")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if kind == "cnn":
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip
    else:
        model = nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )
    model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loss_function = nn.CrossEntropyLoss()
    x, y = samples(kind)
    inputs = torch.from_numpy(np.moveaxis(x, -1, 1).copy() if kind == "cnn" else x)[rank::size]
    targets = torch.from_numpy(y.astype(np.int64))[rank::size]
    batch = GLOBAL_BATCH // size
    state = {"at": 0}

    def train() -> None:
        for _ in range(steps):
            at = state["at"] = (state["at"] + batch) % (len(inputs) - batch)
            optimizer.zero_grad(set_to_none=True)
            loss_function(model(inputs[at : at + batch]), targets[at : at + batch]).backward()
            optimizer.step()

    return train, batch


class Processes:
    """One contestant made of processes that this script starts.

    They are stopped by a signal between turns: Horovod's background threads talk all the time, which would cost the
    others processor time.
    """

    block = 20
    """Steps between two looks at the clock."""

    def __init__(self, contestant: str, kind: str, ranks: int):
        self.name = contestant
        self._rendezvous: Any = None
        self._children = [self._start(contestant, kind, rank, ranks) for rank in range(ranks)]
        for child in self._children:
            if self._read(child) != "ready":
                raise SystemExit(f"{contestant} did not start")
        self._signal(signal.SIGSTOP)
        self._rate: float | None = None

    def _start(self, contestant: str, kind: str, rank: int, ranks: int) -> subprocess.Popen[str]:
        environment = dict(os.environ)
        if ranks > 1 and self._rendezvous is None:
            from lepton_kit.runtime.places import on_this_machine
            from lepton_kit.runtime.rendezvous import Rendezvous

            self._rendezvous = Rendezvous()
            self._members = on_this_machine(ranks, self._rendezvous.address, timeout_seconds=3600)
            self._rendezvous.begin(self._members)
        if ranks > 1:
            from lepton_kit.training import collective

            environment |= collective.environment(
                self._members[rank],
                cycle_milliseconds=1.0,
                cache_capacity=collective.RingCollective.cache_capacity,
            )
            environment |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
            environment |= {"MASTER_PORT": str(20000 + os.getpid() % 20000), "GLOO_SOCKET_IFNAME": "lo"}
        return self._open([], environment, contestant, kind)

    def _open(
        self, prefix: list[str], environment: dict[str, str], contestant: str, kind: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--serve", contestant, "--models", kind]
        return subprocess.Popen(
            [*prefix, *command, "--block", str(self.block)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @staticmethod
    def _read(child: subprocess.Popen[str]) -> str:
        assert child.stdout is not None
        return child.stdout.readline().strip()

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            child.send_signal(number)

    def turn(self, seconds: float) -> float:
        """Samples/s over one turn; ranks run the same number of blocks, so the slowest sets the time."""
        blocks = (
            0
            if len(self._children) == 1
            else max(1, int(seconds * (self._rate or 1500) / (self.block * GLOBAL_BATCH)))
        )
        self._signal(signal.SIGCONT)
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{blocks} {seconds}\n")
            child.stdin.flush()
        answers = [self._read(child).split() for child in self._children]
        self._signal(signal.SIGSTOP)
        trained = sum(float(count) for count, _ in answers)
        self.steps = trained / GLOBAL_BATCH
        self._rate = trained / max(float(spent) for _, spent in answers)
        return self._rate

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        for child in self._children:
            child.wait()
        if self._rendezvous is not None:
            self._rendezvous.close()


class Launched:
    """lepton_kit itself; paused between turns. With a panel, a live view follows the run as in a notebook."""

    def __init__(self, kind: str, folder: str, panel: bool):
        import keras

        import lepton_kit as lk

        self.name = "lepton_kit_with_panel" if panel else "lepton_kit"
        model = keras_model(kind)
        model.compile(
            keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        self._run = lk.launch(
            model, lk.data.arrays(*samples(kind), validation_split=0), workers=2, threads=1, global_batch=GLOBAL_BATCH, epochs=1_000_000,
            runs_dir=folder, name=self.name,
        )  # fmt: skip
        self._panel: Any = None
        if panel:
            from lepton_kit.panels import LivePanel

            self._panel = LivePanel(self._run)
        self._until(lambda: self._run.view().step > 100)
        self._hold()

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            if time.monotonic() > deadline or self._run.status == "failed":
                raise SystemExit(f"{self._run.id}: {self._run.status}: {self._run.cause}")
            time.sleep(0.02)

    def _hold(self) -> None:
        self._run.pause()
        self._until(lambda: self._run.status == "paused")

    def turn(self, seconds: float) -> float:
        before = len(self._run.view().throughput)
        start = self._run.view().step
        self._run.resume()
        self._until(lambda: self._run.view().step > start)
        time.sleep(seconds)
        self._hold()
        view = self._run.view()
        reports, rates = view.report_steps.array[before:], view.throughput[before:]
        counts = np.diff(np.concatenate([[start], reports])) * GLOBAL_BATCH
        # The first report after a pause counts the pause itself.
        return float(counts[1:].sum() / (counts[1:] / rates[1:]).sum())

    def close(self) -> None:
        if self._panel is not None:
            self._panel.close()
        self._run.stop().wait()


def measure(kind: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Samples/s of every contestant, one figure per round."""
    torch = kind in MODELS and importlib.util.find_spec("torch")
    names = [*KERAS_CONTESTANTS, *(["torch_ddp"] if torch else [])]
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        contestants: list[Any] = [Processes(name, kind, 1 if name.startswith("fit") else 2) for name in names]
        contestants += [Launched(kind, folder, panel=False), Launched(kind, folder, panel=True)]
        try:
            rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
            for turn in range(rounds + 1):
                for contestant in contestants:
                    rate = contestant.turn(seconds)
                    if turn:
                        rates[contestant.name].append(rate)
        finally:
            for contestant in contestants:
                contestant.close()
    return rates


def table(kind: str, rates: dict[str, list[float]]) -> str:
    """The medians, and the ratios to each baseline as medians over rounds."""
    baselines = [
        name for name in ("no_communication", "fit", "fit_20", "hand_written", "torch_ddp") if name in rates
    ]
    lines = [f"| {kind} | samples/s | " + " | ".join(f"/ {name}" for name in baselines) + " |"]
    lines.append("|---|" + "---:|" * (len(baselines) + 1))
    for name, values in rates.items():
        ratios = [
            statistics.median(a / b for a, b in zip(values, rates[base], strict=True)) for base in baselines
        ]
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"| {name} | {statistics.median(values):,.0f} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=list(KINDS), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--block", type=int, default=Processes.block, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.models[0], options.block)
        return
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    for kind in options.models:
        print(table(kind, measure(kind, options.rounds, options.seconds)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
