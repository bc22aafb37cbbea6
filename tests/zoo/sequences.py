"""Kinds of the zoo: networks for sequences, recurrent ones and attention."""

from __future__ import annotations

from typing import Any

from tests.zoo.registry import IDS, kind, line


@kind
def Conv1D() -> Any:
    from keras import Input, layers

    return line(
        Input((12, 4)), layers.Conv1D(8, 3, padding="causal", activation="relu"), layers.MaxPooling1D(),
        layers.GlobalAveragePooling1D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def open_length() -> Any:
    from keras import Input, layers

    return line(
        Input((None, 4)),
        layers.Conv1D(8, 3, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(3, activation="softmax"),
    )


def _recurrent(layer: Any, shape: tuple[Any, ...] = (8, 4), *before: Any) -> Any:
    import keras

    return line(keras.Input(shape), *before, layer, keras.layers.Dense(3, activation="softmax"))


@kind
def LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8))


@kind
def GRU() -> Any:
    from keras import layers

    return _recurrent(layers.GRU(8))


@kind
def simple_RNN() -> Any:
    from keras import layers

    return _recurrent(layers.SimpleRNN(8))


@kind
def stacked_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8), (8, 4), layers.LSTM(8, return_sequences=True))


@kind
def bidirectional_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.Bidirectional(layers.LSTM(6)))


@kind
def RNN_of_cells() -> Any:
    from keras import layers

    return _recurrent(layers.RNN([layers.GRUCell(6), layers.GRUCell(6)]))


@kind
def long_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8), (100, 2))


@kind
def open_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8), (None, 4))


@kind
def stateful_LSTM() -> Any:
    import keras
    from keras import layers

    x = keras.Input(batch_shape=(24, 8, 4))
    return keras.Model(
        x, layers.Dense(3, activation="softmax")(layers.LSTM(8, stateful=True, name="memory")(x))
    )


@kind
def time_distributed() -> Any:
    from keras import Input, layers

    return line(
        Input((5, 8, 8, 1)), layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
        layers.TimeDistributed(layers.GlobalAveragePooling2D()), layers.LSTM(6), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def label_a_step() -> Any:
    from keras import Input, layers

    return line(
        Input((8, 4)), layers.Bidirectional(layers.GRU(6, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(3, activation="softmax")),
    )  # fmt: skip


@kind
def masked_LSTM() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="masked_ids", dtype="int32")
    y = layers.LSTM(8)(layers.Embedding(IDS, 8, mask_zero=True)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def masked_label_a_step() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="masked_ids", dtype="int32")
    y = layers.Bidirectional(layers.GRU(6, return_sequences=True))(
        layers.Embedding(IDS, 8, mask_zero=True)(x)
    )
    return keras.Model(x, layers.TimeDistributed(layers.Dense(3, activation="softmax"))(y))


@kind
def masked_steps() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10, 4), name="masked_steps")
    y = layers.RNN([layers.LSTMCell(6), layers.SimpleRNNCell(6)])(layers.Masking()(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def masked_encoder_and_decoder() -> Any:
    import keras
    from keras import layers

    x = keras.Input((6,), name="masked_ids", dtype="int32")
    begun = keras.Input((6,), name="masked_begun_ids", dtype="int32")
    table = layers.Embedding(IDS, 8, mask_zero=True)
    _, *state = layers.LSTM(8, return_state=True)(table(x))
    y = layers.LSTM(8, return_sequences=True)(table(begun), initial_state=state)
    return keras.Model([x, begun], layers.Dense(3, activation="softmax")(y))


@kind
def nested_recurrent() -> Any:
    import keras
    from keras import layers

    inner = line(keras.Input((8, 4)), layers.LSTM(8), name="inner")
    return line(keras.Input((8, 4)), inner, layers.Dense(3, activation="softmax"))


@kind
def embedding() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="ids", dtype="int32")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(IDS, 8)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def embedding_of_float_ids() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="float_ids")
    y = layers.Conv1D(8, 3, activation="relu")(layers.Embedding(IDS, 8)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling1D()(y)))


@kind
def attention() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,), name="ids", dtype="int32")
    e = layers.Embedding(IDS, 8)(x)
    a = layers.LayerNormalization()(layers.Add()([e, layers.MultiHeadAttention(2, 4)(e, e)]))
    f = layers.Dense(8)(layers.Dense(16, activation="gelu")(a))
    y = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(layers.Add()([a, f])))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))
