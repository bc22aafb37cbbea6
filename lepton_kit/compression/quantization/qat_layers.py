"""Keras layers that round as LiteRT's int8 kernels do. Importing this module loads Keras and registers them.

Ranges travel through the graph as a second tensor ``(low, high)``, so that a layer knows the scale of its input:
``scale = (high - low) / 255``. With it the layers compute on whole numbers, as the int8 kernels do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

_register = keras.saving.register_keras_serializable(package="lepton_kit")
MOMENTUM = 0.95
# The range is the mean of the samples' extremes plus this many mean absolute deviations (about 3 sigma if normal).
DEVIATIONS = 4.0
_LEVELS = 255.0  # steps of an int8 activation, -128 to 127


def weight_levels(bits: int) -> int:
    """Largest whole number of a symmetric narrow-range weight: 127, 7, 3, 1 for 8, 4, 3, 2 bits.

    >>> [weight_levels(bits) for bits in (8, 4, 3, 2)]
    [127, 7, 3, 1]
    """
    return int(2 ** (bits - 1) - 1)


def int8_parts(bits: int) -> int:
    """How many int8 steps one step of a weight of `bits` bits takes: as many as fit into 127.

    >>> [int8_parts(bits) for bits in (8, 4, 3, 2)]
    [1, 18, 42, 127]
    """
    return 127 // weight_levels(bits)


def _round(x: Any) -> Any:
    """Round to the nearest even whole number; the gradient passes as if nothing happened."""
    return x + tf.stop_gradient(tf.round(x) - x)


def _fake_quant(x: Any, low: Any, high: Any) -> Any:
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=8)


@_register
class ActivationRange(keras.layers.Layer):
    """Rounds activations to int8 within a range that follows the data; gives ``[rounded, (low, high)]``.

    Parameters
    ----------
    fixed : (low, high) where the int8 kernel prescribes the range (softmax, sigmoid, tanh), else None.
    non_negative : the range starts at 0 (after relu).

    The one variable, ``moments``, holds moving means over samples: [weight, minimum, its deviation, maximum, its
    deviation], where minimum and maximum are those of each sample. Such means of per-sample values are what makes
    data-parallel training exact: the mean over ranks, weighted by their shares of the global batch, is the mean
    over the global batch. The range in use is the one from before the step, equal on every rank. Before the first
    training step nothing is rounded.
    """

    def __init__(
        self, fixed: Any = None, non_negative: bool = False, momentum: float = MOMENTUM, **settings: Any
    ):
        super().__init__(**settings)
        self.supports_masking = True  # what is behind a mask stays so
        self.non_negative = non_negative
        self.fixed = None if fixed is None else (float(fixed[0]), float(fixed[1]))
        self.momentum = momentum
        self.exported: tuple[float, float] | None = None

    def build(self, input_shape: Any) -> None:
        """Make the variable of the moving means, unless the range is fixed."""
        if self.fixed is None:
            self.moments = self.add_weight(name="moments", shape=(5,), initializer="zeros", trainable=False)
        self.built = True

    def call(self, x: Any, training: bool = False) -> list[Any]:
        """Round ``x`` within the range; in training the range follows it, for later steps."""
        if (known := self.exported or self.fixed) is not None:
            low, high = known
            return [_fake_quant(x, low, high), tf.constant([low, high], tf.float32)]
        moments = tf.convert_to_tensor(self.moments.value)
        low, high = _range_of(moments, self.non_negative)
        rounded = tf.where(moments[0] > 0, _fake_quant(x, low, high), x)
        if training:
            self.moments.assign(self._moved(moments, x))
        return [rounded, tf.stop_gradient(tf.where(moments[0] > 0, tf.stack([low, high]), tf.zeros(2)))]

    def _moved(self, moments: Any, x: Any) -> Any:
        flat = tf.stop_gradient(tf.reshape(x, [tf.shape(x)[0], -1]))
        least, most = tf.reduce_min(flat, 1), tf.reduce_max(flat, 1)
        weight = tf.maximum(moments[0], 1e-12)
        known = tf.cast(moments[0] > 0, x.dtype)
        values = tf.stack(
            [
                tf.ones((), x.dtype),
                tf.reduce_mean(least),
                known * tf.reduce_mean(tf.abs(least - moments[1] / weight)),
                tf.reduce_mean(most),
                known * tf.reduce_mean(tf.abs(most - moments[3] / weight)),
            ]
        )
        return moments * self.momentum + values * (1 - self.momentum)

    def bounds(self) -> tuple[float, float] | None:
        """(low, high) as trained, or None before the first training step."""
        if self.fixed is not None:
            return self.fixed
        moments = np.asarray(self.moments.value)
        if moments[0] <= 0:
            return None
        low, high = _range_of(tf.constant(moments), self.non_negative)
        return float(low), float(high)

    def compute_output_shape(self, input_shape: Any) -> list[Any]:
        """The shape of ``x`` and that of the range."""
        return [input_shape, (2,)]

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the layer again from."""
        return {
            **super().get_config(),
            "fixed": self.fixed,
            "non_negative": self.non_negative,
            "momentum": self.momentum,
        }


