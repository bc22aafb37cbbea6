"""Training on a GPU, side by side: plain Keras, and lepton_kit with one worker there, two on it, and one beside the CPU.

    python benchmarks/gpu.py [--models cnn resnet] [--rounds 3] [--seconds 4]

Global batch 1,024, 8,192 random samples. `fit_20` has `steps_per_execution=20`. Beside the CPU the batch is cut by
speed (`weights="auto"`). All contestants stay loaded and take turns; printed are medians of samples/s, and ratios to
`fit` and `fit_20` taken round by round. Needs a GPU that TensorFlow sees.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import throughput
from kinds import KINDS, keras_model, samples

GLOBAL_BATCH = 1024
PLACES = {"one_worker": ["gpu:0"], "two_workers": ["gpu:0", "gpu:0"], "beside_the_cpu": ["gpu:0", "cpu"]}


def serve(contestant: str, kind: str) -> None:
    """A process of plain Keras: trains for the seconds that a line of input names, then prints its samples/s."""
    import tensorflow as tf

    model = _compiled(kind, steps_per_execution=20 if contestant == "fit_20" else 1)
    stream = tf.data.Dataset.from_tensor_slices(samples(kind)).cache().repeat()
    batches = stream.batch(GLOBAL_BATCH, drop_remainder=True).prefetch(4)

    def train() -> None:
        model.fit(batches, steps_per_epoch=100, epochs=1, verbose=0)

    train()
    print("ready", flush=True)
    for line in sys.stdin:
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < float(line):
            train()
            steps += 100
        print(steps * GLOBAL_BATCH / (time.perf_counter() - start), flush=True)


def _compiled(kind: str, **options: Any) -> Any:
    import keras

    model = keras_model(kind)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, **options)
    return model


class Plain:
    """Keras in a process of its own."""

    def __init__(self, contestant: str, kind: str):
        self.name = contestant
        command = [sys.executable, __file__, "--serve", contestant, "--models", kind]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> None:
        if self._answer() != "ready":
            raise SystemExit(f"{self.name} did not start")

    def _answer(self) -> str:
        assert self._child.stdout is not None
        return self._child.stdout.readline().strip()

    def turn(self, seconds: float) -> float:
        assert self._child.stdin is not None
        self._child.stdin.write(f"{seconds}\n")
        self._child.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        self._child.kill()
        self._child.wait()


class Launched(throughput.Launched):
    """A run of lepton_kit at some places, paused between turns."""

    def __init__(self, name: str, kind: str, folder: str):
        import lepton_kit as lk

        self.name, self._places, self._panel = name, PLACES[name], None
        self._run = lk.launch(
            _compiled(kind), lk.data.arrays(*samples(kind), validation_split=0), workers=len(self._places),
            places=self._places, global_batch=GLOBAL_BATCH, epochs=1_000_000, runs_dir=folder, name=name,
            weights="auto" if "cpu" in self._places else None,
        )  # fmt: skip

    def ready(self) -> None:
        self._until(lambda: self._run.view().step > 100)
        if "cpu" in self._places:
            time.sleep(15)  # until the batch is cut by speed
        self._hold()


def measure(kind: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Samples/s of every contestant, one figure per round."""
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        contestants: list[Any] = [Plain(name, kind) for name in ("fit", "fit_20")]
        rates: dict[str, list[float]] = {}
        try:
            contestants += [Launched(name, kind, folder) for name in PLACES]
            for contestant in contestants:
                contestant.ready()
            for turn in range(rounds + 1):
                for contestant in contestants:
                    rate = contestant.turn(seconds)
                    if turn:
                        rates.setdefault(contestant.name, []).append(rate)
        finally:
            for contestant in contestants:
                contestant.close()
    return rates


def table(kind: str, rates: dict[str, list[float]]) -> str:
    """Medians, and ratios to plain Keras as medians over rounds."""
    lines = [f"| {kind} | samples/s | / fit | / fit_20 |", "|---|---:|---:|---:|"]
    for name, values in rates.items():
        cells = [
            f"{statistics.median(a / b for a, b in zip(values, rates[base], strict=True)):.2f}"
            for base in ("fit", "fit_20")
        ]
        lines.append(f"| {name} | {statistics.median(values):,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=list(KINDS), default=["cnn"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_FORCE_GPU_ALLOW_GROWTH="true")
    if options.serve:
        serve(options.serve, options.models[0])
        return
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise SystemExit("TensorFlow sees no GPU here")
    tf.config.set_visible_devices([], "GPU")  # of this process; its workers have theirs
    for kind in options.models:
        print(table(kind, measure(kind, options.rounds, options.seconds)), "\n", flush=True)


if __name__ == "__main__":
    main()
