"""Magnitude pruning while training: masks that every rank computes alike and the optimizer applies in its graph.

Nothing here talks to other ranks. `PruningHook.update` is a function of the step and the weights, so ranks that
hold equal weights hold equal masks; the masks are variables, so they are broadcast and stored with the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.compression.layers import check_names, is_named, walk_layers
from lepton_kit.compression.pruning import masks
from lepton_kit.config import PruningConfig
from lepton_kit.errors import CompressionError

_KERNELS = ("kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel")


@dataclass(frozen=True)
class Kernel:
    """A weight tensor that can be pruned: its layer (path below the model), variable and output axes."""

    layer: str
    variable: Any
    output_axes: tuple[int, ...]
    frozen: bool = False


def find_kernels(model: Any, *, embeddings: bool = False) -> list[Kernel]:
    """Every kernel of a built Keras 3 model, nested ones too, shared ones once, in a fixed order.

    Raises `CompressionError` when the model isn't built or has no kernel.
    """
    names = (*_KERNELS, "embeddings") if embeddings else _KERNELS
    found: dict[int, Kernel] = {}
    for path, layer in walk_layers(model):
        for variable in layer._trainable_variables:
            if variable.name in names and len(variable.shape) >= 2:
                kernel = Kernel(path, variable, _output_axes(layer, variable), not variable.trainable)
                found.setdefault(id(variable), kernel)
    if not found:
        state = "has no kernel of two or more axes" if model.built else "is not built"
        raise CompressionError(
            f"model {model.name!r} {state}; pruning needs a built model with at least one kernel"
        )
    return list(found.values())


def _output_axes(layer: Any, variable: Any) -> tuple[int, ...]:
    """Axes of the kernel that number its outputs; the others are summed over."""
    kind, rank = type(layer).__name__.removeprefix("Quantized"), len(variable.shape)
    if variable.name == "depthwise_kernel" or kind.startswith("DepthwiseConv"):
        return (rank - 2, rank - 1)
    if kind.endswith("Transpose"):
        return (rank - 2,)
    if kind == "EinsumDense":  # letters of the kernel that the output has and the input has not
        operands, output = layer.equation.replace(" ", "").split("->")
        inputs, weights = operands.split(",")
        axes = tuple(axis for axis, letter in enumerate(weights) if letter in output and letter not in inputs)
        return axes or (rank - 1,)
    return (rank - 1,)


class _MaskConstraint:
    """Multiplies by the mask variable, after the constraint that the layer had itself."""

    def __init__(self, mask: Any, inner: Any):
        self.mask, self.inner = mask, inner

    def __call__(self, weights: Any) -> Any:
        from keras import ops

        weights = weights if self.inner is None else self.inner(weights)
        return weights * ops.cast(self.mask, weights.dtype)


class PruningHook:
    """Prunes a model while any loop trains it; the loop calls `update` at the steps that `next_boundary` names.

    Parameters
    ----------
    config : what to prune and when; ``end_step=None`` becomes 3/4 of the run.
    total_steps : optimizer steps of the whole run; the same on every rank and after a resume.
    embeddings : prune embedding tables too.

    ``attach`` before the training step is traced: masks are read inside the graph, later updates need no retrace.
    ``state_variables`` (Keras variables, one float32 mask per pruned kernel, in a fixed order) have to be broadcast
    and stored together with the model's variables; with them restored, training goes on exactly masked.
    """

    def __init__(self, config: PruningConfig, total_steps: int, *, embeddings: bool = False):
        self.config = masks.resolve(config, total_steps)
        self.embeddings = embeddings
        self.state_variables: list[Any] = []
        self.left_dense: dict[str, str] = {}
        self._pruned: list[Kernel] = []
        self._kernels: list[Kernel] = []

    def attach(self, model: Any) -> None:
        """Create the masks and set them as constraints of the kernels.

        Raises `CompressionError` for an unknown name in ``pruning.skip`` and where nothing is left to prune.
        """
        import keras

        if self._pruned:
            raise CompressionError(
                "this PruningHook is attached already; call finish() first, or make a new one"
            )
        kernels = find_kernels(model, embeddings=self.embeddings)
        check_names(self.config.skip, (path for path, _ in walk_layers(model)), "pruning.skip")
        pruned, left = [], {}
        for kernel in kernels:
            reason = self._reason_to_leave(kernel)
            if reason:
                left[kernel.layer] = reason
            else:
                pruned.append(kernel)
        if not pruned:
            told = "; ".join(f"{layer}: {reason}" for layer, reason in left.items())
            raise CompressionError(f"pruning: every kernel of model {model.name!r} is left dense ({told})")
        for number, kernel in enumerate(pruned):
            mask = keras.Variable(
                np.ones(kernel.variable.shape, np.float32),
                trainable=False,
                name=f"pruning_mask_{number}",
            )
            kernel.variable.constraint = _MaskConstraint(mask, kernel.variable.constraint)
            self.state_variables.append(mask)
        self._kernels, self._pruned, self.left_dense = kernels, pruned, left

    def _reason_to_leave(self, kernel: Kernel) -> str | None:
        if any(is_named(kernel.layer, name) for name in self.config.skip):
            return "named in pruning.skip"
        if kernel.frozen:
            return "not trainable"
        if self.config.pattern == "2:4" and not masks.group_fits(
            np.empty(kernel.variable.shape), kernel.output_axes
        ):
            rows = masks.as_matrix(np.empty(kernel.variable.shape), kernel.output_axes)[0].shape[0]
            return f"its reduction size {rows} is no multiple of 4, which the pattern 2:4 needs"
        return None

    def next_boundary(self, step: int) -> int | None:
        """The smallest update step that is at least `step`; None when no more come.

        A loop that has done `step` steps calls ``update(step)`` if it equals this, and ends its block of steps at
        ``next_boundary(step + 1)``.
        """
        return masks.next_update_step(step, self.config)

    def update(self, step: int) -> dict[str, Any]:
        """Compute the masks for `step` from the weights and apply them.

        Returns ``{"sparsity": {layer: share of zeros}, "total": share}`` over all kernels, left dense ones too.
        """
        if not self._pruned:
            raise CompressionError("this PruningHook is not attached to a model; call attach(model) first")
        weights = [_array(kernel.variable) for kernel in self._pruned]
        sparsity = masks.sparsity_at(step, self.config)
        computed = masks.masks_for(
            weights,
            [kernel.output_axes for kernel in self._pruned],
            sparsity,
            self.config,
        )
        for kernel, variable, weight, mask in zip(
            self._pruned, self.state_variables, weights, computed, strict=True
        ):
            variable.assign(mask)
            kernel.variable.assign((weight * mask).astype(weight.dtype))
        return _report(self._kernels)

    def finish(self) -> None:
        """Give the kernels their own constraints back; the weights stay exactly masked."""
        for kernel, mask in zip(self._pruned, self.state_variables, strict=True):
            weight = _array(kernel.variable)
            kernel.variable.assign((weight * _array(mask)).astype(weight.dtype))
            kernel.variable.constraint = kernel.variable.constraint.inner
        self._pruned, self._kernels = [], []
        self.state_variables = []


def sparsity_report(model: Any, *, embeddings: bool = False) -> dict[str, Any]:
    """``{"sparsity": {layer: share of zeros}, "total": share}`` over the kernels of a model, as they are now."""
    return _report(find_kernels(model, embeddings=embeddings))


def _report(kernels: list[Kernel]) -> dict[str, Any]:
    zeros: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for kernel in kernels:
        weight = _array(kernel.variable)
        zeros[kernel.layer] = zeros.get(kernel.layer, 0) + int(weight.size - np.count_nonzero(weight))
        sizes[kernel.layer] = sizes.get(kernel.layer, 0) + weight.size
    shares = {layer: zeros[layer] / sizes[layer] for layer in sizes}
    return {"sparsity": shares, "total": sum(zeros.values()) / sum(sizes.values())}


def _array(variable: Any) -> np.ndarray:
    return np.asarray(variable.value)
