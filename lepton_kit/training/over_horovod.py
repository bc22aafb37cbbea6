"""Sums by Horovod in a graph: each takes place, and under the same name on all ranks, also where their graphs differ."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def summed(tensors: Sequence[Any], name: str | None, zero: Any) -> list[Any]:
    """The tensors summed over ranks, together; ``name`` is one of `unique_name`, or begins with it, ``zero`` an `unknown_zero`.

    Horovod does not declare its operation stateful. TensorFlow would compute it once for all, while it prepares a graph
    in which all inputs are constants, and leave it out where nothing reads its results. A rank with zeros to bring, or
    with shapes that are fixed, would then be missing from a sum that the others wait for. So the smallest of the tensors
    depends on what no one can know beforehand, and what comes of it passes an operation that is never left out.
    """
    import horovod.tensorflow as hvd
    from horovod.tensorflow import mpi_ops

    given = list(tensors)
    if not given:
        return []
    if name is None:
        return list(mpi_ops._grouped_allreduce(given, op=hvd.Sum))
    import tensorflow as tf

    # A scope of its own, which Horovod ignores: in another one TensorFlow would change a name that is taken there.
    with tf.name_scope(f"{name}/"):
        least = min(range(len(given)), key=lambda k: given[k].shape.num_elements() or sys.maxsize)
        given[least] += tf.cast(zero, given[least].dtype)
        # The public hvd.grouped_allreduce asks for the world size while tracing, which may come before hvd.init().
        sums = list(mpi_ops._grouped_allreduce(given, name=name, op=hvd.Sum, ignore_name_scope=True))
        sums[least] = tf.raw_ops.PlaceholderWithDefault(input=sums[least], shape=sums[least].shape)
        return sums


def unknown_zero() -> Any:
    """0 (float32), which TensorFlow cannot know before a graph runs."""
    import tensorflow as tf

    return tf.cast(tf.timestamp() < 0.0, tf.float32)


def unique_name(name: str) -> str | None:
    """A name that comes once in what is traced, the same on all ranks, which trace the same sums; None outside a graph."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return None  # what runs eagerly has ended before the next one begins
    graph: Any = tf.compat.v1.get_default_graph()
    while (outer := getattr(graph, "outer_graph", None)) is not None and hasattr(outer, "outer_graph"):
        graph = outer  # of a loop or a condition: up to the function
    # Scopes differ between a first trace, which creates variables, and another one.
    with graph.name_scope(None):
        return str(graph.unique_name(name))
