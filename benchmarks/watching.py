"""What the clocks of ranks cost: processor time of the instrumentation per step, at 2 and at 8 ranks.

Three things run because ranks are watched: operations of the graph around each sum of gradients (on Horovod's path; the
shared-memory path reads the clock in C inside the sum that it makes anyway), the clock's bookkeeping once a block of steps with the
sums over ranks, and twice a second what keeps the process from computing. Each is run many times alone, in turns with the
same without it, in this process, on one thread; figures are processor time, so that other programs count little. A step is that of a
dense network on its part of a batch of 128 digits, measured here too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
STEPS, TURNS, BLOCK_SECONDS, BEATS = 2000, 7, 0.1, 2.0
AIM = 0.01


def spent(act: Callable[[], object]) -> float:
    """Processor seconds of this process in a call."""
    before = time.process_time()
    act()
    return time.process_time() - before


def around_a_sum() -> float:
    """Processor seconds that timing a sum inside a graph adds to a step: the median over turns, with and without in turns."""
    import tensorflow as tf

    from lepton_kit.training.clocks import Stopwatch

    def loop(watch: Stopwatch | None) -> Callable[[], object]:
        @tf.function
        def block(x: tf.Tensor) -> tf.Tensor:
            for _ in tf.range(STEPS):
                tensors = [x, x + 1.0]

                def add(found: list[tf.Tensor]) -> list[tf.Tensor]:
                    return [one * 0.5 for one in found]

                results = add(tensors) if watch is None else watch.around(tensors, add)
                x = tf.reshape(results[0] + results[1], [8])
            return x

        start = tf.zeros(8)
        block(start)
        return lambda: block(start).numpy()

    without, timed = loop(None), loop(Stopwatch())
    differences = [spent(timed) - spent(without) for _ in range(TURNS)]
    return max(0.0, statistics.median(differences)) / STEPS


def block_of(ranks: int) -> float:
    """Processor seconds of a rank for a block: its clock, and the sums over all ranks."""
    import numpy as np

    from lepton_kit.training.clocks import FIGURES, Clock, Spent

    clock, all_ranks = Clock(lambda: 0.0), Spent.nothing(ranks)

    def blocks() -> None:
        for _ in range(STEPS):
            with clock.reading():
                pass
            with clock.training():
                pass
            figures = np.zeros((ranks, FIGURES), np.float32)
            figures[0] = clock.take()
            all_ranks.add(figures)

    return statistics.median(spent(blocks) for _ in range(TURNS)) / STEPS


def heartbeat() -> float:
    """Processor seconds of asking what keeps this process from computing."""
    from lepton_kit.processes.pressure import pressure

    return statistics.median(spent(lambda: [pressure() for _ in range(100)]) for _ in range(TURNS)) / 100


def step_of(batch: int) -> float:
    """Processor seconds of a plain training step of a dense network on so many digits."""
    import keras
    import numpy as np
    import tensorflow as tf

    layers = [keras.layers.Dense(256, "relu"), keras.layers.Dense(256, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    x, y = tf.constant(np.random.default_rng(0).random((batch, 64), np.float32)), tf.zeros(batch, tf.int32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def block() -> None:
        for _ in tf.range(200):
            with tf.GradientTape() as tape:
                value = loss(y, model(x, training=True))
            optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)

    block()
    return statistics.median(spent(block) for _ in range(TURNS)) / 200


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="*", default=[2, 8])
    options = parser.parse_args()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    timed, beat = around_a_sum(), heartbeat()
    print(
        "| ranks | path | a step | around its sum | its part of a block | its part of heartbeats | of the step |"
    )
    print("|---|---|---|---|---|---|---|")
    for ranks in options.ranks:
        step, block = step_of(128 // ranks), block_of(ranks)
        for path, inside in (("shared memory", 0.0), ("Horovod", timed)):
            parts = [inside, block * step / BLOCK_SECONDS, beat * BEATS * step]
            told = " | ".join(f"{1e6 * one:.2f} µs" for one in (step, *parts))
            print(f"| {ranks} | {path} | {told} | {sum(parts) / step:.2%} |")
    print(
        f"aim: below {AIM:.0%} of a step; a block is {1e6 * block:.0f} µs every {BLOCK_SECONDS:g} s, a heartbeat {1e6 * beat:.0f} µs"
    )


if __name__ == "__main__":
    main()
