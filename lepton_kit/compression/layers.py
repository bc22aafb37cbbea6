"""The layers of a Keras model: walking through them, telling which of them a name means, and opening up graphs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from lepton_kit.errors import CompressionError


def walk_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """(path below the model, layer) of every layer, depth first; a recurrent cell takes its layer's path."""

    def walk(layer: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        yield "/".join(path) or layer.name, layer
        for inner in getattr(layer, "_layers", ()):
            if id(inner) in visited:
                continue
            visited.add(id(inner))
            hidden = type(inner).__name__.endswith("Cell")
            yield from walk(inner, path if hidden else (*path, inner.name))

    visited = {id(model)}
    if getattr(model, "_functional", None) is not None:
        visited.add(id(model._functional))  # a Sequential holds its layers twice
    yield from walk(model, ())


def is_named(path: str, name: str) -> bool:
    """Whether `name` is the layer's path, or the name of the layer or of one that holds it.

    >>> is_named("encoder/dense", "encoder"), is_named("encoder/dense", "dense"), is_named("dense_1", "dense")
    (True, True, False)
    """
    return path == name or name in path.split("/")


def check_names(names: Iterable[str], paths: Iterable[str], option: str) -> None:
    """Raise `CompressionError` for the first name that no layer has; it lists the layers and the closest one."""
    paths = list(dict.fromkeys(paths))
    known = list(dict.fromkeys([*paths, *(part for path in paths for part in path.split("/"))]))
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise CompressionError(f"{option}: no layer {name!r}; expected one of {', '.join(paths)}{hint}")


def kind_of(layer: Any) -> str:
    """Name of the layer's class; this package's synchronized batch normalisation counts as Keras' own."""
    name = type(layer).__name__
    return "BatchNormalization" if name == "SyncBatchNormalization" else name


def channel_multiplier(layer: Any) -> int:
    """How many channels a convolution makes of each one by itself, 0 of any other layer: depthwise ones do, and those in as
    many groups as channels come in."""
    kind = kind_of(layer)
    if kind in ("DepthwiseConv1D", "DepthwiseConv2D"):
        return int(layer.depth_multiplier)
    groups = getattr(layer, "groups", 1)
    if kind in ("Conv1D", "Conv2D", "Conv3D") and groups > 1 and layer.built and layer.kernel.shape[-2] == 1:
        return int(layer.filters // groups)
    return 0


def functional_of(model: Any) -> Any:
    """The functional graph of a Sequential or functional model; `CompressionError` for any other."""
    import keras

    if isinstance(model, keras.Sequential):
        if getattr(model, "_functional", None) is None:
            raise CompressionError(
                f"model {model.name!r} is a Sequential without a known input shape; start it with keras.Input(shape)"
            )
        return model._functional
    if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth"):
        return model
    raise CompressionError(
        f"model {getattr(model, 'name', model)!r} ({type(model).__name__}) is neither Sequential nor functional, so "
        "its layers can't be rewired; build it with keras.Model(inputs, outputs)"
    )


def is_graph(layer: Any) -> bool:
    """Whether a layer is itself a Sequential or functional model that can be followed."""
    import keras

    if isinstance(layer, keras.Sequential):
        return getattr(layer, "_functional", None) is not None
    return isinstance(layer, keras.Model) and hasattr(layer, "_nodes_by_depth")
