"""Which operations of a LiteRT file belong to which Keras layer, as the regular expressions that litert-quantizer takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.errors import CompressionError

MARK = "."
_MARKED = re.compile(rf"([^/;]+){re.escape(MARK)}(?:_\d+)?(?=[/;])")


@dataclass(frozen=True)
class Operation:
    """Tensor names of one operation: what it computes, and the weights of two or more axes that it reads."""

    outputs: tuple[str, ...]
    kernels: tuple[str, ...] = ()

    @property
    def scope(self) -> str:
        """The text that litert-quantizer searches: the names of the outputs, each with a semicolon."""
        return "".join(f"{name};" for name in self.outputs)


def operations(path: str | Path) -> list[Operation]:
    """The operations of a LiteRT file in their order."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    tensors = {details["index"]: details for details in interpreter.get_tensor_details()}
    every = interpreter._get_ops_details()  # the file's operations; there is no public way to them
    computed = {index for one in every for index in one["outputs"]}
    computed |= {details["index"] for details in interpreter.get_input_details()}
    return [
        Operation(
            tuple(tensors[index]["name"] for index in one["outputs"] if index in tensors),
            tuple(
                tensors[index]["name"]
                for index in one["inputs"]
                if index in tensors and index not in computed and len(tensors[index]["shape"]) >= 2
            ),
        )
        for one in every
    ]


def mark_layers(model: Any) -> None:
    """End the names of a model's layers in a mark, until it is converted.

    TensorFlow numbers scopes that it meets again: without the mark ``conv2d_1`` in a file may be the second scope of layer
    ``conv2d`` or the first of layer ``conv2d_1``.
    """
    for layer in model._flatten_layers(include_self=False):
        layer.name += MARK


def plain(name: str) -> str:
    """A tensor's name with the layers' own names.

    >>> plain("model_1/conv2d_1._1/convolution")
    'model_1/conv2d_1/convolution'
    """
    return _MARKED.sub(r"\1", name)


def layer_scopes(found: Sequence[Operation], layers: Sequence[str]) -> dict[str, str]:
    """For each layer a regular expression that the scopes of its operations match, and no others.

    An operation belongs to a layer if its outputs are named after it (see `mark_layers`), or if it reads the layer's
    kernel: the last operation of a model is named after nothing. Raises `CompressionError` for a layer without any.

    >>> last = Operation(("StatefulPartitionedCall:0",), ("m/dense._1/MatMul",))
    >>> layer_scopes([last, Operation(("m/dense_1._1/MatMul",))], ["dense"])["dense"]
    '^(StatefulPartitionedCall:0;)$'
    """
    scopes = {}
    for layer in layers:
        own = re.compile(rf"(^|[/;]){re.escape(layer + MARK)}(_\d+)?[/;]")
        texts = [one.scope for one in found if own.search(";".join((*one.outputs, *one.kernels)))]
        if not texts:
            named = {name for one in found for name in (*one.outputs, *one.kernels)}
            there = sorted({match for name in named for match in _MARKED.findall(name)})
            raise CompressionError(
                f"keep_float: no operation of layer {layer!r} in the converted model; it has {', '.join(there)}"
            )
        scopes[layer] = f"^({'|'.join(re.escape(text) for text in dict.fromkeys(texts))})$"
    return scopes
