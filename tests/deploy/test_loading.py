"""An export that was moved to an empty folder answers raw input in another process, in every format, without the run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_kit.data import arrays
from lepton_kit.deploy import sidecars
from lepton_kit.deploy.exports import export
from lepton_kit.deploy.loading import find, load
from lepton_kit.deploy.modelcard.card import ModelCard
from lepton_kit.errors import ConfigError, DataError, ModelError, RunError

FORMATS = ["keras", "saved_model"]
FORMATS += ["litert"] if importlib.util.find_spec("ai_edge_litert") else []
FORMATS += ["onnx"] if all(map(importlib.util.find_spec, ("tf2onnx", "onnxruntime"))) else []
PLACES = {"keras": "model.keras", "saved_model": "model", "litert": "model.tflite", "onnx": "model.onnx"}
X = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
Y = np.where(X[:, 0] > 0, "cat", "dog")

BLOCKED = """
import importlib.abc, json, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("tensorflow", "keras"):
            raise ImportError(f"{name} is not to be imported here")
if sys.argv[3] == "blocked":
    sys.meta_path.insert(0, Refuse())
import numpy as np
import lepton_kit as lk
predictor = lk.load(sys.argv[1])
raw = np.load(sys.argv[2])
table = predictor.predict(raw)
encoded = predictor.encode(raw)
print(json.dumps({"x": encoded.x.tobytes().hex(), "class": table["class"].tolist(), "columns": list(table),
                  "p": table["probability_dog"].tolist(), "tensorflow": "tensorflow" in sys.modules}))
"""


@pytest.fixture(scope="module")
def exported(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, dict[str, Any]]:
    """A folder of exports that was moved after it was written, the model, and what `export` said."""
    import keras

    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)], name="net"
    )
    network.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(X, (Y == "dog").astype(int), epochs=3, verbose=0)
    made = tmp_path_factory.mktemp("made") / "exports"
    found = export(network, made, formats=FORMATS, data=arrays(X, Y), call=workshop)
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.move(made, moved)
    return moved, network, found


@pytest.mark.processes
@pytest.mark.parametrize("name", FORMATS)
def test_a_moved_export_answers_in_another_process(exported, name: str, tmp_path: Path):
    folder, network, found = exported
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    place = folder / PLACES[name]
    if place.is_dir():
        shutil.copytree(place, lonely / place.name)  # its sidecars lie inside
    else:
        for file in (place.name, "preprocessing.json", "answers.json"):
            shutil.copy(folder / file, lonely / file)
    np.save(tmp_path / "raw.npy", X)
    how = "blocked" if name in ("litert", "onnx") else "free"
    answer = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(lonely / place.name), str(tmp_path / "raw.npy"), how],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": "-1"},
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    told = json.loads(answer.stdout.splitlines()[-1])
    assert told["x"] == X.tobytes().hex()  # bit for bit
    logits = np.asarray(network.predict(X, verbose=0), np.float64)
    expected = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(told["p"], expected, atol=found[name].allowed)
    assert told["columns"] == ["class", "probability", "probability_cat", "probability_dog"]
    assert told["class"] == np.where(expected > 0.5, "dog", "cat").tolist()
    assert not (how == "blocked" and told["tensorflow"])


@pytest.mark.processes
def test_a_folder_has_a_card_with_figures_and_each_formats_bound(exported):
    folder, _, found = exported
    card = ModelCard.load(folder)
    assert card.facts.outputs[0].metrics[0].name == "accuracy"
    assert card.facts.data.class_names == ("cat", "dog")
    assert set(card.facts.formats) == set(found)
    assert card.facts.formats["keras"]["difference"] <= card.facts.formats["keras"]["allowed"]
    assert (folder / "card.html").is_file()
    assert (folder / "card.md").is_file()


@pytest.mark.processes
def test_a_folder_is_opened_in_the_format_asked_for(exported):
    folder, *_ = exported
    for name in FORMATS:
        assert find(folder, name) == folder / PLACES[name]
    assert find(folder) == folder / "model.keras"
    with pytest.raises(ConfigError, match="format: got 'h5'; expected one of keras, saved_model"):
        find(folder, "h5")
    with pytest.raises(ModelError, match="a keras model; format='onnx' was asked for"):
        find(folder / "model.keras", "onnx")
    assert "classification" in repr(load(folder))


@pytest.mark.processes
def test_exporting_another_model_there_takes_the_old_preprocessing_away(exported, workshop, tmp_path: Path):
    folder, *_ = exported
    for name in ("model.keras", "preprocessing.json", "answers.json"):
        shutil.copy(folder / name, tmp_path / name)
    assert sidecars.read(tmp_path / "model.keras")[1][0].labels == ("cat", "dog")
    export(folder / "model.keras", tmp_path / "second", formats=["keras"], call=workshop)
    assert sidecars.read(tmp_path / "second" / "model.keras")[1][0].labels == (
        "cat",
        "dog",
    )  # it lay beside the file
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "model.keras", bare / "model.keras")
    export(bare / "model.keras", tmp_path / "second", formats=["keras"], call=workshop)
    with pytest.raises(DataError, match=r"there is no preprocessing\.json beside it"):
        load(tmp_path / "second")


@pytest.mark.processes
def test_a_file_that_changed_after_the_export_is_named(exported, tmp_path: Path):
    folder, *_ = exported
    for name in ("preprocessing.json", "answers.json", "model.keras"):
        other = tmp_path / name
        shutil.copytree(folder, other)
        content = (other / name).read_bytes()
        old, new = (b'"cat"', b'"car"') if b'"cat"' in content else (content[500:503], b"...")
        (other / name).write_bytes(content.replace(old, new))
        with pytest.raises(RunError, match=f"{name}: damaged"):
            load(other)
        (other / "checksums.json").unlink()
        if name == "answers.json":  # changed on purpose
            assert set(load(other).predict(X)["class"]) <= {"car", "dog"}
    inside = tmp_path / "inside"
    shutil.copytree(folder / "model", inside)
    place = inside / sidecars.INSIDE / "answers.json"
    place.write_text(place.read_text().replace('"cat"', '"car"'))
    with pytest.raises(RunError, match=r"answers\.json: damaged"):
        load(inside)


def test_what_is_no_model_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="no such file or folder"):
        load(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"no model in this folder; expected model\.keras or model or"):
        load(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ModelError, match=r"a\.txt: no model; expected a \.keras, \.tflite or \.onnx file"):
        load(tmp_path / "a.txt")
    (tmp_path / "model.onnx").write_bytes(b"no onnx")
    sidecars.write(tmp_path, *_some())
    if "onnx" in FORMATS:
        with pytest.raises(ModelError, match=r"model\.onnx: not a readable ONNX file"):
            load(tmp_path / "model.onnx")


def test_a_model_card_does_not_replace_a_compressions_report(tmp_path: Path):
    (tmp_path / "card.json").write_text('{\n "rows": []}')
    with pytest.raises(DataError, match="holds the report card of a compression"):
        export("model.keras", tmp_path)


def _some() -> Any:
    from lepton_kit.data.array_input import preprocessing_of
    from lepton_kit.models.answers import Answer

    return preprocessing_of(arrays(X, Y).prepare()), (Answer(task="classification"),)
