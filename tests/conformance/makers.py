"""Small models as people bring them, and the rows they train on; everything smooth, from fixed seeds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tests.conformance.table import Data

L, K, O = keras.layers, keras.ops, keras.optimizers  # noqa: E741  # short names for a table of one-line cases
RNG = np.random.default_rng(0)
ROWS, HELD = 37, 15
"""37 rows in batches of 12 leave a last batch of one row, so that all ranks but one have nothing to do in it."""


def normal(*shape: int) -> np.ndarray:
    """float32 numbers around 0."""
    return RNG.normal(size=shape).astype("float32")


def whole(high: int, *shape: int) -> np.ndarray:
    """Whole numbers below ``high``, each of them there."""
    values = RNG.integers(0, high, shape)
    values.ravel()[:high] = np.arange(high)
    return values.astype("int32")


def rows(make: Any, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation rows of one kind."""
    return make(ROWS, *shape), make(HELD, *shape)


def data(x: tuple[Any, Any], y: tuple[Any, Any] | None) -> Data:
    """Rows of inputs and targets, each (training, validation)."""
    return Data(x=x[0], y=y and y[0], vx=x[1], vy=y and y[1])


def classes(high: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    return whole(high, ROWS, *shape), whole(high, HELD, *shape)


def one_hot(labels: tuple[np.ndarray, np.ndarray], depth: int, dtype: str = "float32") -> Any:
    return tuple(np.eye(depth, dtype=dtype)[part] for part in labels)


def shares(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in 0.05 … 0.95."""
    return tuple(RNG.uniform(0.05, 0.95, (n, *shape)).astype("float32") for n in (ROWS, HELD))  # type: ignore[return-value]  # two parts, as two sizes go in


FEATURES = rows(normal, 8)
LABELS = classes(3)
CLASSES = data(FEATURES, LABELS)
VALUES = data(FEATURES, rows(normal, 1))
VECTORS = data(FEATURES, rows(normal, 3))
BINARY = data(FEATURES, tuple(part[:, None].astype("float32") for part in classes(2)))
ONE_HOT = data(FEATURES, one_hot(LABELS, 3))
SHARES = data(FEATURES, shares(3))
MULTILABEL = data(FEATURES, tuple(part.astype("float32") for part in classes(2, 3)))
SIGNS = data(FEATURES, tuple((2 * part[:, None] - 1).astype("float32") for part in classes(2)))
IMAGES = rows(normal, 8, 8, 1)
PICTURES = data(IMAGES, LABELS)
PIXELS = data(IMAGES, classes(3, 8, 8))
MASKS = data(IMAGES, tuple(part[..., None].astype("float32") for part in classes(2, 8, 8)))
SERIES = data(rows(normal, 10, 4), LABELS)
TOKENS = data(classes(20, 10), LABELS)
TAGS = data(TOKENS.x is not None and (TOKENS.x, TOKENS.vx), classes(3, 10))
ALONE = data(FEATURES, None)
SELF = data(FEATURES, FEATURES)


def padded(part: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """Sequences that end early: everything after a length of 1 … all is 0."""
    part = part.copy()
    lengths = RNG.integers(1, part.shape[1] + 1, len(part))
    part[np.arange(part.shape[1])[None] >= lengths[:, None]] = empty
    return part


PADDED = data((padded(SERIES.x), padded(SERIES.vx)), classes(3, 10))
PADDED_LABELS = data((PADDED.x, PADDED.vx), LABELS)
PADDED_TOKENS = data((padded(TOKENS.x), padded(TOKENS.vx)), (TAGS.y, TAGS.vy))


def ce(**options: Any) -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def compiled(model: Any, loss: Any = None, optimizer: Any = None, **options: Any) -> Any:
    """The model, compiled with a plain optimizer unless another is given."""
    model.compile(optimizer=optimizer or O.SGD(0.1), loss=loss, **options)
    return model


def stack(
    *layers: Any,
    shape: tuple[int | None, ...] = (8,),
    loss: Any = None,
    optimizer: Any = None,
    dtype: Any = None,
    **options: Any,
) -> Any:
    """A compiled Sequential of these layers; sparse cross-entropy on logits unless a loss is given."""
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *layers])
    return compiled(model, ce() if loss is None else loss, optimizer, **options)


def mlp(loss: Any = None, out: int = 3, act: Any = None, optimizer: Any = None, **options: Any) -> Any:
    """Eight features, sixteen tanh units, some outputs; metrics and the like go to compile."""
    return stack(
        L.Dense(16, activation="tanh"),
        L.Dense(out, activation=act),
        loss=loss,
        optimizer=optimizer,
        **options,
    )


def optimized(optimizer: Any, **options: Any) -> Any:
    """The classifier that every optimizer trains."""
    return mlp(optimizer=optimizer, metrics=["accuracy"], **options)


def rounded(optimizer: Any) -> Any:
    """The same for formats of few digits: no accuracy, which jumps by a whole sample where rounding decides."""
    return mlp(optimizer=optimizer, metrics=[keras.metrics.SparseCategoricalCrossentropy(from_logits=True)])


def regressor(loss: Any = "mse", out: int = 1, **options: Any) -> Any:
    return mlp(loss, out, **options)


def functional(inputs: Any, outputs: Any, loss: Any = None, optimizer: Any = None, **options: Any) -> Any:
    return compiled(keras.Model(inputs, outputs), loss, optimizer, **options)


def two_outputs(loss: Any, optimizer: Any = None, kind: type = dict, **options: Any) -> Any:
    """One trunk; output a has 3 logits, output b one number."""
    inputs = keras.Input((8,))
    trunk = L.Dense(12, activation="tanh")(inputs)
    a, b = L.Dense(3, name="a")(trunk), L.Dense(1, name="b")(trunk)
    return functional(inputs, {"a": a, "b": b} if kind is dict else [a, b], loss, optimizer, **options)


TWO = Data(FEATURES[0], {"a": LABELS[0], "b": VALUES.y}, vx=FEATURES[1], vy={"a": LABELS[1], "b": VALUES.vy})
TWO_LIST = Data(FEATURES[0], [LABELS[0], VALUES.y], vx=FEATURES[1], vy=[LABELS[1], VALUES.vy])
TWO_LOSSES = {"a": ce(), "b": "mse"}


def two_inputs(kind: type = dict) -> Any:
    """Two inputs, named left and right, into one regression."""
    left, right = keras.Input((8,), name="left"), keras.Input((4,), name="right")
    joined = L.Concatenate()([L.Dense(6, activation="tanh")(left), L.Dense(6, activation="tanh")(right)])
    return functional(
        {"left": left, "right": right} if kind is dict else [left, right], L.Dense(1)(joined), "mse"
    )


RIGHT = rows(normal, 4)
BOTH = Data(
    {"left": FEATURES[0], "right": RIGHT[0]},
    VALUES.y,
    vx={"left": FEATURES[1], "right": RIGHT[1]},
    vy=VALUES.vy,
)
BOTH_LIST = Data([FEATURES[0], RIGHT[0]], VALUES.y, vx=[FEATURES[1], RIGHT[1]], vy=VALUES.vy)


def pretrained(model: Any, given: Data = CLASSES, epochs: int = 2) -> Any:
    """A model that plain Keras has already trained, in another batch size."""
    model.fit(given.x, given.y, batch_size=10, epochs=epochs, verbose=0, shuffle=False)
    return model