def _range_of(moments: Any, non_negative: bool) -> tuple[Any, Any]:
    """(low, high) that hold zero, which int8 has to represent, and aren't equal."""
    means = moments / tf.maximum(moments[0], 1e-12)
    low = tf.zeros(()) if non_negative else tf.minimum(means[1] - DEVIATIONS * means[2], 0.0)
    high = tf.maximum(means[3] + DEVIATIONS * means[4], 0.0)
    return tf.stop_gradient(low), tf.stop_gradient(tf.maximum(high, low + 1e-6))


@_register
class SameRange(keras.layers.Layer):
    """Rounds averages to the range of what was averaged, as int8 pooling does; takes ``[x, (low, high)]``.

    LiteRT's kernel rounds the stored number, zero point included, half away from zero.
    """

    exported = False

    def call(self, inputs: list[Any]) -> Any:
        """``[x, (low, high)]`` to ``x`` rounded within that range."""
        x, bounds = inputs
        if self.exported:
            return x  # the converter hands the range on by itself
        known = bounds[1] > bounds[0]
        step = tf.where(known, (bounds[1] - bounds[0]) / _LEVELS, 1.0)
        zero_point = tf.round(-128.0 - bounds[0] / step)
        stored = x / step + zero_point
        # averages are multiples of 1/n, so that the small constant only decides exact halves (n below 500)
        rounded = tf.sign(stored) * tf.floor(tf.abs(stored) + 0.501)
        exact = (stored + tf.stop_gradient(rounded - stored) - zero_point) * step
        return tf.where(known, exact, x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of ``x``."""
        return input_shape[0]


_Layer: Any = keras.layers.Layer if TYPE_CHECKING else object
"""What a mixin of layers is for a type checker; at run time each quantized layer brings its own kind of layer."""


class _Quantized(_Layer):
    """What the quantized dense and convolutional layers share; takes ``[x, (low, high)]``."""

    def __init__(self, *args: Any, bits: int = 8, **settings: Any):
        super().__init__(*args, **settings)
        self.bits = bits
        self.exported: tuple[np.ndarray, np.ndarray | None] | None = None
        self.input_spec = None

    def build(self, input_shape: Any) -> None:
        super().build(input_shape[0])
        self.input_spec = None

    def compute_output_shape(self, input_shape: Any) -> Any:
        pair = isinstance(input_shape[0], (list, tuple))  # Keras' own build asks with the plain shape
        return super().compute_output_shape(input_shape[0] if pair else input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bits": self.bits}

    def call(self, inputs: list[Any]) -> Any:
        x, bounds = inputs
        if self.exported is not None:
            return self._exported_call(x, *self.exported)
        kernel = tf.convert_to_tensor(self._weights())
        scale = self._scale(kernel)
        known = bounds[1] > bounds[0]
        step = tf.where(known, (bounds[1] - bounds[0]) / _LEVELS, 1.0)
        numbers = x / step
        parts = int8_parts(self.bits)
        total = self._combine(tf.where(known, _round(numbers), numbers), _round(kernel / scale) * parts)
        unit = step * tf.reshape(scale, [-1]) / parts
        if self.bias is not None:  # an int32 in units of input step times weight step
            bias = tf.convert_to_tensor(self.bias.value) / unit
            total = total + tf.where(known, _round(bias), bias)
        return self.activation(total * unit)

    def _exported_call(self, x: Any, kernel: np.ndarray, bias: np.ndarray | None) -> Any:
        total = self._combine(x, tf.constant(kernel)) if self.bits == 8 else self._combine_few_bits(x, kernel)
        return self.activation(total if bias is None else total + tf.constant(bias))

    def grid_weights(self) -> np.ndarray:
        """The kernel on its grid: whole multiples of its channel's step."""
        kernel = tf.convert_to_tensor(self._weights())
        scale = self._scale(kernel)
        return np.asarray(tf.round(kernel / scale) * scale)

    def _weights(self) -> Any:
        return self._kernel.value

    def _scale(self, kernel: Any) -> Any:
        """Step of each output channel's grid, shaped to divide the kernel."""
        largest = tf.reduce_max(tf.abs(kernel), list(range(len(kernel.shape) - 1)), keepdims=True)
        return tf.stop_gradient(tf.maximum(largest, 1e-8) / weight_levels(self.bits))

    def _container(self, kernel: np.ndarray) -> Any:
        """The kernel with its int8 steps told to the converter, so that fewer bits stay exact in int8.

        With 8 bits the converter finds the same steps by itself. It (TensorFlow 2.21) takes told steps only where
        the kernel goes straight into a 2-D convolution: hence the detours of dense and 1-D layers.
        """
        largest = np.maximum(np.abs(kernel).reshape(-1, kernel.shape[-1]).max(0), 1e-8)
        bound = (largest / weight_levels(self.bits) / int8_parts(self.bits) * 127).astype(np.float32)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            tf.constant(kernel), -bound, bound, num_bits=8, narrow_range=True
        )


