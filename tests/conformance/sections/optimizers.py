"""Every Keras optimizer, its options, learning-rate schedules, number formats and compile's own switches."""

from __future__ import annotations

from tests.conformance.makers import BINARY, CLASSES, TOKENS, L, O, mlp, optimized, rounded, stack
from tests.conformance.table import exact

TITLE = "Optimizers and schedules"
S = O.schedules

KINDS = ("Adadelta", "Adafactor", "Adagrad", "Adam", "Adamax", "AdamW", "Ftrl", "Lamb", "Lion", "Muon", "Nadam", "RMSprop")  # fmt: skip
"""Every class of keras.optimizers that trains by itself, but SGD, which the other sections use."""


def begun(model):
    """Built on the weights: in its first traced step Keras makes this optimizer's averages of something else."""
    model.optimizer.build(model.trainable_variables)
    return model


# fmt: off
SITUATIONS = [
    *[
        exact(f"Optimizer {kind}", lambda kind=kind: optimized(getattr(O, kind)(1e-2)), CLASSES, fast=kind == "Adam")
        for kind in KINDS
    ],
    exact("Optimizer ScheduleFreeAdamW, built before the first step", lambda: begun(optimized(O.ScheduleFreeAdamW(1e-2))), CLASSES),
    exact("Optimizer by name", lambda: optimized("rmsprop"), CLASSES),
    exact("SGD with Nesterov momentum", lambda: optimized(O.SGD(0.1, momentum=0.9, nesterov=True)), CLASSES),
    exact("Adam with AMSGrad", lambda: optimized(O.Adam(1e-2, amsgrad=True)), CLASSES),
    exact("Centered RMSprop with momentum", lambda: optimized(O.RMSprop(1e-2, centered=True, momentum=0.5)), CLASSES),
    exact("Weight decay in any optimizer", lambda: optimized(O.SGD(0.1, weight_decay=0.05)), CLASSES),
    exact("AdamW that leaves biases undecayed", lambda: _undecayed(), CLASSES),
    exact("clipnorm, each gradient", lambda: optimized(O.SGD(0.5, clipnorm=0.05)), CLASSES),
    exact("global_clipnorm", lambda: optimized(O.SGD(0.5, global_clipnorm=0.05)), CLASSES),
    exact("clipvalue", lambda: optimized(O.SGD(0.5, clipvalue=0.01)), CLASSES),
    exact("use_ema: the final weights are the average", lambda: optimized(O.SGD(0.1, use_ema=True, ema_momentum=0.5)), CLASSES),
    exact("use_ema with ema_overwrite_frequency", lambda: optimized(O.SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3)), CLASSES),
    exact("LossScaleOptimizer", lambda: optimized(O.LossScaleOptimizer(O.SGD(0.1))), CLASSES),
    exact("LossScaleOptimizer whose scale overflows: the step is skipped", lambda: optimized(O.LossScaleOptimizer(O.SGD(0.1), initial_scale=3e38)), CLASSES, fast=True),
    exact("LossScaleOptimizer that grows its scale", lambda: optimized(O.LossScaleOptimizer(O.Adam(1e-2), initial_scale=4.0, dynamic_growth_steps=2)), CLASSES),
    exact("loss_scale_factor", lambda: optimized(O.SGD(0.1, loss_scale_factor=128.0)), CLASSES),
    exact("Gradient accumulation over two steps", lambda: optimized(O.SGD(0.1, gradient_accumulation_steps=2)), CLASSES, fast=True),
    exact("Gradient accumulation in Adam, odd number of steps", lambda: optimized(O.Adam(1e-2, gradient_accumulation_steps=3)), CLASSES),
    exact("Schedule CosineDecay with warm-up", lambda: optimized(O.Adam(S.CosineDecay(0.0, 8, warmup_target=1e-2, warmup_steps=3))), CLASSES, epochs=3, fast=True),
    exact("Schedule CosineDecayRestarts", lambda: optimized(O.SGD(S.CosineDecayRestarts(0.1, 3))), CLASSES),
    exact("Schedule ExponentialDecay", lambda: optimized(O.SGD(S.ExponentialDecay(0.1, 2, 0.5, staircase=True))), CLASSES),
    exact("Schedule InverseTimeDecay", lambda: optimized(O.SGD(S.InverseTimeDecay(0.1, 2, 0.5))), CLASSES),
    exact("Schedule PiecewiseConstantDecay", lambda: optimized(O.SGD(S.PiecewiseConstantDecay([3, 6], [0.1, 0.05, 0.01]))), CLASSES),
    exact("Schedule PolynomialDecay", lambda: optimized(O.SGD(S.PolynomialDecay(0.1, 6, 0.01))), CLASSES),
    exact("Schedule with gradient accumulation", lambda: optimized(O.SGD(S.ExponentialDecay(0.1, 1, 0.5), gradient_accumulation_steps=2)), CLASSES),
    exact("mixed_bfloat16", lambda: rounded(O.Adam(1e-2)), CLASSES, policy="mixed_bfloat16", floor=1e-3, ceiling=5e-2, fast=True),
    exact("mixed_float16 with its loss scaling", lambda: rounded(O.SGD(0.1)), CLASSES, policy="mixed_float16", floor=1e-3, ceiling=5e-2),
    exact("One layer in bfloat16", lambda: stack(L.Dense(16, activation="tanh", dtype="mixed_bfloat16"), L.Dense(3, dtype="float32")), CLASSES, floor=1e-3, ceiling=5e-2),
    exact("Embedding in Adam", lambda: _embedding(O.Adam(1e-2)), TOKENS),
    exact("Embedding in Adagrad", lambda: _embedding(O.Adagrad(1e-2)), TOKENS),
    exact("Embedding in Adam with clipnorm", lambda: _embedding(O.Adam(1e-2, clipnorm=0.1)), TOKENS),
    exact("Embedding in lazy-like RMSprop with momentum", lambda: _embedding(O.RMSprop(1e-2, momentum=0.5)), TOKENS),
    exact("steps_per_execution", lambda: optimized(O.Adam(1e-2), steps_per_execution=2), CLASSES),
    exact("jit_compile=True", lambda: optimized(O.Adam(1e-2), jit_compile=True), CLASSES),
    exact("run_eagerly=True", lambda: optimized(O.Adam(1e-2), run_eagerly=True), CLASSES),
    exact("auto_scale_loss=False", lambda: optimized(O.LossScaleOptimizer(O.SGD(0.1), initial_scale=1.0), auto_scale_loss=False), CLASSES),
    exact("Binary cross-entropy with one logit", lambda: mlp("binary_crossentropy", 1, "sigmoid", metrics=["accuracy"]), BINARY),
]
# fmt: on


def _undecayed():
    optimizer = O.AdamW(1e-2, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimized(optimizer)


def _embedding(optimizer):
    return stack(
        L.Embedding(20, 6),
        L.GlobalAveragePooling1D(),
        L.Dense(3),
        shape=(10,),
        dtype="int32",
        optimizer=optimizer,
        metrics=["accuracy"],
    )
