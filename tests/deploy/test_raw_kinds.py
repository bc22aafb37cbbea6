"""Every kind of data: trained, exported, moved to an empty folder, and asked raw input there by another process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.data.images.preprocessing import ImagePreprocessing
from lepton_kit.deploy import raw_model
from lepton_kit.deploy.exports import export
from lepton_kit.deploy.modelcard.card import ModelCard

RNG = np.random.default_rng(0)
ASK = """
import hashlib, json, sys
import lepton_kit as lk
told = {}
for kind, (folder, raw, formats) in json.load(open(sys.argv[1])).items():
    for format in formats:
        predictor = lk.load(folder, format=format)
        encoded, table = predictor.encode(raw), predictor.predict(raw)
        told[f"{kind} {format}"] = {
            "x": hashlib.sha256(encoded.x.tobytes()).hexdigest(), "names": [str(name) for name in table.index],
            "first": table.iloc[:, 0].tolist(), "last": table.iloc[:, -1].tolist(), "notes": table.attrs["notes"]}
print(json.dumps(told))
"""
FORMATS = {
    "images": ["keras", "saved_model", "litert"],
    "text": ["keras", "litert"],
    "table": ["saved_model", "litert"],
    "windows": ["litert"],
}


def images(home: Path) -> tuple[Any, Any]:
    """Bright and dark pictures in class folders; the same ones as a list of files."""
    from PIL import Image

    files = []
    for name, level in (("bright", 180), ("dark", 20)):
        (home / name).mkdir(parents=True)
        for k in range(12):
            pixels = RNG.integers(level, level + 60, (9, 7, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(home / name / f"{k:02}.png")
            files.append(str(home / name / f"{k:02}.png"))
    return lk.data.image_folder(home, image_size=(8, 8)), files


def texts(home: Path) -> tuple[Any, Any]:
    """Sentences that say yes or no."""
    home.mkdir()
    said = [
        (f"{word} {filler} it is", label)
        for word, label in (("sure", "yes"), ("never", "no"))
        for filler in "abcdefghijkl"
    ]
    lines = "".join(f"{text},{label}\n" for text, label in said)
    (home / "a.csv").write_text(f"text,intent\n{lines}", encoding="utf-8")
    return lk.data.text(home / "a.csv", sequence_length=5), [text for text, _ in said] + [
        "sure  Zeppelin, it is!"
    ]


def table(home: Path) -> tuple[Any, Any]:
    """Numbers, a number with gaps, categories with gaps, and prices that follow them."""
    home.mkdir()
    rows = []
    for k in range(60):
        size, kind = RNG.normal(100, 20), ["flat", "house"][k % 2]
        year = "" if k % 7 == 0 else str(1900 + k)
        rows.append(f"{size:.3f},{year},{kind if k % 11 else ''},{2000 * size + (k % 2) * 9000:.1f}")
    (home / "a.csv").write_text("size,year,kind,price\n" + "\n".join(rows) + "\n")
    (home / "new.csv").write_text(
        "size,year,kind\n" + "\n".join(row.rpartition(",")[0] for row in rows) + "\n"
    )
    return lk.data.table(home / "a.csv", target="price"), str(home / "new.csv")


def windows(home: Path) -> tuple[Any, Any]:
    """Recordings of a machine at rest and at work, some of each."""
    home.mkdir()
    recordings = {
        f"{name}_{k}": RNG.normal(0, size, (40, 2))
        for name, size in (("rest", 1), ("work", 4))
        for k in range(3)
    }
    np.savez(home / "a.npz", **recordings)
    return lk.data.windows(home / "a.npz", length=8), str(home / "a.npz")


KINDS: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "images": images,
    "text": texts,
    "table": table,
    "windows": windows,
}


def model_for(prepared: Any) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    task = "regression" if prepared.task == "regression" else "classification"
    model = lk.LeptonModel(
        prepared.sample_shape,
        prepared.num_classes or 1,
        8,
        2,
        vocabulary_size=prepared.vocabulary_size,
        task=task,
    )
    network = model.fitted_to(prepared).network
    loss = "mse" if task == "regression" else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss)
    network.fit(np.asarray(prepared.train.x), np.asarray(prepared.train.y), epochs=2, verbose=0)
    return network


@pytest.fixture(scope="module")
def answered(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """kind -> what this process knows, and what the other one told of each format."""
    base = tmp_path_factory.mktemp("kinds")
    known, asked = {}, {}
    for kind, make in KINDS.items():
        data, raw = make(base / kind)
        prepared = data.prepare()
        network = model_for(prepared)
        exported = export(network, base / f"made-{kind}", formats=FORMATS[kind], data=data, call=workshop)
        moved = tmp_path_factory.mktemp("elsewhere") / kind
        shutil.move(base / f"made-{kind}", moved)
        known[kind] = {
            "prepared": prepared,
            "network": network,
            "raw": raw,
            "folder": moved,
            "exported": exported,
        }
        asked[kind] = (str(moved), raw, FORMATS[kind])
    (base / "asked.json").write_text(json.dumps(asked))
    answer = subprocess.run(
        [sys.executable, "-c", ASK, str(base / "asked.json")],
        capture_output=True,
        text=True,
        cwd=base,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": "-1"},
        timeout=400,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    told = json.loads(answer.stdout.splitlines()[-1])
    return {
        kind: {**known[kind], "told": {name: told[f"{kind} {name}"] for name in FORMATS[kind]}}
        for kind in KINDS
    }


@pytest.mark.processes
@pytest.mark.parametrize("kind", KINDS)
def test_a_moved_export_answers_raw_input_as_the_model_does(answered: dict[str, Any], kind: str):
    one = answered[kind]
    how = one["prepared"].preprocessing
    encoded = how.encode(one["raw"])
    outputs = one["network"].predict(encoded.x, verbose=0)
    rows = {row.tobytes() for row in np.asarray(one["prepared"].train.x)}
    seen = sum(row.tobytes() in rows for row in encoded.x)
    assert seen >= len(rows) * 0.9  # training rows become, bit for bit, what they were in training
    for name, told in one["told"].items():
        assert told["x"] == hashlib.sha256(encoded.x.tobytes()).hexdigest(), name
        assert told["names"] == [str(n) for n in encoded.names]
        allowed = one["exported"][name].allowed
        if one["prepared"].task == "regression":
            np.testing.assert_allclose(
                told["first"], how.target.values(outputs)[:, 0], atol=allowed * how.target.scale[0]
            )
        else:
            powers = np.exp(outputs.astype(np.float64))
            np.testing.assert_allclose(told["last"], powers[:, -1] / powers.sum(axis=1), atol=allowed)
            names = one["prepared"].class_names
            assert told["first"] == [names[k] for k in outputs.argmax(axis=1)]


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["text", "table"])
def test_keras_files_of_tables_and_words_hold_the_preprocessing_as_layers(
    answered: dict[str, Any], kind: str
):
    import keras
    import tensorflow as tf

    one = answered[kind]
    facts = ModelCard.load(one["folder"]).facts
    assert f"model_raw ({FORMATS[kind][0]})" in facts.formats
    assert "model_raw" in facts.preprocessing
    if kind == "text":
        given = {"words": np.array([["sure a it is"], ["never heard it is not"]])}
        encoded = one["prepared"].preprocessing.encode([text for (text,) in given["words"].tolist()]).x
    else:
        import pandas as pd

        frame = pd.DataFrame({"size": [90.5, 101.25], "year": [1912.0, np.nan], "kind": ["flat", "castle"]})
        given = {name: frame[[name]].to_numpy() for name in ("size", "year")}
        given["kind"] = np.array([["flat"], ["castle"]])
        encoded = one["prepared"].preprocessing.encode(frame).x
    tensors = {name: tf.constant(value) for name, value in given.items()}
    expected = one["network"].predict(encoded, verbose=0)
    if kind == "text":
        found = keras.models.load_model(one["folder"] / "model_raw.keras")(tensors)
    else:
        loaded = tf.saved_model.load(str(one["folder"] / "model_raw"))
        found = loaded.serve(tensors)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)


@pytest.mark.processes
def test_keras_files_of_images_take_decoded_images_of_any_size(answered: dict[str, Any]):
    import keras
    import tensorflow as tf

    one = answered["images"]
    facts = ModelCard.load(one["folder"]).facts
    assert {"model_raw (keras)", "model_raw (saved_model)"} <= facts.formats.keys()
    assert "1 of 255 grey levels" in facts.preprocessing
    how = one["prepared"].preprocessing
    loaded = keras.models.load_model(one["folder"] / "model_raw.keras")
    served = tf.saved_model.load(str(one["folder"] / "model_raw"))  # its variables live as long as it does
    for height, width in ((8, 8), (9, 7), (31, 44)):
        pixels = RNG.integers(0, 256, (5, height, width, 3)).astype(np.uint8)
        expected = one["network"].predict(how.encode(pixels).x, verbose=0)
        exact = (height, width) == how.image_size
        for found in (loaded({"image": pixels}), served.serve({"image": tf.constant(pixels)})):
            np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5 if exact else 0.05)


def _pixels(how: ImagePreprocessing) -> Any:
    """The part of a raw model before its network, as a function of images."""
    import keras

    height, width, channels = how.sample_shape
    plain = keras.Sequential([keras.Input((height, width, channels)), keras.layers.Identity()])
    return raw_model.build(plain, how)


@pytest.mark.parametrize("size", [(9, 7), (40, 30), (13, 57), (100, 151), (5, 4)])
@pytest.mark.parametrize("kind", ["noise", "edges", "ramp"])
def test_keras_resizes_bytes_to_within_a_grey_level_of_training(size: tuple[int, int], kind: str):
    height, width = size
    pixels = np.random.default_rng(1).integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    if kind == "edges":
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    elif kind == "ramp":
        pixels = np.broadcast_to(
            np.linspace(0, 255, width)[None, None, :, None], (2, height, width, 3)
        ).astype(np.uint8)
    how = ImagePreprocessing(image_size=(12, 10), color_mode="rgb")
    found = np.asarray(_pixels(how)({"image": pixels}))
    difference = np.abs(found - how.encode(pixels).x.astype(np.float32))
    assert difference.max() <= raw_model.GREY_LEVELS
    assert np.array_equal(found, np.rint(found))


def test_keras_scales_and_resizes_values_of_many_bits_as_training_does():
    ramp = np.linspace(0, 24_000, 21)[None, None, :, None]  # below the window, inside it, and above
    values = (ramp + np.random.default_rng(1).integers(0, 900, (3, 33, 21, 1))).astype(np.uint16)
    how = ImagePreprocessing(image_size=(12, 10), color_mode="grayscale", intensity_range=(900.0, 21_000.0))
    found = np.asarray(_pixels(how)({"image": values.astype(np.float32)}))
    expected = how.encode(values).x
    assert expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert expected.min() < 10.0  # two columns are averaged, and the first is below the window
    assert expected.max() > 250.0
    same = raw_model.undo(how, expected)
    np.testing.assert_allclose(np.asarray(_pixels(how)(same)), expected, atol=1e-3)


@pytest.mark.processes
def test_a_model_with_layers_of_its_own_takes_no_preprocessing_beside_it(answered: dict[str, Any]):
    with pytest.raises(lk.errors.ModelError, match="takes raw values itself"):
        lk.load(answered["text"]["folder"] / "model_raw.keras")


@pytest.mark.processes
def test_a_word_never_seen_is_named(answered: dict[str, Any]):
    for told in answered["text"]["told"].values():
        assert any("no training text has" in note for note in told["notes"])