@_register
class QuantizedDense(_Quantized, keras.layers.Dense):
    """`keras.layers.Dense` whose kernel has `bits` bits per output and whose arithmetic is that of int8 kernels."""

    def _combine(self, x: Any, kernel: Any) -> Any:
        return keras.ops.matmul(x, kernel)

    def _combine_few_bits(self, x: Any, kernel: np.ndarray) -> Any:
        pixels = tf.reshape(x, [-1, 1, 1, x.shape[-1]])
        made = tf.nn.conv2d(pixels, self._container(kernel[None, None]), strides=1, padding="VALID")
        return tf.reshape(made, [-1, self.units])

    def _exported_call(self, x: Any, kernel: np.ndarray, bias: np.ndarray | None) -> Any:
        flat = x if len(x.shape) == 2 else tf.reshape(x, [-1, x.shape[-1]])  # or the bias would not fuse
        made = super()._exported_call(flat, kernel, bias)
        return made if len(x.shape) == 2 else tf.reshape(made, [-1, *x.shape[1:-1], self.units])


@_register
class QuantizedConv1D(_Quantized, keras.layers.Conv1D):
    """`keras.layers.Conv1D` whose kernel has `bits` bits per filter and whose arithmetic is that of int8 kernels."""

    def _combine(self, x: Any, kernel: Any) -> Any:
        padding = "valid" if self.padding == "causal" else self.padding
        return keras.ops.conv(
            self._padded(x),
            kernel,
            strides=list(self.strides),
            padding=padding,
            dilation_rate=self.dilation_rate,
        )

    def _padded(self, x: Any) -> Any:
        if self.padding != "causal":
            return x
        left = self.dilation_rate[0] * (self.kernel_size[0] - 1)
        return keras.ops.pad(x, [[0, 0], [left, 0], [0, 0]])

    def _combine_few_bits(self, x: Any, kernel: np.ndarray) -> Any:
        made = tf.nn.conv2d(
            tf.expand_dims(self._padded(x), 1),
            self._container(kernel[None]),
            strides=[1, 1, self.strides[0], 1],
            padding="SAME" if self.padding == "same" else "VALID",
            dilations=[1, 1, self.dilation_rate[0], 1],
        )
        return tf.squeeze(made, 1)


@_register
class QuantizedConv2D(_Quantized, keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose kernel has `bits` bits per filter and whose arithmetic is that of int8 kernels."""

    def _combine(self, x: Any, kernel: Any) -> Any:
        return self.convolution_op(x, kernel)

    def _combine_few_bits(self, x: Any, kernel: np.ndarray) -> Any:
        return self.convolution_op(x, self._container(kernel))


class _Depthwise(_Quantized):
    """A depthwise convolution with the arithmetic of int8 kernels, always of 8 bits.

    Its kernels are few, suffer most from fewer bits, and the converter takes no told steps for them.
    """

    def __init__(self, *args: Any, bits: int = 8, **settings: Any):
        super().__init__(*args, bits=8, **settings)

    def _weights(self) -> Any:
        *size, channels, multiplier = self.kernel.shape
        return tf.reshape(self.kernel.value, [*size, 1, channels * multiplier])

    def _combine(self, x: Any, kernel: Any) -> Any:
        return keras.ops.depthwise_conv(
            x,
            tf.reshape(kernel, self.kernel.shape),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@_register
class QuantizedDepthwiseConv1D(_Depthwise, keras.layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D` with 8 bits."""


@_register
class QuantizedDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with 8 bits."""


class _Transposed(_Quantized):
    """A transposed convolution with the arithmetic of int8 kernels, always of 8 bits: the converter takes no told steps."""

    def __init__(self, *args: Any, bits: int = 8, **settings: Any):
        super().__init__(*args, bits=8, **settings)

    def _weights(self) -> Any:
        return self.kernel.value

    def _scale(self, kernel: Any) -> Any:
        *size, _, inputs = range(len(kernel.shape))  # it ends in (outputs, inputs)
        largest = tf.reduce_max(tf.abs(kernel), [*size, inputs], keepdims=True)
        return tf.stop_gradient(tf.maximum(largest, 1e-8) / weight_levels(self.bits))

    def _combine(self, x: Any, kernel: Any) -> Any:
        return keras.ops.conv_transpose(
            x,
            kernel,
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@_register
class QuantizedConv1DTranspose(_Transposed, keras.layers.Conv1DTranspose):
    """`keras.layers.Conv1DTranspose` with 8 bits."""


@_register
class QuantizedConv2DTranspose(_Transposed, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with 8 bits."""


QUANTIZED: dict[str, Any] = {
    "Dense": QuantizedDense,
    "Conv1D": QuantizedConv1D,
    "Conv2D": QuantizedConv2D,
    "DepthwiseConv1D": QuantizedDepthwiseConv1D,
    "DepthwiseConv2D": QuantizedDepthwiseConv2D,
    "Conv1DTranspose": QuantizedConv1DTranspose,
    "Conv2DTranspose": QuantizedConv2DTranspose,
}
