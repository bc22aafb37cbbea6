"""The graphs of a block: one for any number of samples a step, and faster ones for the numbers that last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

STEADY_BLOCKS = 200
"""After so many blocks in a row with one number of samples a graph of their own is traced for it: some 20 seconds."""
MOST_TRACES = 8


class Traces:
    """Calls ``run`` as a graph; where ``fixed`` also as graphs in which the number of samples is fixed.

    ``signature`` gives the types of the arguments for so many samples a step, None for any. Tracing takes about a second, so
    only numbers that are expected or that last get a graph of their own. Not thread-safe.
    """

    def __init__(
        self, run: Callable[..., None], signature: Callable[[int | None], list[Any]], *, fixed: bool
    ):
        self._run, self._signature, self._fixed = run, signature, fixed
        self._any = self._traced(None)
        self._own: dict[int, Any] = {}
        self._last, self._row = 0, 0

    def warm(self, sizes: Iterable[int], arguments: Callable[[int], tuple[Any, ...]]) -> None:
        """Trace the graph for any number of samples, and those for these ``sizes``; ``arguments`` are of no step."""
        self._any(*arguments(1))
        for size in sorted(set(sizes) - {0})[:MOST_TRACES] if self._fixed else ():
            self._own[size] = self._traced(size)
            self._own[size](*arguments(size))

    def __call__(self, samples: int, *arguments: Any) -> None:
        """Run a block whose steps have so many samples each."""
        self._row = self._row + 1 if samples == self._last else 0
        self._last = samples
        lasts = self._row == STEADY_BLOCKS and samples not in self._own and len(self._own) < MOST_TRACES
        if self._fixed and lasts:
            self._own[samples] = self._traced(samples)
        self._own.get(samples, self._any)(*arguments)

    def _traced(self, samples: int | None) -> Any:
        import tensorflow as tf

        return tf.function(self._run, input_signature=self._signature(samples), autograph=False)


def gains(model: Any) -> bool:
    """Whether a fixed number of samples makes the steps of a model faster: those of recurrent layers.

    Measured by ``benchmarks/throughput.py --models lstm``: their loops over time carry states whose shape is known then.
    """
    import keras

    return any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())
