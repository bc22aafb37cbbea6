"""What in a model does not train alike in one process and in several, in sentences for people."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lepton_kit.models.lepton import LeptonModel

# Layers of Keras that draw in training whatever their settings; those named Random… do too.
ALWAYS_RANDOM = ("AugMix", "CutMix", "MixUp", "RandAugment")
NAME = re.compile("'[^']*'")
MOST_ALIKE = 3
# Settings of Keras' layers that make them draw, where they are above 0.
RATES = ("rate", "stddev", "dropout", "recurrent_dropout", "_dropout", "drop_path_rate")
# Where Keras has its layers.
OWN = ("keras.src.layers.", "keras.src.applications.")


def explain_inexactness(model: Any) -> list[str]:
    """One sentence for each layer whose training differs between one process and several; empty if none.

    Of more than three layers of which the same is said, the first stands for all, with their number.

    Such a model still trains. What is lost is that N workers compute what one process on the global batch would.
    ``model`` is a Keras model, a `LeptonModel` or its spec; the last two need no TensorFlow.
    """
    if isinstance(model, Mapping):
        model = LeptonModel.from_spec(model)
    if isinstance(model, LeptonModel):
        if model.built:
            return explain_inexactness(model.network)
        if model.dropout > 0:
            return [
                f"the model's Dropout layers (dropout={model.dropout:g}) draw random numbers on each rank: "
                "fine for accuracy; set dropout to 0 where runs must be compared exactly"
            ]
        return []
    import keras

    layers = list(model._flatten_layers())
    inner = {id(layer.cell) for layer in layers if getattr(layer, "cell", None) is not None}
    for one in layers:
        if isinstance(one, keras.Model) and _only_inference(
            one
        ):  # a backbone that is fine-tuned as it predicts
            inner |= {id(layer) for layer in one._flatten_layers() if _follows(layer)}
    return _folded(sentence for layer in layers if id(layer) not in inner for sentence in _sentences(layer))


def _follows(layer: Any) -> bool:
    """Whether one graph alone calls the layer, and leaves it to who calls the graph whether that is training."""
    nodes = layer._inbound_nodes
    return len(nodes) < 2 and not any(node.arguments.kwargs.get("training") for node in nodes)


def _folded(sentences: Iterable[str]) -> list[str]:
    """The sentences, of more than `MOST_ALIKE` that differ in names alone the first with the number of the others.

    >>> _folded(f"layer 'norm{place}' counts" for place in range(5))
    ["layer 'norm0' counts (so do 4 more such layers, the last 'norm4')"]
    """
    alike: dict[str, list[str]] = {}
    for sentence in sentences:
        alike.setdefault(NAME.sub("", sentence), []).append(sentence)
    told = []
    for group in alike.values():
        if len(group) <= MOST_ALIKE:
            told += group
        else:
            last = NAME.findall(group[-1])[0]
            told.append(f"{group[0]} (so do {len(group) - 1} more such layers, the last {last})")
    return told


def _sentences(layer: Any) -> Iterator[str]:
    import keras

    name, kind = layer.name, type(layer).__name__
    if isinstance(layer, keras.layers.BatchNormalization):
        yield from _normalization(layer)
    elif isinstance(layer, keras.layers.Layer) and _augments(layer):
        yield (
            f"layer {name!r} ({kind}) augments at random, differently on each rank: "
            "fine for accuracy; remove it where runs must be compared exactly"
        )
    elif _rated(layer):
        yield (
            f"layer {name!r} ({kind}) draws random numbers on each rank: "
            "fine for accuracy; set its rate to 0 where runs must be compared exactly"
        )
    elif _draws(layer):
        what = "model" if isinstance(layer, keras.Model) else "layer"
        yield (
            f"{what} {name!r} ({kind}) draws random numbers in its own code, differently on each rank: "
            "fine for accuracy; take the draws out where runs must be compared exactly"
        )


def _normalization(layer: Any) -> Iterator[str]:
    from lepton_kit.models.layers import SyncBatchNormalization

    if not layer.trainable or _only_inference(layer):
        return  # it uses its stored statistics, which are equal on all ranks
    if not isinstance(layer, SyncBatchNormalization):
        also = (
            ", also with synchronized=True, which knows nothing of these ranks" if layer.synchronized else ""
        )
        yield (
            f"layer {layer.name!r} (BatchNormalization) takes its statistics from each rank's own samples{also}: "
            "use lepton_kit.models.layers.synchronize_batch_normalization(model)"
        )
    biased = _biased_producer(layer)
    if biased is not None:
        yield (
            f"the bias of layer {biased!r} has no effect before {layer.name!r}: its gradient is rounding noise, "
            "which adaptive optimizers enlarge; set use_bias=False"
        )


def _only_inference(layer: Any) -> bool:
    """Whether a functional model calls the layer with training=False, and nothing else does."""
    nodes = layer._inbound_nodes
    return bool(nodes) and all(node.arguments.kwargs.get("training") is False for node in nodes)


def _biased_producer(normalization: Any) -> str | None:
    """Name of the layer with a bias whose plain output goes into this normalization, if that is so."""
    node = normalization._inbound_nodes[0] if normalization._inbound_nodes else None
    producer = node.input_tensors[0]._keras_history.operation if node is not None else None
    if (
        producer is None
        or not getattr(producer, "use_bias", False)
        or not getattr(normalization, "center", False)
    ):
        return None
    activation = getattr(producer, "activation", None)
    return producer.name if getattr(activation, "__name__", "linear") == "linear" else None


def _keras_bases(layer: Any) -> list[type]:
    return [base for base in type(layer).__mro__ if base.__module__.split(".")[0] == "keras"]


def _augments(layer: Any) -> bool:
    names = [base.__name__ for base in _keras_bases(layer)]
    return any(name.startswith("Random") or name in ALWAYS_RANDOM for name in names)


def _rated(layer: Any) -> bool:
    """Whether it is a layer of Keras, or derived from one, with a rate above 0 at which it draws."""
    if not _stock_generator(layer):
        return False
    return any(_positive(getattr(layer, name, 0.0)) for name in RATES)


def _positive(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and value > 0


def _stock_generator(layer: Any) -> bool:
    """Whether a class of Keras (other than those that everything derives from) gives this layer its generator."""
    plain = {"Layer", "Model", "Sequential", "Functional", "Wrapper"}
    kinds = [base.__name__ for base in _keras_bases(layer) if base.__module__.startswith(OWN)]
    return any(kind not in plain for kind in kinds) and any(hasattr(layer, name) for name in RATES)


def _draws(layer: Any) -> bool:
    """Whether code of the user's own draws: with a generator that the layer holds, or by a function of that name."""
    if type(layer).__module__.split(".")[0] in ("keras", "lepton_kit"):
        function = getattr(layer, "function", None) if type(layer).__name__ == "Lambda" else None
        return isinstance(function, types.FunctionType) and _names_random(function.__code__)
    given = getattr(layer, "seed_generator", None) if _stock_generator(layer) else None
    if any(generator is not given for generator in layer._seed_generators):
        return True
    for base in type(layer).__mro__:
        if base.__module__.split(".")[0] not in ("keras", "tensorflow", "builtins", "lepton_kit"):
            functions = [value for value in vars(base).values() if isinstance(value, types.FunctionType)]
            methods = [f for f in functions if f.__name__ in ("call", "train_step", "compute_loss")]
            if any(_names_random(function.__code__) for function in methods):
                return True
    return False


def _names_random(code: types.CodeType) -> bool:
    """Whether code reads an attribute or name such as ``random`` (keras.random.normal, tf.random.uniform)."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return "random" in code.co_names or any(map(_names_random, inner))
