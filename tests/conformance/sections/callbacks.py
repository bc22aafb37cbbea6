"""Keras' callbacks and own ones, given to lk.fit and to launch: what they do to the run, and what they know after it."""

from __future__ import annotations

import csv
import threading

import keras

from tests.conformance import hooks, own
from tests.conformance.makers import CLASSES, VALUES, O, mlp, regressor
from tests.conformance.table import exact, explained, refused

TITLE = "Callbacks"
C = keras.callbacks


def rough():
    """Learns fast and overfits, so that the validation loss turns."""
    return mlp(optimizer=O.Adam(0.1), metrics=["accuracy"])


def calm():
    return mlp(metrics=["accuracy"])


def rows_of(folder, name="log.csv"):
    """The numbers of a CSV file, with its header."""
    with (folder / name).open() as file:
        header, *rows = csv.reader(file)
    return [header, [[float(cell) for cell in row] for row in rows]]


def model_in(folder, name="best.keras"):
    """The weights in a file that a callback has saved."""
    return keras.saving.load_model(folder / name).get_weights()


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def early(**options):
    return lambda folder: [C.EarlyStopping(**{"patience": 1, **options})]


def stopped(callbacks, folder):
    return [callbacks[0].stopped_epoch, callbacks[0].best, callbacks[0].wait]


LONG = {"epochs": 6, "via": "fit"}

