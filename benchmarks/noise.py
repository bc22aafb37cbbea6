"""What measuring norms of gradients costs a step: the same steps with and without, in turns, in one process on one thread.

A rank with half of each batch trains blocks of steps; the other rank is a sum that doubles what it gets. Figures are processor
time, so that other programs count little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
MODELS = ("small dense", "dense", "convolutional", "embedding")


class Double:
    """Sums over this rank and one that brings the same."""

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """Twice the means and the gradients; of totals, such as slices at their places, this rank's alone."""
        return [*(2.0 * scale * one for one in means), *totals, *(2.0 * one for one in gradients)]

    def agree(self, vector: Any) -> Any:
        """Twice that."""
        return 2 * vector


def made(kind: str) -> tuple[Any, tuple[int, ...], bool]:
    """A compiled model, the shape of its samples, and whether these are words."""
    import keras

    layers = keras.layers
    inner, shape = {
        "small dense": ([layers.Dense(256, "relu"), layers.Dense(256, "relu")], (64,)),
        "dense": ([layers.Dense(512, "relu"), layers.Dense(512, "relu")], (784,)),
        "convolutional": (
            [
                *(layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D()),
                *(layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D()),
                *(layers.Flatten(), layers.Dense(128, "relu")),
            ],
            (28, 28, 1),
        ),
        "embedding": (
            [layers.Embedding(10_000, 64), layers.GlobalAveragePooling1D(), layers.Dense(64, "relu")],
            (50,),
        ),
    }[kind]
    model = keras.Sequential([keras.Input(shape), *inner, layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, shape, kind == "embedding"


def step_of(kind: str, measured: bool, batch: int) -> Any:
    """A step, and a block of 64 for it."""
    import keras
    import numpy as np

    from lepton_kit.data.proofs import PROOF_SIZE
    from lepton_kit.training.norms import Norms
    from lepton_kit.training.step import MAX_BLOCK_STEPS, Block, Step

    keras.utils.set_random_seed(0)
    model, shape, words = made(kind)
    rows, draw = batch // 2, np.random.default_rng(0)
    size = (MAX_BLOCK_STEPS, rows, *shape)
    x = draw.integers(0, 10_000, size).astype(np.int32) if words else draw.random(size, np.float32)
    y = draw.integers(0, 10, (MAX_BLOCK_STEPS, rows)).astype(np.int32)
    note = Norms.note
    if not measured:
        Norms.note = lambda *_, **__: None  # type: ignore[method-assign]  # the step without it is what is measured
    try:
        step = Step(model, Double(), (x[0][:2], y[0][:2], None), batch=batch, sizes=(rows,))
        step.warm()
    finally:
        Norms.note = note  # type: ignore[method-assign]  # the step without it is what is measured
    proofs = np.zeros((MAX_BLOCK_STEPS, PROOF_SIZE), np.float32)
    return step, Block(x, y, None, (None, None, None), proofs, 0, 0, rows, batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    import tensorflow as tf

    from lepton_kit.training.norms import EVERY, EVERY_WITH_SLICES

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(
        f"one step of {EVERY} is measured, of {EVERY_WITH_SLICES} with slices; global batch {options.batch}, half of it on this rank"
    )
    print("| model | parameters | a step without | with | more |")
    print("|---|---|---|---|---|")
    for kind in options.models:
        steps = {measured: step_of(kind, measured, options.batch) for measured in (False, True)}
        taken: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(options.turns + 1):
            for measured in (turn % 2 == 0, turn % 2 == 1):
                step, block = steps[measured]
                before = time.process_time()
                step.train(block)
                taken[measured].append((time.process_time() - before) / len(block.proofs))
        plain, noted = (statistics.median(taken[one][1:]) for one in (False, True))
        more = statistics.median(b / a - 1 for a, b in zip(taken[False][1:], taken[True][1:], strict=True))
        parameters = steps[True][0].model.count_params()
        print(
            f"| {kind} | {parameters:,} | {1e6 * plain:,.0f} µs | {1e6 * noted:,.0f} µs | {more:+.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
