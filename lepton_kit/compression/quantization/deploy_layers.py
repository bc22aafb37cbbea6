"""Keras layers that exist only while a model is converted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

_Layer: Any = keras.layers.Layer if TYPE_CHECKING else object
_register = keras.saving.register_keras_serializable(package="lepton_kit")


class StaticFlatten(keras.layers.Layer):
    """Flatten to a size that is known beforehand, as one reshape; input ``(batch, …)``, output ``(batch, size)``."""

    def __init__(self, size: int, **keywords: Any):
        super().__init__(**keywords)
        self.size = size

    def call(self, inputs: Any) -> Any:
        """The same numbers in rows."""
        return tf.reshape(inputs, (-1, self.size))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """``(batch, size)``."""
        return (input_shape[0], self.size)


class LookupEmbedding(keras.layers.Embedding):
    """An embedding that becomes LiteRT's EMBEDDING_LOOKUP, which may hold its table in 4 bits; GATHER may not.

    The converter knows the operation by the attribute of the function, with these two arguments in this order
    (``PrepareCompositeFunctionsPass`` in TensorFlow's source).
    """

    def call(self, inputs: Any) -> Any:
        """Ids of shape ``(batch, length)`` to rows of shape ``(batch, length, output_dim)``."""
        table = tf.convert_to_tensor(self.embeddings)
        ids = tf.reshape(tf.cast(inputs, tf.int32), (-1,))
        signature = [tf.TensorSpec(table.shape, table.dtype), tf.TensorSpec((None,), tf.int32)]

        @tf.function(experimental_implements="embedding_matmul", input_signature=signature)
        def lookup(table: Any, ids: Any) -> Any:
            return tf.gather(table, ids)

        return tf.reshape(lookup(table, ids), (-1, *inputs.shape[1:], self.output_dim))


class FoldedTime(keras.layers.Layer):
    """A layer that is applied to every time step: the steps are put into the batch and back, as two reshapes."""

    def __init__(self, layer: Any, **keywords: Any):
        super().__init__(**keywords)
        self.layer = layer
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """The inner layer sees no time."""
        self.layer.build((input_shape[0], *input_shape[2:]))

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Shape ``(batch, steps, …)`` to ``(batch, steps, …)``."""
        steps, inner = inputs.shape[1], tuple(inputs.shape[2:])
        found = self.layer(tf.reshape(inputs, (-1, *inner)))
        return tf.reshape(found, (-1, steps, *found.shape[1:]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The inner layer's shape with the steps before it."""
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (input_shape[0], input_shape[1], *inner[1:])


class Encoding(keras.layers.Layer):
    """`keras.layers.CategoryEncoding` on whole numbers, ids of shape ``(batch, …, n)``: Keras makes floating point numbers of
    the ids first, which int8 rounds, and counts with an operation that LiteRT doesn't have."""

    def __init__(self, num_tokens: int, output_mode: str, **keywords: Any):
        super().__init__(**keywords)
        self.num_tokens, self.output_mode = num_tokens, output_mode

    def call(self, inputs: Any) -> Any:
        """Zeros and ones, or counts, in a last axis of ``num_tokens``."""
        found = one_hot_by_comparison(inputs, self.num_tokens, dtype=self.compute_dtype)
        if self.output_mode == "one_hot":
            return tf.squeeze(found, -2) if inputs.shape[-1] == 1 else found
        return tf.reduce_max(found, -2) if self.output_mode == "multi_hot" else tf.reduce_sum(found, -2)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of Keras' layer."""
        kept = input_shape[:-1] if self.output_mode != "one_hot" or input_shape[-1] == 1 else input_shape
        return (*kept, self.num_tokens)


_ONE_HOT = tf.one_hot


def one_hot_by_comparison(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: int | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> Any:
    """`tf.one_hot` as a comparison with 0, 1, 2, …: LiteRT's int8 ONE_HOT writes ones and zeros in another scale than the
    one that the next operation reads.

    >>> one_hot_by_comparison(tf.constant([2, 0]), 3).numpy().tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    rank = getattr(indices.shape, "rank", None)
    if rank is None or not isinstance(depth, int) or on_value is not None or off_value is not None:
        return _ONE_HOT(indices, depth, on_value, off_value, axis, dtype, name)
    place = (-1 if axis is None else axis) % (rank + 1)
    sizes = [depth if one == place else 1 for one in range(rank + 1)]
    numbers = tf.reshape(tf.range(depth, dtype=tf.int32), sizes)
    return tf.cast(tf.expand_dims(tf.cast(indices, tf.int32), place) == numbers, dtype or tf.float32)


@contextlib.contextmanager
def one_hot_compares() -> Iterator[None]:
    """Meanwhile `tf.one_hot`, which Keras calls too, is `one_hot_by_comparison`."""
    tf.one_hot = one_hot_by_comparison
    try:
        yield
    finally:
        tf.one_hot = _ONE_HOT


class _GroupsApart(_Layer):
    """A convolution in groups as one of each: Keras compiles it in a way that ONNX has no operation for."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Channels last, as everywhere here."""
        if kernel.shape[-2] == 1 and len(self.kernel_size) < 3:  # each channel by itself
            deep = tf.reshape(kernel, [*self.kernel_size, self.groups, self.filters // self.groups])
            return keras.ops.depthwise_conv(
                inputs, deep, self.strides, self.padding, dilation_rate=self.dilation_rate
            )
        pieces = zip(tf.split(inputs, self.groups, -1), tf.split(kernel, self.groups, -1), strict=True)
        found = [
            keras.ops.conv(one, part, list(self.strides), self.padding, dilation_rate=self.dilation_rate)
            for one, part in pieces
        ]
        return tf.concat(found, -1)


class GroupsApartConv1D(_GroupsApart, keras.layers.Conv1D):
    """`keras.layers.Conv1D`, each group by itself."""


class GroupsApartConv2D(_GroupsApart, keras.layers.Conv2D):
    """`keras.layers.Conv2D`, each group by itself."""


class GroupsApartConv3D(_GroupsApart, keras.layers.Conv3D):
    """`keras.layers.Conv3D`, each group by itself."""


GROUPS_APART = {"Conv1D": GroupsApartConv1D, "Conv2D": GroupsApartConv2D, "Conv3D": GroupsApartConv3D}


class PairedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that computes two neighbouring columns at once, each number the same.

    An int8 kernel takes as long for one input channel as for four (on AMX for 64), so columns are taken as channels in pairs:
    (height, width, channels) is (height, width / 2, 2 channels), which costs no copy. Half as many places have half
    as many columns of the kernel, or little more, each with some zeros.
    """

    def call(self, inputs: Any) -> Any:
        """Shape (samples, height, width, channels), the width even before and after."""
        rows, columns, channels, filters = self.kernel.shape
        same = self.padding == "same"
        left = columns // 2 if same else 0  # so many columns of padding
        blocks = 2 * -(-left // 2) + 1 if same else (columns + 1) // 2
        shift = left % 2  # of the kernel's first column within its block
        halves = []
        for place in (0, 1):
            before = place + shift
            after = 2 * blocks - columns - before
            wide = tf.pad(self.kernel, [[0, 0], [before, after], [0, 0], [0, 0]])
            halves.append(tf.reshape(wide, (rows, blocks, 2 * channels, filters)))
        _, height, width, _ = inputs.shape
        pairs = tf.reshape(inputs, (-1, height, width // 2, 2 * channels))
        found = tf.nn.conv2d(pairs, tf.concat(halves, -1), 1, self.padding.upper())
        if self.use_bias:
            found += tf.concat([self.bias, self.bias], 0)
        _, height, width, _ = found.shape
        return tf.reshape(self.activation(found), (-1, height, 2 * width, filters))


PAIRED_CHANNELS, PAIRED_ACTIVATIONS = 2, ("relu", "relu6", "sigmoid", "silu", "tanh")


def can_pair(layer: Any) -> bool:
    """Whether a layer can be a `PairedConv2D` and gains by it: few channels, even widths, odd kernels without steps.

    Without an activation batch normalisation may follow, which the converter could not fold through the reshape.
    """
    if type(layer) is not keras.layers.Conv2D or layer.data_format != "channels_last" or layer.groups > 1:
        return False
    taken, made = layer.input.shape, layer.output.shape
    return (
        taken[-1] <= PAIRED_CHANNELS
        and None not in taken[1:]
        and taken[2] % 2 == made[2] % 2 == 0
        and layer.kernel_size[1] % 2 == 1
        and layer.kernel_size[1] > 1
        and tuple(layer.strides) == tuple(layer.dilation_rate) == (1, 1)
        and getattr(layer.activation, "__name__", "") in PAIRED_ACTIVATIONS
    )


class Affine(keras.layers.Layer):
    """Scaling by constants: ``x * scale + offset``; what a normalization with known figures is."""

    def __init__(self, scale: Any, offset: Any, **keywords: Any):
        super().__init__(**keywords)
        self.scale, self.offset = scale, offset
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """The same shape."""
        kind = self.compute_dtype
        return tf.cast(inputs, kind) * tf.constant(self.scale, kind) + tf.constant(self.offset, kind)


def gelu_of_erf(x: Any) -> Any:
    """GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415) by erf, which ONNX has; TensorFlow's own takes erfc."""
    return 0.5 * x * (1.0 + tf.math.erf(x * 0.7071067811865476))


# TensorFlow computes the next three by exp(x) of positive x too: one large x makes int8 steps so wide that all of the
# curve below 1 is lost (SELU came out as a step function). Here everything stays within twice the range of x, or 0 to 1.
# The sign comes from abs, because int8 gives a minimum's argument the range of its result: whatever is above is cut off.
def selu(x: Any) -> Any:
    """SELU (Klambauer et al. 2017, arXiv:1706.02515)."""
    size = tf.abs(x)
    return 0.52535049366774 * (x + size) + 1.7580993408473766 * (tf.exp(0.5 * (x - size)) - 1.0)


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``."""
    size = tf.abs(x)
    return 0.5 * (x + size) - tf.math.log(tf.sigmoid(size))


def mish(x: Any) -> Any:
    """Mish (Misra 2019, arXiv:1908.08681)."""
    return x * tf.tanh(softplus(x))


class _MaskedSteps(_Layer):
    """A recurrent layer that is unrolled behind a mask in a form that int8 kernels run.

    Keras selects between the new and the old state, which gives both one range. The old state of the first step is zero,
    so that what its weights make of it has no range at all: XNNPACK refuses a product whose step is a millionth of its
    input's. Here the first step multiplies the new state by the mask instead; from the second on it is Keras' own.
    """

    from_zero = False

    def get_initial_state(self, batch_size: Any) -> Any:
        """Zeros, if nothing else was given."""
        self.from_zero = True
        return super().get_initial_state(batch_size)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """(last output, outputs, states), as Keras' layer gives them."""
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        if mask is None or not self.from_zero:
            return super().inner_loop(sequences, initial_state, mask, training)
        pieces = list(zip(tf.unstack(sequences, axis=1), tf.unstack(mask, axis=1), strict=True))
        states, output, outputs = list(initial_state), None, []
        for piece, counts in reversed(pieces) if self.go_backwards else pieces:
            made, after = self.cell(piece, states)
            after = after if isinstance(after, list | tuple) else [after]
            if output is None:
                first = [_counted(one, counts) for one in tf.nest.flatten([made, after])]
                output, states = tf.nest.pack_sequence_as([made, after], first)
            else:
                output = _chosen(counts, made, output)
                states = tf.nest.map_structure(
                    lambda new, old, at=counts: _chosen(at, new, old), after, states
                )
            outputs.append(_counted(output, counts) if self.zero_output_for_mask else output)
        return (
            outputs[-1],
            tf.stack(outputs, axis=1) if self.return_sequences else outputs[-1][:, None],
            states,
        )


def _counted(x: Any, counts: Any) -> Any:
    """Zero where a step does not count: shape ``(batch, …)`` and ``(batch,)``."""
    return x * tf.cast(_wide(counts, x), x.dtype)


def _chosen(counts: Any, new: Any, old: Any) -> Any:
    return tf.where(_wide(counts, new), new, old)


def _wide(counts: Any, x: Any) -> Any:
    return tf.reshape(counts, (-1, *[1] * (len(x.shape) - 1)))


@_register
class MaskedStepsLSTM(_MaskedSteps, keras.layers.LSTM):
    """`keras.layers.LSTM`, unrolled behind a mask."""


@_register
class MaskedStepsGRU(_MaskedSteps, keras.layers.GRU):
    """`keras.layers.GRU`, unrolled behind a mask."""


@_register
class MaskedStepsSimpleRNN(_MaskedSteps, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN`, unrolled behind a mask."""


@_register
class MaskedStepsRNN(_MaskedSteps, keras.layers.RNN):
    """`keras.layers.RNN`, unrolled behind a mask."""


MASKED_STEPS: dict[str, Any] = {
    "LSTM": MaskedStepsLSTM,
    "GRU": MaskedStepsGRU,
    "SimpleRNN": MaskedStepsSimpleRNN,
    "RNN": MaskedStepsRNN,
}
"""Keras' recurrent layers by name, in this form."""