# fmt: off
SITUATIONS = [
    exact("EarlyStopping", rough, CLASSES, callbacks=early(), after=stopped, **LONG),
    exact("EarlyStopping with restore_best_weights", rough, CLASSES, callbacks=early(restore_best_weights=True), after=stopped, fast=True, **LONG),
    exact("EarlyStopping that never fires, best weights back", rough, CLASSES, callbacks=early(restore_best_weights=True, patience=9), after=stopped, **LONG),
    exact("EarlyStopping from an epoch on, least change", rough, CLASSES, callbacks=early(start_from_epoch=2, min_delta=0.01), after=stopped, **LONG),
    exact("EarlyStopping on accuracy with a baseline", rough, CLASSES, callbacks=early(monitor="val_accuracy", mode="max", baseline=0.9), after=stopped, **LONG),
    exact("EarlyStopping in launch, by object", rough, CLASSES, callbacks=early(restore_best_weights=True), epochs=6),
    exact("EarlyStopping in launch, by name and options", rough, CLASSES, callbacks=lambda folder: hooks.plain_or_spec(folder, C.EarlyStopping(patience=1), {"kind": "EarlyStopping", "patience": 1}), epochs=6),
    exact("ReduceLROnPlateau", rough, CLASSES, callbacks=lambda folder: [C.ReduceLROnPlateau(patience=1, factor=0.3, cooldown=1)], after=lambda callbacks, folder: [callbacks[0].best, callbacks[0].wait], **LONG),
    exact("LearningRateScheduler", calm, CLASSES, callbacks=lambda folder: [C.LearningRateScheduler(lambda epoch, rate: rate * 0.5)], **LONG),
    exact("LearningRateScheduler in launch", calm, CLASSES, callbacks=lambda folder: [C.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch))], epochs=3),
    exact("ModelCheckpoint, best only", rough, CLASSES, callbacks=lambda folder: [C.ModelCheckpoint(str(folder / "best.keras"), save_best_only=True)], after=lambda callbacks, folder: model_in(folder), **LONG),
    exact("ModelCheckpoint of every epoch", calm, CLASSES, callbacks=lambda folder: [C.ModelCheckpoint(str(folder / "{epoch}.keras"))], after=lambda callbacks, folder: [files(folder), model_in(folder, "2.keras")], via="fit"),
    exact("ModelCheckpoint, weights only, in launch", calm, CLASSES, callbacks=lambda folder: [C.ModelCheckpoint(str(folder / "{epoch}.weights.h5"), save_weights_only=True)], after=lambda callbacks, folder: files(folder)),
    exact("ModelCheckpoint after a number of batches", calm, CLASSES, callbacks=lambda folder: [C.ModelCheckpoint(str(folder / "best.keras"), save_freq=3)], after=lambda callbacks, folder: model_in(folder), word="each step", via="fit"),
    exact("CSVLogger", calm, CLASSES, callbacks=lambda folder: [C.CSVLogger(str(folder / "log.csv"))], after=lambda callbacks, folder: rows_of(folder), via="fit"),
    exact("CSVLogger in launch", calm, CLASSES, callbacks=lambda folder: [C.CSVLogger(str(folder / "log.csv"))], after=lambda callbacks, folder: rows_of(folder)),
    exact("TerminateOnNaN", lambda: regressor(optimizer=O.SGD(1e15)), VALUES, callbacks=lambda folder: [C.TerminateOnNaN()], word="each step", moves=False, **LONG),
    exact("LambdaCallback at the end of epochs", calm, CLASSES, callbacks=lambda folder: [C.LambdaCallback(on_epoch_end=hooks.Writes(folder / "seen.txt"))], after=lambda callbacks, folder: (folder / "seen.txt").read_text(), via="fit"),
    exact("History as a callback", calm, CLASSES, callbacks=lambda folder: [C.History()], after=lambda callbacks, folder: callbacks[0].history, via="fit"),
    exact("SwapEMAWeights", lambda: mlp(optimizer=O.SGD(0.1, use_ema=True, ema_momentum=0.5), metrics=["accuracy"]), CLASSES, callbacks=lambda folder: [C.SwapEMAWeights(swap_on_epoch=True)], via="fit"),
    exact("BackupAndRestore, which a run does by itself", calm, CLASSES, callbacks=lambda folder: [C.BackupAndRestore(str(folder / "backup"))], word="BackupAndRestore", via="fit"),
    exact("Own callback with epoch hooks and lists", calm, CLASSES, callbacks=lambda folder: [hooks.Remembers()], after=lambda callbacks, folder: [callbacks[0].seen, callbacks[0].order], via="fit", fast=True),
    exact("Own callback that stops after two epochs", calm, CLASSES, callbacks=lambda folder: [hooks.Stops(1)], after=lambda callbacks, folder: callbacks[0].stopped, **LONG),
    exact("Own callback that changes weights between epochs", calm, CLASSES, callbacks=lambda folder: [hooks.Shrinks()], via="fit"),
    exact("Own callback that changes the learning rate", calm, CLASSES, callbacks=lambda folder: [hooks.Halves()], via="fit"),
    exact("Own callback that freezes a variable's value", calm, CLASSES, callbacks=lambda folder: [hooks.Resets()], via="fit"),
    exact("Own callback with batch hooks", calm, CLASSES, callbacks=lambda folder: [hooks.Batches()], after=lambda callbacks, folder: callbacks[0].losses, word="each step", via="fit"),
    exact("Own callback that sets the rate at every batch", calm, CLASSES, callbacks=lambda folder: [hooks.WarmsUp()], word="each step", via="fit"),
    exact("Own callback that stops in the midst of an epoch", calm, CLASSES, callbacks=lambda folder: [hooks.StopsAtBatch(2)], word="each step", via="fit"),
    exact("Own callback that looks at the validation's end", calm, CLASSES, callbacks=lambda folder: [hooks.Tests()], after=lambda callbacks, folder: callbacks[0].values, via="fit"),
    exact("Own callback that predicts with the model", calm, CLASSES, callbacks=lambda folder: [hooks.Predicts(CLASSES.x[:5])], after=lambda callbacks, folder: callbacks[0].values, via="fit"),
    exact("Own callback with random numbers, which rank 0 draws for all", calm, CLASSES, callbacks=lambda folder: [hooks.Draws()], via="fit"),
    exact("Own callback that turns a number in the loss", lambda: own.knobbed(O.SGD(0.1)), VALUES, callbacks=lambda folder: [hooks.TurnsDown()], via="fit"),
    exact("Own callback that turns a number in the loss, in launch", lambda: own.knobbed(O.Adam(0.01)), VALUES, callbacks=lambda folder: [hooks.TurnsDown()]),
    exact("Own callback that sets beta_1 and clipnorm before the first step", lambda: mlp(optimizer=O.Adam(0.01)), CLASSES, callbacks=lambda folder: [hooks.TunesAtFirst()], via="fit"),
    exact("Own callback that sets a number of a model that runs eagerly", lambda: own.strong(O.SGD(0.01)), VALUES, callbacks=lambda folder: [hooks.TurnsUp()], via="fit"),
    exact("Own callback with batch hooks, steps_per_execution=2", lambda: mlp(metrics=["accuracy"], steps_per_execution=2), CLASSES, callbacks=lambda folder: [hooks.Batches()], after=lambda callbacks, folder: callbacks[0].losses, word="each step", via="fit"),
    exact("Several callbacks in their order", rough, CLASSES, callbacks=lambda folder: [C.ReduceLROnPlateau(patience=1, factor=0.5), C.EarlyStopping(patience=3, restore_best_weights=True), C.CSVLogger(str(folder / "log.csv"))], after=lambda callbacks, folder: [callbacks[0].best, callbacks[1].best, rows_of(folder)], **LONG),
    exact("Callbacks on three workers", rough, CLASSES, callbacks=early(restore_best_weights=True), after=stopped, workers=3, **LONG),
    exact("Callback that was used in a fit before", calm, CLASSES, callbacks=lambda folder: [hooks.used(calm())], after=lambda callbacks, folder: [callbacks[0].seen], via="fit"),
    explained("EarlyStopping without validation", "val_loss", calm, CLASSES.targets(CLASSES.y), callbacks=early(), via="fit"),
    refused("A callback with hooks of test batches", "on_test_batch_end", calm, CLASSES, callbacks=lambda folder: [hooks.TestBatches()], via="fit"),
    refused("A callback that can't travel", "guard", calm, CLASSES, callbacks=lambda folder: [hooks.holding(threading.Lock())], via="fit", fast=True),
    refused("A callback's class instead of an object", "EarlyStopping", calm, CLASSES, callbacks=lambda folder: [C.EarlyStopping], via="fit"),
    refused("No callback at all", "callbacks", calm, CLASSES, callbacks=lambda folder: [print], via="fit"),
    refused("An unknown kind of callback by name", "did you mean 'EarlyStopping'", calm, CLASSES, callbacks=lambda folder: [{"kind": "EarlyStoping"}]),
    refused("An unknown option of a callback by name", "did you mean 'patience'", calm, CLASSES, callbacks=lambda folder: [{"kind": "EarlyStopping", "patiens": 3}]),
]
# fmt: on
