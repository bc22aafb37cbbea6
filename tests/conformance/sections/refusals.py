"""What is wrong before anything starts, said in one line; and LeptonModel, which brings its own defaults."""

from __future__ import annotations

import keras
import numpy as np

import lepton_kit as lk
from tests.conformance import steps
from tests.conformance.makers import (
    CLASSES,
    FEATURES,
    LABELS,
    TOKENS,
    VALUES,
    L,
    O,
    ce,
    compiled,
    data,
    mlp,
    one_hot,
    pretrained,
)
from tests.conformance.table import Data, exact, explained, refused

TITLE = "Bad input, and LeptonModel"


def plain():
    return mlp(metrics=["accuracy"])


def scheduled():
    return mlp(optimizer=O.SGD(O.schedules.CosineDecay(0.1, 100)))


def uncompiled():
    return keras.Sequential([keras.Input((8,)), L.Dense(3)])


def table(**options):
    return lk.LeptonModel((8,), options.pop("classes", 3), 8, 1, input_range=(-3.0, 3.0), seed=5, **options)


def tokens(**options):
    return lk.LeptonModel((10,), 3, 8, 1, vocabulary_size=20, seed=5, **options)


def of(model, loss=None, metrics=("accuracy",)):
    """The network of a LeptonModel as plain Keras compiles it by hand."""
    return compiled(model.network, loss or ce(), O.Adam(1e-3), metrics=list(metrics))


def frozen_late():
    model = pretrained(plain())
    model.layers[0].trainable = False
    return model


def given(**options):
    return {"options": options}


NAN = FEATURES[0].copy()
NAN[5, 2] = np.nan

# fmt: off
SITUATIONS = [
    exact("LeptonModel on a table", table, CLASSES, reference=lambda: of(table()), fast=True),
    exact("LeptonModel, regression", lambda: table(classes=1, task="regression"), VALUES, reference=lambda: of(table(classes=1, task="regression"), "mse", ["mae"])),
    exact("LeptonModel on tokens", tokens, TOKENS, reference=lambda: of(tokens())),
    exact("LeptonModel, one-hot targets", table, data(FEATURES, one_hot(LABELS, 3)), reference=lambda: of(table(), keras.losses.CategoricalCrossentropy(from_logits=True))),
    exact("LeptonModel in lk.fit", table, CLASSES, reference=lambda: of(table()), via="fit"),
    explained("LeptonModel with dropout", "dropout", lambda: table(dropout=0.3), CLASSES),
    exact("A model that is not compiled, in launch", uncompiled, CLASSES, reference=lambda: compiled(uncompiled(), ce(), O.Adam(1e-3), metrics=["accuracy"])),
    refused("A model that is not compiled, in lk.fit", "compile", uncompiled, CLASSES, via="fit"),
    refused("A layer frozen after training, not compiled again", "compile again", frozen_late, CLASSES),
    refused("A misspelt option", "did you mean 'learning_rate'", plain, CLASSES, **given(learning_rte=0.1), fast=True),
    refused("An option of Keras that launch has not", "options", plain, CLASSES, **given(max_queue_size=3)),
    refused("An unknown optimizer", "optimizer", plain, CLASSES, **given(optimizer="adamm")),
    refused("An unknown loss", "loss", plain, CLASSES, **given(loss="mean_squarred_error")),
    refused("An unknown metric", "metrics", plain, CLASSES, **given(metrics=["acuracy"])),
    refused("An optimizer that is no optimizer", "optimizer", plain, CLASSES, **given(optimizer=object())),
    refused("A model that is a number", "model", lambda: 3, CLASSES),
    refused("A layer instead of a model", "model", lambda: L.Dense(3), CLASSES),
    refused("A model's class instead of a model", "model", lambda: steps.Twice, CLASSES),
    refused("learning_rate for a model with a schedule", "schedule", scheduled, CLASSES, **given(learning_rate=1e-3)),
    refused("A negative learning rate", "learning_rate", plain, CLASSES, **given(learning_rate=-0.1)),
    refused("keep_best of a quantity that the run has not", "keep_best", plain, CLASSES, **given(keep_best="val_auc")),
    refused("optimizer_state that is neither", "optimizer_state", plain, CLASSES, **given(optimizer_state="forget")),
    refused("Overrides for a model with its own compile", "optimizer", steps.adversaries, Data(CLASSES.x), **given(optimizer="sgd")),
    refused("Fewer samples than workers", "workers", plain, Data(CLASSES.x[:2], CLASSES.y[:2]), workers=3),
    refused("A batch smaller than the workers", "global_batch", plain, CLASSES, workers=3, batch=2),
    refused("No epochs", "epochs", plain, CLASSES, epochs=0),
    refused("initial_epoch at the end", "initial_epoch", plain, CLASSES, epochs=2, fit={"initial_epoch": 2}),
    refused("validation_freq=0", "validat", plain, CLASSES, fit={"validation_freq": 0}),
    refused("steps_per_epoch=0", "steps_per_epoch", plain, CLASSES, fit={"steps_per_epoch": 0}),
    refused("validation_split of all", "validation_split", plain, Data(CLASSES.x, CLASSES.y), fit={"validation_split": 1.0}, via="fit"),
    refused("Validation rows of another shape", "validation", plain, Data(CLASSES.x, CLASSES.y, vx=CLASSES.vx[:, :5], vy=CLASSES.vy)),
    refused("A number that is none", "nan", plain, Data(NAN, CLASSES.y)),
    refused("pruning=True", "pruning", plain, CLASSES, **given(pruning=True)),
    refused("An unknown argument of lk.fit", "batch_size", plain, CLASSES, via="fit", **given(batchsize=3)),
    refused("class_weight that is no dictionary", "class_weight", plain, CLASSES, fit={"class_weight": [1.0, 2.0, 3.0]}),
    refused("A LeptonModel with one class only", "class", table, data(FEATURES, (LABELS[0] * 0, LABELS[1] * 0))),
    refused("A LeptonModel with negative labels", "label", table, data(FEATURES, (LABELS[0] - 1, LABELS[1]))),
    refused("No loss anywhere", "loss", lambda: compiled(uncompiled()), CLASSES),
]
# fmt: on
