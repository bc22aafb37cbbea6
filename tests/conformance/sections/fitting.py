"""What `model.fit` takes beside the model: arguments of lk.fit and launch, data sets and generators, the cut."""

from __future__ import annotations

from tests.conformance import own, streams
from tests.conformance.makers import (
    ALONE,
    BOTH,
    CLASSES,
    ONE_HOT,
    TOKENS,
    VALUES,
    L,
    O,
    ce,
    compiled,
    mlp,
    regressor,
    shares,
    stack,
    two_inputs,
)
from tests.conformance.table import Data, exact, explained, refused

TITLE = "Arguments of fit, data sets, the cut"


def calm(**options):
    return mlp(metrics=["accuracy"], **options)


def adam():
    return mlp(optimizer=O.Adam(1e-2), metrics=["accuracy"])


ALL = Data(CLASSES.x, CLASSES.y)
GIVEN = {"via": "fit", "shuffle": False}
DEFAULT = {"via": "fit", "given": lambda data: ((data.x, data.y), {}), "batch": 32}

# fmt: off
SITUATIONS = [
    exact("lk.fit on arrays", adam, CLASSES, via="fit"),
    exact("lk.fit, optimizer's state given back", lambda: regressor(optimizer=O.RMSprop(1e-2, momentum=0.5)), VALUES, via="fit"),
    exact("lk.fit with fit's own batch size, 32", calm, CLASSES, **DEFAULT),
    exact("One worker", calm, CLASSES, workers=1),
    exact("Three workers", adam, CLASSES, workers=3, fast=True),
    exact("Four workers, batches smaller than workers", calm, CLASSES, workers=4, batch=4),
    exact("Workers of unlike speed", calm, CLASSES, workers=3, options={"weights": (5.0, 1.0, 2.0)}),
    exact("A worker that gets nothing for most batches", calm, CLASSES, options={"weights": (20.0, 1.0)}),
    exact("A batch as large as the data", calm, CLASSES, batch=37, epochs=3),
    exact("A batch larger than the data", calm, CLASSES, batch=64, epochs=3),
    exact("Two samples a batch", calm, CLASSES, batch=2, epochs=1),
    exact("Sums over Horovod instead of shared memory", adam, CLASSES, options={"allreduce": "horovod"}),
    exact("Gathered losses over Horovod", lambda: stack(L.Dense(8), loss=own.contrastive), VALUES, options={"allreduce": "horovod"}),
    exact("validation_split", calm, ALL, fit={"validation_split": 0.3}, via="fit"),
    exact("validation_split with sample weights", calm, ALL.weighted(shares()[0]), fit={"validation_split": 0.3}, via="fit"),
    exact("validation_freq=2", calm, CLASSES, fit={"validation_freq": 2}, via="fit", epochs=3),
    exact("validation_freq as a list", calm, CLASSES, fit={"validation_freq": [1, 3]}, via="fit", epochs=4),
    exact("validation_freq in launch", calm, CLASSES, fit={"validation_freq": 2}, epochs=3),
    exact("validation_batch_size", lambda: stack(L.Dense(8), loss=own.contrastive), VALUES, fit={"validation_batch_size": 4}, via="fit"),
    exact("validation_steps", calm, CLASSES, fit={"validation_steps": 2, "validation_batch_size": 5}, via="fit"),
    exact("initial_epoch", calm, CLASSES, fit={"initial_epoch": 2}, via="fit", epochs=4),
    exact("initial_epoch in launch", calm, CLASSES, fit={"initial_epoch": 1}, epochs=3),
    exact("steps_per_epoch that a pass is a multiple of", calm, CLASSES, fit={"steps_per_epoch": 2}, via="fit", epochs=4),
    explained("steps_per_epoch that ends in the midst of a pass", "goes on with the next pass", calm, CLASSES, fit={"steps_per_epoch": 3}, via="fit", epochs=5),
    explained("steps_per_epoch in launch, longer than a pass", "goes on with the next pass", calm, CLASSES, fit={"steps_per_epoch": 9}, epochs=3),
    exact("class_weight in lk.fit", calm, CLASSES, fit={"class_weight": {0: 1.0, 1: 5.0, 2: 0.5}}, via="fit"),
    exact("class_weight in lk.fit, one-hot", lambda: mlp("categorical_crossentropy", 3, "softmax"), ONE_HOT, fit={"class_weight": {0: 1.0, 1: 5.0, 2: 0.5}}, via="fit"),
    exact("sample_weight in lk.fit", calm, CLASSES.weighted(*shares()), via="fit"),
    exact("shuffle=False", calm, CLASSES, fit={"shuffle": False}, via="fit"),
    exact("shuffle=False in launch", calm, CLASSES, fit={"shuffle": False}),
    exact("Dictionary inputs in lk.fit", two_inputs, BOTH, via="fit"),
    exact("Inputs alone in lk.fit", lambda: own.autoencoder(None, reconstruct=True), ALONE, via="fit"),
    exact("use_ema in lk.fit", lambda: mlp(optimizer=O.SGD(0.1, use_ema=True, ema_momentum=0.5)), CLASSES, via="fit"),
    exact("Gradient accumulation in lk.fit", lambda: mlp(optimizer=O.SGD(0.1, gradient_accumulation_steps=3)), CLASSES, via="fit"),
    exact("LossScaleOptimizer in lk.fit", lambda: mlp(optimizer=O.LossScaleOptimizer(O.Adam(1e-2))), CLASSES, via="fit"),
    exact("Embedding in lk.fit", lambda: stack(L.Embedding(20, 6), L.Flatten(), L.Dense(3), shape=(10,), dtype="int32", optimizer=O.Adam(1e-2)), TOKENS, via="fit"),
    exact("launch: batch_size for global_batch", calm, CLASSES, options={"batch_size": 9}, batch=9),
    exact("launch: learning_rate beside a compiled optimizer", calm, CLASSES, options={"learning_rate": 0.03}, reference=lambda: compiled(calm(), ce(), O.SGD(0.03), metrics=["accuracy"])),
    exact("launch: optimizer, loss and metrics by name", lambda: mlp(loss=ce()), VALUES, options={"optimizer": "adam", "loss": "huber", "metrics": ["mae"]}, reference=lambda: compiled(mlp(), "huber", "adam", metrics=["mae"])),
    exact("launch: optimizer, loss and metrics as objects", lambda: mlp(loss=ce()), CLASSES, options={"optimizer": O.SGD(0.05, momentum=0.9), "loss": ce(ignore_class=1)}, reference=lambda: compiled(mlp(), ce(ignore_class=1), O.SGD(0.05, momentum=0.9))),
    exact("launch: a schedule as learning_rate", calm, CLASSES, options={"learning_rate": O.schedules.ExponentialDecay(0.1, 2, 0.5)}, reference=lambda: compiled(calm(), ce(), O.SGD(O.schedules.ExponentialDecay(0.1, 2, 0.5)), metrics=["accuracy"])),
    exact("tf.data, batched: its batch is the global batch", calm, CLASSES, given=streams.dataset, **GIVEN, fast=True),
    exact("tf.data for validation too", calm, CLASSES, given=streams.with_validation, **GIVEN),
    exact("tf.data, mapped, cached, prefetched", calm, CLASSES, given=streams.pipeline, **GIVEN),
    exact("tf.data with sample weights", calm, CLASSES.weighted(shares()[0]), given=streams.dataset, **GIVEN),
    exact("tf.data of dictionaries", two_inputs, BOTH, given=streams.dataset, **GIVEN),
    exact("A generator that ends", calm, CLASSES, given=streams.generator, epochs=1, **GIVEN),
    exact("A keras.utils.PyDataset", calm, CLASSES, given=streams.py_dataset, fit={"shuffle": False}, via="fit"),
    exact("A loader as torch has them", calm, CLASSES, given=streams.loader, **GIVEN),
    exact("A pandas frame and a column", calm, CLASSES, given=streams.frame, via="fit"),
    exact("An endless data set with steps_per_epoch", calm, Data(CLASSES.x[:36], CLASSES.y[:36], vx=CLASSES.vx, vy=CLASSES.vy), given=streams.endless, fit={"steps_per_epoch": 3}, **GIVEN),
    explained("A data set with random values inside", "each time", calm, CLASSES, given=streams.random_values, via="fit"),
    explained("A data set that shuffles inside", "order", calm, CLASSES, given=streams.random_order, via="fit"),
    refused("An endless data set without steps_per_epoch", "steps_per_epoch", calm, CLASSES, given=streams.endless, via="fit", fast=True),
    refused("An endless generator without steps_per_epoch", "steps_per_epoch", calm, CLASSES, given=streams.endless_generator, via="fit"),
    refused("An empty data set", "no samples", calm, CLASSES, given=streams.empty, via="fit"),
    refused("A generator that breaks", "the disk has gone", calm, CLASSES, given=streams.raising, via="fit"),
    explained("A generator whose shapes change", "padded", calm, CLASSES, given=streams.changing, via="fit"),
]
# fmt: on
