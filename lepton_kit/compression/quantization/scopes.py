"""Which operations of a LiteRT file belong to which Keras layer, as the regular expressions that litert-quantizer takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lepton_kit.errors import CompressionError


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


def layer_scopes(found: Sequence[Operation], layers: Sequence[str]) -> dict[str, str]:
    """For each layer a regular expression that the scopes of its operations match, and no others.

    An operation belongs to a layer if its outputs are named after it, or if it reads the layer's kernel: the last
    operation of a model is named after nothing. Keras may give every scope the same suffix (``dense`` → ``dense_1``),
    so the suffix that fits most layers is taken: with layers ``dense`` and ``dense_1`` the scope ``dense_1`` belongs to
    one of them only. Raises `CompressionError` for a layer that no operation belongs to.

    >>> last = Operation(("StatefulPartitionedCall:0",), ("m/dense_1/MatMul",))
    >>> layer_scopes([last, Operation(("m/dense_1_1/MatMul",))], ["dense"])["dense"]
    '^(StatefulPartitionedCall:0;)$'
    """
    names = {name for one in found for name in (*one.outputs, *one.kernels)}
    parts = {part for name in names for piece in name.split(";") for part in piece.split("/")[:-1]}
    suffixes = ["", *(f"_{number}" for number in range(1, 10))]
    fitting = {suffix: [layer for layer in layers if layer + suffix in parts] for suffix in suffixes}
    best = max(suffixes, key=lambda suffix: (len(fitting[suffix]), suffix != "", -suffixes.index(suffix)))
    missing = [layer for layer in layers if layer not in fitting[best]]
    if missing:
        raise CompressionError(
            f"keep_float: no layer {missing[0]!r} in the converted model; its scopes are {', '.join(sorted(parts))}"
        )
    scopes = {}
    for layer in layers:
        own = re.compile(rf"(^|[/;]){re.escape(layer + best)}[/;]")
        texts = (one.scope for one in found if own.search(";".join((*one.outputs, *one.kernels))))
        scopes[layer] = f"^({'|'.join(re.escape(text) for text in dict.fromkeys(texts))})$"
    return scopes
