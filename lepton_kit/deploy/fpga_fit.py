"""Which layers are not handed to hls4ml, read from a model's settings alone: those it would build into something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lepton_kit.errors import CompressionError

HARD = ("hard_sigmoid", "hard_tanh", "hard_silu")
ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "tanh", "sigmoid", "softmax",
)  # fmt: skip
"""Those that came out as Keras has them; the C++ of others does not compile."""


def check_layers(config: Mapping[str, Any]) -> None:
    """Raise `CompressionError` that names the first layer in the configuration of a ``.keras`` file that is unfit.

    >>> check_layers({"class_name": "SeparableConv2D", "config": {"name": "sep"}})
    Traceback (most recent call last):
    ...
    lepton_kit.errors.CompressionError: layer 'sep' (SeparableConv2D) can't be built with hls4ml: it has two kernels; replace it by DepthwiseConv2D and a 1x1 Conv2D
    """
    for kind, settings in _layers(config):
        why = unfit(kind, settings)
        if why is not None:
            raise CompressionError(
                f"layer {settings.get('name')!r} ({kind}) can't be built with hls4ml: {why}"
            )


def _layers(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(class, settings) of every layer, of inner models and wrapped layers too."""
    settings = entry.get("config")
    if not isinstance(settings, Mapping):
        return
    yield str(entry.get("class_name")), settings
    for one in [*settings.get("layers", ()), settings.get("layer")]:
        if isinstance(one, Mapping):
            yield from _layers(one)


def unfit(kind: str, settings: Mapping[str, Any]) -> str | None:
    """Why a layer is refused; None where nothing speaks against it. Seen with hls4ml 1.3 and in its source (2026-11).

    >>> unfit("MaxPooling2D", {"pool_size": [3, 3], "strides": [2, 2]})
    'windows (3, 3) with strides (2, 2) overlap or leave gaps, on which the design aborts; use strides of the size of the windows'
    """
    if kind.startswith("SeparableConv"):
        return "it has two kernels; replace it by DepthwiseConv2D and a 1x1 Conv2D"
    if kind == "SimpleRNN":
        return "its design answers something else; use GRU or LSTM"
    given = [settings[key] for key in ("activation", "recurrent_activation") if settings.get(key) is not None]
    for name in map(_name, given):
        if name in HARD:
            return f"its {name} is not Keras'; use relu, tanh or sigmoid"
        if name not in ACTIVATIONS:
            return f"it has no form of {name}; use one of {', '.join(ACTIVATIONS)}"
    if settings.get("data_format") == "channels_first":
        return "it counts channels first; use channels last"
    if any(rate != 1 for rate in _sizes(settings.get("dilation_rate", 1))):
        return "its dilation would be left out; use dilation_rate=1"
    if kind == "ReLU" and settings.get("max_value") is not None:
        return f"its bound {settings['max_value']:g} has no form; use an activation 'relu6' or 'relu'"
    if kind.startswith("Conv") and settings.get("groups", 1) != 1:
        return "its groups would be left out; use groups=1"
    if kind.startswith("Depthwise") and settings.get("depth_multiplier", 1) != 1:
        return "the design aborts on several kernels a channel; use depth_multiplier=1"
    if settings.get("stateful"):
        return "it keeps its state between calls; use stateful=False"
    if kind == "GRU" and settings.get("reset_after") is False:
        return "it would reset after the product; use reset_after=True"
    if settings.get("go_backwards"):
        return "it would go forwards; reverse the samples and use go_backwards=False"
    if "pool_size" in settings:
        windows = _sizes(settings["pool_size"])
        strides = _sizes(settings.get("strides") or settings["pool_size"])
        if windows != strides:
            return (
                f"windows {windows} with strides {strides} overlap or leave gaps, on which the design aborts; use strides "
                "of the size of the windows"
            )
    return None


def padded(kind: str, settings: Mapping[str, Any], shape: Sequence[int | None]) -> str | None:
    """Why a pooling layer that takes ``shape`` (without batch) is refused: the design aborts on padding.

    >>> padded("MaxPooling2D", {"pool_size": [2, 2], "padding": "same"}, (7, 8, 3))
    "padding 'same' would pad (7, 8) for windows (2, 2), on which the design aborts; use padding 'valid'"
    """
    if "pool_size" not in settings or settings.get("padding") != "same":
        return None
    windows, places = _sizes(settings["pool_size"]), tuple(shape[:-1])
    if all(size is not None and size % window == 0 for size, window in zip(places, windows, strict=True)):
        return None
    return f"padding 'same' would pad {places} for windows {windows}, on which the design aborts; use padding 'valid'"


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _name(activation: Any) -> str:
    """The name of an activation as a configuration has it."""
    if isinstance(activation, Mapping):
        activation = activation.get("config")
        activation = activation.get("name", "") if isinstance(activation, Mapping) else activation
    return str(activation)
