"""The graphs of a block: one for any number of samples a step, and others for numbers that last, none at all among them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

STEADY_BLOCKS = 20
"""After so many blocks in a row with one number of samples a graph of their own is traced for it: some 2 seconds.

Tracing takes about one, and a recurrent model is up to 1.8 times as slow until then: waiting for as long as it costs is never
more than twice as bad as knowing beforehand how long the number lasts.
"""
MOST_TRACES = 8
"""Of fixed numbers; the one that was needed longest ago goes for a new one."""
IDLE_BLOCKS = 3
"""So many blocks in a row without a sample are worth tracing a graph that computes none; the last batch of an epoch is not."""


class NotApart(Exception):
    """A model whose sums over ranks cannot be told apart from what it computes: it has no graph for no samples."""


class Traces:
    """``run`` as a graph; where ``fixed`` also as graphs in which the number of samples is fixed.

    ``signature`` gives the types of the arguments for so many samples a step, None for any. Tracing takes about a second, so
    only numbers that are expected or that last get a graph of their own. ``idle`` does what ``run`` does for 0 samples,
    which bring one along; it may raise `NotApart` while it is traced. Not thread-safe.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        signature: Callable[[int | None], list[Any]],
        *,
        fixed: bool,
        idle: Callable[..., Any] | None = None,
    ):
        self._run, self._idle, self._signature, self._fixed = run, idle, signature, fixed
        self._any = self._traced(None)
        self._own: dict[int, Any] = {}
        self._last, self._row = 0, 0

    def warm(
        self, sizes: Collection[int] = (), nothing: Callable[[int], tuple[Any, ...]] | None = None
    ) -> None:
        """Trace the graph for any number of samples, and those for these ``sizes``, if they are not.

        ``nothing`` gives arguments of no step: where there are some, each graph is run once, so that TensorFlow has prepared it.
        """
        self._any.get_concrete_function()  # the first: others are held against it
        for size in sorted(set(sizes) - {0})[:MOST_TRACES] if self._fixed else ():
            self._own.setdefault(size, self._traced(size))
        if 0 in sizes and self._idle is not None and 0 not in self._own:
            self._own[0] = self._traced_idle()
        for size, graph in [(1, self._any), *self._own.items()]:
            if nothing is None:
                graph.get_concrete_function()
            else:
                graph(*nothing(size or 1))

    def of(self, samples: int) -> Callable[..., Any]:
        """The graph of a block whose steps have so many samples each, traced."""
        self._row = self._row + 1 if samples == self._last else 0
        self._last = samples
        own = self._own.pop(samples, None)
        if own is None and samples == 0 and self._idle is not None and self._row == IDLE_BLOCKS:
            own = self._traced_idle()
        elif own is None and samples and self._fixed and self._row == STEADY_BLOCKS:
            own = self._traced(samples)
            own.get_concrete_function()
            while len(self._own) >= MOST_TRACES:
                del self._own[next(iter(self._own))]
        if own is not None:
            self._own[samples] = own  # the last one is the newest
        found: Callable[..., Any] = self._any if own is None else own
        return found

    def _traced_idle(self) -> Any:
        import tensorflow as tf

        assert self._idle is not None
        traced: Any = tf.function(self._idle, input_signature=self._signature(None), autograph=False)
        try:
            traced.get_concrete_function()
        except NotApart:
            return self._any
        return traced

    def _traced(self, samples: int | None) -> Any:
        import tensorflow as tf

        return tf.function(self._run, input_signature=self._signature(samples), autograph=False)


def gains(model: Any) -> bool:
    """Whether a fixed number of samples makes the steps of a model faster: those of recurrent layers.

    Measured by ``benchmarks/throughput.py --models lstm``: their loops over time carry states whose shape is known then.
    """
    import keras

    return any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())
