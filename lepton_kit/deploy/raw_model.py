"""A trained Keras model with its preprocessing as layers before it, where Keras has such layers: tables, words and images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Preprocessing
from lepton_kit.deploy.comparing import allowed, compare

NAME = "model_raw"
GREY_LEVELS = 1
"""How far a pixel that Keras resizes may lie from one that Pillow resizes, of 0 to 255: Pillow rounds after the rows and
after the columns, Keras once. Values of over 8 bits, which neither rounds, differ by less than 0.001."""
ENCODED = ("date", "hash")
"""Kinds of columns that Keras has no layer for: the raw model takes their features, encoded."""


def can(how: Preprocessing) -> bool:
    """Whether a preprocessing can become layers."""
    return how.kind in ("table", "images") or (
        how.kind == "text" and getattr(how, "tokenizer", "") == "words"
    )


def said(how: Preprocessing) -> str:
    """What the exported files do with raw input themselves, for the model card."""
    beside = "lk.load(...).predict(raw) does it in every format"
    if how.kind == "table" and can(how):
        columns: Any = how.columns  # type: ignore[attr-defined]  # of a table
        encoded = [one.name for one in columns if one.kind in ENCODED]
        rest = f"; {', '.join(encoded)} as encoded features, for which Keras has no layer" if encoded else ""
        return (
            f"{NAME} has the preprocessing as layers: numbers as float64 (NaN for none), booleans as 0 or 1, categories "
            f"as strings ('' for none){rest}. Reading numbers from text is left to preprocessing.json: {beside}."
        )
    if how.kind == "images":
        numbers = "bytes" if how.intensity_range is None else "their own values"  # type: ignore[attr-defined]  # only images have it
        return (
            f"{NAME} takes decoded images of any size in the colours of training, as {numbers}, all of a call in one "
            f"size, and resizes them itself, to within {GREY_LEVELS} of 255 grey levels of the pixels of training. Decoding, "
            f"turning and transparency are left to preprocessing.json: {beside}."
        )
    if can(how):
        return (
            f"{NAME} looks words up itself: it takes strings of lower-case words with spaces between. Cutting a text "
            f"into words by Unicode's rules is left to preprocessing.json: {beside}."
        )
    if how.kind == "arrays":
        return "The model takes arrays as they were given in training: there is no preprocessing."
    return f"Keras has no layers for this preprocessing, so it is left to preprocessing.json: {beside}."


def left_out(why: str) -> str:
    """What the card says where the raw model was not written."""
    return f"{NAME} was not written ({why}); lk.load(...).predict(raw) takes raw input in every format."


def build(network: Any, how: Preprocessing) -> Any:
    """The model that takes raw values, which shares the weights of ``network``; see `said` for what it takes."""
    return {"table": _table, "text": _words, "images": _images}[how.kind](network, how)


def undo(how: Preprocessing, x: np.ndarray) -> dict[str, np.ndarray]:
    """Raw input that becomes the samples ``x`` (up to the last bit), to compare the two models with."""
    return {"table": _undo_table, "text": _undo_words, "images": _undo_images}[how.kind](how, x)


def names_of(columns: Sequence[str]) -> list[str]:
    """Names of inputs for columns: TensorFlow takes letters, digits and underscores, each name once.

    >>> names_of(["age", "price (€)", "price [€]", "1st"])
    ['age', 'price____', 'price_____1', 'x1st']
    """
    found: list[str] = []
    for column in columns:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", column)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"x{plain}"
        name, count = plain, 0
        while name.lower() in (one.lower() for one in found):
            count += 1
            name = f"{plain}_{count}"
        found.append(name)
    return found


def _table(network: Any, how: Any) -> Any:
    import keras

    inputs, parts = {}, []
    for name, column in zip(names_of([one.name for one in how.columns]), how.columns, strict=True):
        if column.kind in ENCODED:
            inputs[name] = keras.Input((len(column.features),), dtype="float32", name=name)
            parts.append(inputs[name])
        elif column.kind == "category":
            inputs[name] = keras.Input((1,), dtype="string", name=name)
            parts.append(_categories(column, inputs[name], name))
        else:
            inputs[name] = keras.Input((1,), dtype="float64", name=name)
            parts += _numbers(column, inputs[name])
    joined = keras.layers.Concatenate(name="preprocessed")(parts) if len(parts) > 1 else parts[0]
    return keras.Model(inputs, network(joined), name=NAME)


def _numbers(column: Any, given: Any) -> list[Any]:
    """In float64 until the last step, as `Column` does it, so that large numbers lose nothing."""
    from keras import ops

    missing = ops.isnan(given)
    plain = ops.cast(ops.where(missing, ops.full_like(given, column.mean), given), "float64")
    mean, scale = (column.mean, column.scale) if column.kind == "number" else (0.0, 1.0)
    known = ops.where(missing, ops.zeros_like(given), (plain - mean) / scale)
    found = [ops.cast(known, "float32")]
    return [*found, ops.cast(missing, "float32")] if column.flag else found


def _categories(column: Any, given: Any, name: str) -> Any:
    """One-hot: unknown ones first, which is cut off, then the categories, then the empty string for none."""
    import keras

    lookup = keras.layers.StringLookup(
        vocabulary=[*column.categories, ""],
        mask_token=None,
        output_mode="one_hot",
        name=f"{name}_categories",
    )
    found = lookup(given)
    return found[:, 1:] if column.flag else found[:, 1:-1]


def _words(network: Any, how: Any) -> Any:
    import keras

    given = keras.Input((1,), dtype="string", name="words")
    lookup = keras.layers.TextVectorization(
        standardize=None,
        split="whitespace",
        output_sequence_length=how.sequence_length,
        vocabulary=list(how.vocabulary[2:]),
        name="words_to_ids",
    )
    kind = network.inputs[0].dtype
    return keras.Model({"words": given}, network(keras.ops.cast(lookup(given), kind)), name=NAME)


def _images(network: Any, how: Any) -> Any:
    """Any size, then that of training: Keras' antialiased bilinear filter is Pillow's."""
    import keras

    deep = how.intensity_range is not None
    given = keras.Input((None, None, how.sample_shape[2]), dtype="float32" if deep else "uint8", name="image")
    pixels = keras.ops.cast(given, "float32")
    if deep:
        low, high = how.intensity_range
        scale = 255.0 / (high - low)
        # In float64, as in training: 16 bits a channel and a narrow window would lose digits.
        pixels = keras.layers.Rescaling(scale, -low * scale, dtype="float64", name="to_255")(given)
        pixels = keras.ops.cast(keras.ops.clip(pixels, 0.0, 255.0), "float32")
    pixels = keras.layers.Resizing(
        *how.image_size, interpolation="bilinear", antialias=True, dtype="float32", name="to_size"
    )(pixels)
    pixels = keras.ops.clip(pixels if deep else keras.ops.round(pixels), 0.0, 255.0)
    return keras.Model({"image": given}, network(keras.ops.cast(pixels, network.inputs[0].dtype)), name=NAME)


def _undo_images(how: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    if how.intensity_range is None:
        return {"image": x}
    low, high = how.intensity_range
    return {"image": (x.astype(np.float64) / 255.0 * (high - low) + low).astype(np.float32)}


def _undo_table(how: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    raw, place = {}, 0
    for name, column in zip(names_of([one.name for one in how.columns]), how.columns, strict=True):
        block = x[:, place : place + len(column.features)]
        place += len(column.features)
        if column.kind in ENCODED:
            raw[name] = block.astype(np.float32)
            continue
        missing = block[:, -1] == 1 if column.flag else np.zeros(len(x), bool)
        if column.kind == "category":
            hot = block[:, : len(column.categories)]
            texts = np.array([*column.categories, "never seen before"], object)
            found = texts[np.where(hot.any(axis=1), hot.argmax(axis=1), len(column.categories))]
            raw[name] = np.where(missing, "", found).astype(str)[:, None]
        else:
            mean, scale = (column.mean, column.scale) if column.kind == "number" else (0.0, 1.0)
            raw[name] = np.where(missing, np.nan, block[:, 0].astype(np.float64) * scale + mean)[:, None]
    return raw


def _undo_words(how: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    known = {1: "\N{REPLACEMENT CHARACTER}never-seen", **dict(enumerate(how.vocabulary[2:], 2))}
    return {"words": np.array([" ".join(known[i] for i in row if i) for row in x])[:, None]}


def outputs(model: Any, raw: dict[str, np.ndarray]) -> np.ndarray:
    """What a raw model says of raw input."""
    import tensorflow as tf

    return np.asarray(model({name: tf.constant(part) for name, part in raw.items()}, training=False))


def write(
    model: str, preprocessing: str, samples: str, folder: str, formats: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Write the raw model as ``model_raw.keras`` and as the SavedModel ``model_raw``, each reloaded and compared.

    Returns format -> difference, samples and allowed, as an export has them. Raises `CompressionError` beyond the
    allowed difference. Runs in a child process.
    """
    import os
    import shutil
    from pathlib import Path

    import tensorflow as tf

    from lepton_kit.compression.quantization.convert import load_keras
    from lepton_kit.data.preprocessing import load

    network, how, x = load_keras(model), load(preprocessing), np.load(samples)
    expected = np.asarray(network.predict_on_batch(x.astype(network.inputs[0].dtype)))
    raw, given = build(network, how), undo(how, x)
    found = {}
    for name in formats:
        path = Path(folder) / (f"{NAME}.keras" if name == "keras" else NAME)
        part = path.with_name(f"part-{os.getpid()}-{path.name}")
        try:
            if name == "keras":
                raw.save(part)
                got = outputs(load_keras(part), given)
            else:
                raw.export(str(part), format="tf_saved_model", verbose=False)
                loaded = tf.saved_model.load(str(part))
                got = np.asarray(loaded.serve({key: tf.constant(value) for key, value in given.items()}))
            found[name] = {
                "difference": compare(expected, got, f"{NAME} ({name})"),
                "samples": len(x),
                "allowed": allowed(expected),
            }
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(part, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            part.unlink(missing_ok=True)
    return found


def remove(folder: Any) -> None:
    """Take the raw models of an earlier export away."""
    import shutil

    shutil.rmtree(folder / NAME, ignore_errors=True)
    (folder / f"{NAME}.keras").unlink(missing_ok=True)
