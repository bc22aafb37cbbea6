"""Copies a functional graph node by node, with a hook that may replace, add or drop layers; nested models open up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lepton_kit.compression.layers import functional_of, is_graph


@dataclass(frozen=True)
class Visit:
    """One call of one layer: its unique name in the copy, its new inputs, and which layers use its first output."""

    layer: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Any]
    consumers: list[Any]  # layers; None stands for an output of the model


def copy_graph(
    model: Any,
    start: Callable[[Any], Any],
    visit: Callable[[Visit], Any],
    end: Callable[[Any], Any] = lambda value: value,
    *,
    name: str | None = None,
) -> Any:
    """A functional copy of a Sequential or functional model.

    ``start(tensor)`` makes the value that stands for an input; ``visit(call)`` makes that of a layer's output (a
    list where the layer has several); ``end(value)`` gives the tensor of an output of the model. Nested models
    become part of the copy; their layers are called ``outer_inner``.
    """
    import keras

    functional = functional_of(model)
    inputs = {
        id(tensor): keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for tensor in functional.inputs
    }
    outputs = _walk(functional, [start(inputs[id(t)]) for t in functional.inputs], visit, "", {})
    by_tensor = {id(tensor): end(new) for tensor, new in zip(functional.outputs, outputs, strict=True)}
    sequential = isinstance(model, keras.Sequential)  # its inner graph wraps the one tensor into a list
    takes = functional.inputs[0] if sequential else functional._inputs_struct
    gives = functional.outputs[0] if sequential else functional._outputs_struct
    return keras.Model(
        keras.tree.map_structure(lambda tensor: inputs[id(tensor)], takes),
        keras.tree.map_structure(lambda tensor: by_tensor[id(tensor)], gives),
        name=name or model.name,
    )


def _walk(
    functional: Any,
    values: list[Any],
    visit: Callable[[Visit], Any],
    prefix: str,
    after: dict[int, list[Any]],
) -> list[Any]:
    """Values of the graph's outputs; `after`: output tensor -> consumers outside, for a nested graph."""
    known = {id(tensor): value for tensor, value in zip(functional.inputs, values, strict=True)}
    nodes = [
        node
        for depth in sorted(functional._nodes_by_depth, reverse=True)
        for node in functional._nodes_by_depth[depth]
    ]
    consumers: dict[int, list[Any]] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            consumers.setdefault(id(tensor), []).append(node.operation)
    for tensor in functional.outputs:
        consumers.setdefault(id(tensor), []).extend(after.get(id(tensor), [None]))
    for node in nodes:
        if node.is_input:
            continue
        layer = node.operation
        incoming = [known[id(tensor)] for tensor in node.input_tensors]
        if is_graph(layer):
            inner = functional_of(layer)
            beyond = {
                id(mine): consumers.get(id(theirs), [])
                for mine, theirs in zip(inner.outputs, node.output_tensors, strict=True)
            }
            outgoing = _walk(inner, incoming, visit, f"{prefix}{layer.name}_", beyond)
        else:
            args, kwargs = node.arguments.fill_in(
                {id(t): v for t, v in zip(node.input_tensors, incoming, strict=True)}
            )
            made = visit(
                Visit(
                    layer,
                    prefix + layer.name,
                    args,
                    kwargs,
                    incoming,
                    consumers.get(id(node.output_tensors[0]), []),
                )
            )
            outgoing = made if isinstance(made, list) else [made]
        for tensor, value in zip(node.output_tensors, outgoing, strict=True):
            known[id(tensor)] = value
    return [known[id(tensor)] for tensor in functional.outputs]
