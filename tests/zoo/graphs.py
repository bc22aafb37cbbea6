"""Kinds of the zoo: several inputs and outputs, shared layers, nested models, operations."""

from __future__ import annotations

from typing import Any

from tests.zoo.registry import IDS, kind, line


@kind
def several_inputs() -> Any:
    import keras
    from keras import layers

    image, columns = keras.Input((8, 8, 1), name="image"), keras.Input((5,), name="columns")
    y = layers.Concatenate()([layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image)), columns])
    return keras.Model({"image": image, "columns": columns}, layers.Dense(3, activation="softmax")(y))


@kind
def several_outputs() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,))
    y = layers.Dense(16, activation="relu")(x)
    return keras.Model(
        x, [layers.Dense(3, activation="softmax", name="which")(y), layers.Dense(1, name="much")(y)]
    )


@kind
def several_of_both() -> Any:
    import keras
    from keras import layers

    a, ids = keras.Input((6,), name="a"), keras.Input((4,), name="ids", dtype="int32")
    y = layers.Concatenate()(
        [layers.Dense(8, activation="relu")(a), layers.Flatten()(layers.Embedding(IDS, 4)(ids))]
    )
    return keras.Model(
        [a, ids],
        [layers.Dense(1, name="z_first")(y), layers.Dense(4, activation="softmax", name="a_second")(y)],
    )


@kind
def shared_layer() -> Any:
    import keras
    from keras import layers

    a, b = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    shared = layers.Dense(8, activation="relu")
    y = layers.Subtract()([shared(a), shared(b)])
    return keras.Model([a, b], layers.Dense(1, activation="sigmoid")(y))


@kind
def nested_model() -> Any:
    import keras
    from keras import layers

    inner = line(
        keras.Input((8, 8, 3)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), name="inner"
    )
    return line(keras.Input((8, 8, 3)), inner, layers.Dense(3, activation="softmax"))


@kind
def operations_in_the_graph() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,))
    y = keras.ops.concatenate([keras.ops.sin(x), x**2, keras.ops.mean(x, axis=-1, keepdims=True)], axis=-1)
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.Dense(16, activation="relu")(y)))


# Kernels of 1,024 weights and more: of smaller ones the converter rounds none in dynamic_int8.
@kind
def wide_dense() -> Any:
    import keras
    from keras import layers

    return line(
        keras.Input((64,)), layers.Dense(64, activation="relu"), layers.Dense(64, activation="gelu"),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def wide_convolutions() -> Any:
    import keras
    from keras import layers

    return line(
        keras.Input((8, 8, 16)), layers.Conv2D(16, 3, activation="relu"), layers.SeparableConv2D(64, 3, activation="relu"),
        layers.Conv2DTranspose(16, 3, strides=2), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def wide_text() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="masked_ids", dtype="int32")
    y = layers.Bidirectional(layers.LSTM(32))(layers.Embedding(IDS, 64, mask_zero=True)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def wide_and_deep() -> Any:
    import keras
    from keras import layers

    numbers, ids = keras.Input((5,), name="numbers"), keras.Input((1,), dtype="int32", name="ids")
    wide = layers.Concatenate()([numbers, layers.CategoryEncoding(IDS, output_mode="one_hot")(ids)])
    deep = layers.Concatenate()([numbers, layers.Flatten()(layers.Embedding(IDS, 4)(ids))])
    deep = layers.Dense(8, activation="relu")(deep)
    y = layers.Add()([layers.Dense(1)(wide), layers.Dense(1)(deep)])
    return keras.Model([numbers, ids], layers.Activation("sigmoid")(y))


@kind
def several_categories() -> Any:
    import keras
    from keras import layers

    ids = keras.Input((6,), dtype="int32", name="ids")
    parts = [layers.CategoryEncoding(IDS, output_mode=mode)(ids) for mode in ("multi_hot", "count")]
    parts.append(layers.Flatten()(keras.ops.one_hot(ids, IDS)))
    return keras.Model(ids, layers.Dense(3, activation="softmax")(layers.Concatenate()(parts)))
