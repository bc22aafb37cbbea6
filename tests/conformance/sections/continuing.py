"""Models that were trained before: by plain Keras, by a run, in part, with their optimizer's state or without."""

from __future__ import annotations

import functools
import tempfile

import keras

import lepton_kit as lk
from tests.conformance.makers import (
    CLASSES,
    TOKENS,
    VALUES,
    L,
    O,
    ce,
    compiled,
    mlp,
    pretrained,
    regressor,
    stack,
)
from tests.conformance.table import Data, exact

TITLE = "Trained before"
S = O.schedules
OTHER = Data(CLASSES.x[::-1].copy(), CLASSES.y[::-1].copy(), vx=CLASSES.vx, vy=CLASSES.vy)


def adam(**options):
    return mlp(optimizer=O.Adam(1e-2), metrics=["accuracy"], **options)


def anew(model, optimizer):
    """The same weights, compiled with an optimizer that has seen nothing."""
    return compiled(model, ce(), optimizer, metrics=["accuracy"])


@functools.cache
def finished_run():
    folder = tempfile.mkdtemp(prefix="lepton-conformance-")
    source = lk.data.arrays(CLASSES.x, CLASSES.y, validation_split=0.0)
    return lk.launch(adam(), source, workers=2, global_batch=10, epochs=2, threads=1, runs_dir=folder).wait(
        240
    )


def slower():
    model = pretrained(adam())
    model.optimizer.learning_rate = 1e-3
    return model


def tuned():
    """A trained base, frozen, under a new head."""
    base = pretrained(stack(L.Dense(8, activation="tanh"), L.Dense(3)))
    base.layers[0].trainable = False
    return stack(base.layers[0], L.Dense(3), optimizer=O.Adam(1e-2))


def thawed():
    """Fine-tuning as in Keras' guide: first the head alone, then everything, compiled again."""
    model = tuned()
    model.fit(CLASSES.x, CLASSES.y, batch_size=10, epochs=1, verbose=0, shuffle=False)
    model.layers[0].trainable = True
    return compiled(model, ce(), O.Adam(1e-3))


# fmt: off
SITUATIONS = [
    exact("Trained by fit before, Adam's moments kept", lambda: pretrained(adam()), CLASSES, fast=True),
    exact("Trained for longer before than now", lambda: pretrained(adam(), epochs=5), CLASSES),
    exact("Trained by fit before, plain SGD", lambda: pretrained(mlp()), CLASSES),
    exact("Trained before on other data", lambda: pretrained(adam(), OTHER), CLASSES),
    exact("A finished run's model, trained on", lambda: finished_run().model(), CLASSES),
    exact("A finished run's model, other data", lambda: finished_run().model(), OTHER),
    exact('optimizer_state="reset"', lambda: pretrained(adam()), CLASSES, options={"optimizer_state": "reset"}, reference=lambda: anew(pretrained(adam()), O.Adam(1e-2))),
    exact('optimizer_state="reset" starts a schedule again', lambda: pretrained(mlp(metrics=["accuracy"], optimizer=O.SGD(S.ExponentialDecay(0.2, 2, 0.7)))), CLASSES, options={"optimizer_state": "reset"}, reference=lambda: anew(pretrained(mlp(optimizer=O.SGD(S.ExponentialDecay(0.2, 2, 0.7)))), O.SGD(S.ExponentialDecay(0.2, 2, 0.7)))),
    exact("A schedule goes on where it was", lambda: pretrained(mlp(optimizer=O.SGD(S.CosineDecay(0.2, 20)))), CLASSES),
    exact("Another optimizer by name for a trained model", lambda: pretrained(adam()), CLASSES, options={"optimizer": "sgd", "learning_rate": 0.05}, reference=lambda: anew(pretrained(adam()), O.SGD(0.05))),
    exact("A lower learning rate set by hand", slower, CLASSES),
    exact("learning_rate of launch for a trained model", lambda: pretrained(adam()), CLASSES, options={"learning_rate": 2e-3}, reference=lambda: _rate(pretrained(adam()), 2e-3)),
    exact("Trained in the midst of gradient accumulation", lambda: pretrained(mlp(optimizer=O.SGD(0.1, gradient_accumulation_steps=3))), CLASSES),
    exact("Trained with use_ema before", lambda: pretrained(mlp(optimizer=O.SGD(0.1, use_ema=True, ema_momentum=0.9))), CLASSES),
    exact("Trained embedding, Adam", lambda: pretrained(stack(L.Embedding(20, 6), L.Flatten(), L.Dense(3), shape=(10,), dtype="int32", optimizer=O.Adam(1e-2)), TOKENS), TOKENS),
    exact("A frozen base under a new head", tuned, CLASSES),
    exact("A base that is thawed for fine-tuning", thawed, CLASSES),
    exact("Weights loaded from a file", lambda: _loaded(), CLASSES),
    exact("A model read by load_model, optimizer and all", lambda: _read(), CLASSES),
    exact("A copy by clone_model with its weights", lambda: _cloned(), CLASSES),
    exact("lk.fit on a trained model", lambda: pretrained(adam()), CLASSES, via="fit"),
    exact("lk.fit on a trained regression, RMSprop", lambda: pretrained(regressor(optimizer=O.RMSprop(1e-2)), VALUES), VALUES, via="fit"),
]
# fmt: on


def _rate(model, rate):
    model.optimizer.learning_rate = rate
    return model


def _loaded():
    model, other = adam(), pretrained(adam())
    with tempfile.TemporaryDirectory() as folder:
        other.save_weights(f"{folder}/a.weights.h5")
        model.load_weights(f"{folder}/a.weights.h5")
    return model


def _read():
    with tempfile.TemporaryDirectory() as folder:
        pretrained(adam()).save(f"{folder}/a.keras")
        return keras.saving.load_model(f"{folder}/a.keras")


def _cloned():
    model = pretrained(adam())
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return anew(copy, O.Adam(1e-2))
