"""Trains a variant a little more in a child process: a control, a pruned model, or one with channels removed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.structure import mapped


def fine_tune(
    model: str,
    data: str,
    output: str,
    *,
    epochs: int,
    seed: int = 0,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    structured: float | None = None,
    bits: int | None = None,
    keep: Sequence[str] = (),
    batch: int = 64,
    learning_rate: float = 2e-3,
    threads: int | None = None,
) -> dict[str, Any]:
    """Load, remove channels (``structured``), round (``bits``), prune (``sparsity``) while fitting, save.

    Returns notes and losses. ``data`` is a prepared folder; ``threads`` are those of TensorFlow, by default all cores. The loss is the model's own where it was compiled; Adam's
    learning rate falls from ``learning_rate`` to 0 along a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983).
    """
    import keras
    import tensorflow as tf

    from lepton_kit.compression.quantization.convert import load_keras
    from lepton_kit.data.prepared import open_folder
    from lepton_kit.models.defaults import compile_defaults

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    prepared = open_folder(Path(data))
    network = load_keras(model)
    loss, shares = loss_of(network)
    loss = loss if loss is not None else compile_defaults(network, prepared)[0]
    notes: list[str] = []
    if structured:
        from lepton_kit.compression.pruning.structured import remove_channels

        result = remove_channels(network, structured, skip=tuple(keep))
        network = result.model
        notes = [f"left whole: {layer} ({why})" for layer, why in result.left_alone.items()]
    if bits:
        from lepton_kit.compression.quantization.qat import quantization_aware
        from lepton_kit.config import QuantizationAwareConfig

        network = quantization_aware(network, QuantizationAwareConfig(bits=bits, skip=tuple(keep)))
    x, y, weights = (_given(value) for value in (prepared.train.x, prepared.train.y, prepared.train.w))
    batch = min(batch, len(prepared.train))
    steps = -(-len(prepared.train) // batch) * epochs
    callbacks = [pruning_callback(sparsity, pattern, keep, steps)] if sparsity else []
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    network.compile(keras.optimizers.Adam(schedule), loss=loss, loss_weights=shares)
    keras.utils.set_random_seed(seed)  # of the order; not before, because loading a model seeds too
    history = network.fit(
        x, y, sample_weight=weights, batch_size=batch, epochs=epochs, verbose=0, callbacks=callbacks
    )
    for callback in callbacks:
        notes += [f"left dense: {layer} ({why})" for layer, why in callback.hook.left_dense.items()]
    temporary = f"{output}.part.keras"
    network.compile(loss=loss, loss_weights=shares)  # no moments in the file
    network.save(temporary)
    os.replace(temporary, output)
    return {"notes": notes, "loss": [float(value) for value in history.history["loss"]], "steps": steps}


def remove(model: str, output: str, structured: float, keep: Sequence[str] = ()) -> None:
    """Save the model with that share of its channels removed and nothing trained, to see what it would cost."""
    from lepton_kit.compression.pruning.structured import remove_channels
    from lepton_kit.compression.quantization.convert import load_keras
    from lepton_kit.models.payload import copy_code

    remove_channels(load_keras(model), structured, skip=tuple(keep)).model.save(output)
    copy_code(Path(model), Path(output))


def strip(model: str, output: str) -> dict[str, int | None]:
    """Save the model as plain float Keras: no optimizer, whose moments would count as file size, and no rounding.

    The code of its own layers goes with it.

    Returns ``{"trained_bits": …}``, the bits that a quantization-aware model was trained for, else None.
    """
    from lepton_kit.compression.quantization import qat
    from lepton_kit.compression.quantization.convert import load_keras
    from lepton_kit.compression.quantization.deployable import check_stateless
    from lepton_kit.models.payload import copy_code

    network = load_keras(model)
    check_stateless(network)
    loss, shares = loss_of(network)
    bits = qat.trained_bits(network)
    if bits is not None:
        network = qat.strip(network)
    if loss is not None:
        network.compile(loss=loss, loss_weights=shares)
    network.save(output)
    copy_code(Path(model), Path(output))
    return {"trained_bits": bits}


def loss_of(network: Any) -> tuple[Any, Any]:
    """(loss, weights of several losses) that a model was compiled with."""
    settings = getattr(network, "_compile_config", None)
    shares = settings.config.get("loss_weights") if settings is not None else None
    return getattr(network, "loss", None), shares


def _given(value: Any) -> Any:
    """Prepared arrays as Keras' `fit` takes them."""
    found = mapped(value, np.asarray)
    return list(found) if isinstance(found, tuple) else found


def pruning_callback(sparsity: float, pattern: str, keep: Sequence[str], steps: int) -> Any:
    """The callback that prunes along a ramp over the first half of ``steps`` and holds it in the second."""
    from lepton_kit.compression.pruning.callback import PruningCallback
    from lepton_kit.config import PruningConfig

    config = PruningConfig(
        sparsity=sparsity,
        end_step=max(1, steps // 2),
        frequency=max(1, steps // 40),
        pattern=pattern,
        skip=tuple(keep),
    )
    return PruningCallback(config)
