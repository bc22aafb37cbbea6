"""Images inside Parquet and Arrow files, as Hugging Face stores them: classes from the metadata, decoded like others."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import lepton_kit as lk
from lepton_kit import data
from lepton_kit.data.schemas import class_names, features_of
from lepton_kit.errors import ConfigError, DataError

NAMES = ("cat", "dog", "owl")
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(number, size=(6, 5), form="PNG", mode="RGB"):
    pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, form)
    return out.getvalue()


def about(names=NAMES):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(names)}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def table(count=60, start=0, names=NAMES, labels=None, cells=None, metadata=None):
    labels = labels or [k % 3 for k in range(start, start + count)]
    cells = cells or [{"bytes": encoded(k), "path": f"{k}.png"} for k in range(start, start + count)]
    schema = pa.schema([("image", PICTURE), ("label", pa.int64())], metadata=metadata or about(names))
    return pa.table({"image": cells, "label": labels}, schema=schema)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "animals"
    (root / "data").mkdir(parents=True)
    pq.write_table(table(), root / "data" / "train-00000-of-00001.parquet", row_group_size=20)
    pq.write_table(table(30, 60), root / "data" / "test-00000-of-00001.parquet", row_group_size=20)
    return root


def everything(split):
    return split.rows(np.arange(len(split)))


def test_a_folder_of_the_hub_is_read_with_the_names_of_its_classes(folder):
    found = lk.data.describe(folder)
    assert (found.failure, found.verb, found.code.rpartition(", ")[2]) == (None, "parquet", "target='label')")
    assert (found.classes, found.held_out) == (dict.fromkeys(NAMES, 20), dict.fromkeys(NAMES, 10))
    prepared = lk.data.read(folder).prepare()
    assert (prepared.sample_shape, prepared.class_names, prepared.value_range) == (
        (6, 5, 3),
        NAMES,
        (0.0, 255.0),
    )
    for split, start in ((prepared.train, 0), (prepared.validation, 60)):
        x, y, _ = everything(split)
        for row in range(len(split)):
            assert np.array_equal(x[row], np.array(Image.open(io.BytesIO(encoded(start + row)))))
            assert y[row] == (start + row) % 3
    copied = data.parquet(folder, target="label", cache=True).prepare()
    assert np.array_equal(everything(copied.train)[0], everything(prepared.train)[0])
    new = Image.open(io.BytesIO(encoded(3)))
    assert np.array_equal(prepared.preprocessing.encode([new]).x, everything(prepared.train)[0][3:4])


def test_one_file_as_parquet_or_as_a_stream_of_arrow(tmp_path):
    pq.write_table(table(), tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as out, pa.ipc.new_stream(out, table().schema) as stream:
        stream.write_table(table())
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as out:
        rows = pa.table({"a": [k % 7 for k in range(60)], "label": ["pq"[k % 2] for k in range(60)]})
        with pa.ipc.new_stream(out, rows.schema) as stream:
            stream.write_table(rows)
    assert len(lk.data.read(tmp_path / "rows.arrow").prepare().train) == 48
    for name in ("a.parquet", "a.arrow"):
        prepared = lk.data.read(tmp_path / name, validation_split=0.25).prepare()
        assert (len(prepared.train), len(prepared.validation), prepared.class_names) == (45, 15, NAMES)


def test_a_class_that_no_row_has_keeps_its_number(tmp_path):
    pq.write_table(table(labels=[2 * (k % 2) for k in range(60)]), tmp_path / "a.parquet")
    prepared = data.parquet(tmp_path / "a.parquet", target="label").prepare()
    assert (prepared.class_names, prepared.num_classes) == (NAMES, 3)
    assert set(np.asarray(prepared.train.y).tolist()) == {0, 2}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"labels": [-1] * 60}, "row 0 has the class number -1; .* -1 stands for a row without a label"),
        ({"labels": [7] * 60}, "row 0 has the class number 7; the file names 3 classes"),
        (
            {"cells": [{"bytes": None, "path": "x/1.png"}] * 60},
            "row 0, column 'image': only the path 'x/1.png'",
        ),
        ({"cells": [{"bytes": None, "path": None}] * 60}, "row 0, column 'image': no image"),
        ({"cells": [{"bytes": b"<svg/>", "path": None}] * 60}, "row 0, column 'image'"),
        (
            {"cells": [{"bytes": encoded(k, (6, 5 + k % 2)), "path": ""} for k in range(60)]},
            "6 x .* pixels, most are .* give image_size=",
        ),
    ],
)
def test_what_is_no_sample_is_named(tmp_path, made, said):
    pq.write_table(table(**made), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=said):
        data.parquet(tmp_path / "a.parquet", target="label").prepare()


def test_images_of_other_kinds_and_sizes(tmp_path):
    cells = [
        {"bytes": encoded(k, (8 + k % 3, 9), ("PNG", "JPEG", "BMP")[k % 3], "L"), "path": ""}
        for k in range(60)
    ]
    pq.write_table(table(cells=cells), tmp_path / "a.parquet")
    prepared = data.parquet(tmp_path / "a.parquet", target="label", image_size=(4, 5)).prepare()
    assert prepared.sample_shape == (4, 5, 1)
    with pytest.raises(ConfigError, match="image_size"):
        data.parquet(tmp_path / "a.parquet", target="label", image_size=(4,))


def test_changed_contents_are_found(folder):
    prepared = data.parquet(folder, target="label").prepare()
    path = folder / "data" / "train-00000-of-00001.parquet"
    other = table(cells=[{"bytes": encoded(100 + k), "path": ""} for k in range(60)])
    pq.write_table(other, path, row_group_size=20)
    with pytest.raises(DataError, match="changed"):
        everything(prepared.train)


def test_without_metadata_the_target_is_asked_for_and_classes_are_numbers(tmp_path):
    bare = table().rename_columns(["picture", "kind"]).replace_schema_metadata(None)
    pq.write_table(bare, tmp_path / "a.parquet")
    found = lk.data.describe(tmp_path / "a.parquet")
    assert (found.concerns, found.choices) == ("target", {"target": ("kind",)})
    assert lk.data.read(tmp_path / "a.parquet", target="kind").prepare().class_names == ("0", "1", "2")
    with pytest.raises(DataError, match=r"column 'picture' holds images; lk\.data\.parquet"):
        data.table(tmp_path / "a.parquet", target="kind").prepare()


def test_two_columns_of_images_are_asked_about(tmp_path):
    made = table()
    pq.write_table(made.append_column("mask", made["image"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"columns 'image', 'mask' hold images; features=\['image'\]"):
        data.parquet(tmp_path / "a.parquet", target="label").prepare()
    prepared = data.parquet(tmp_path / "a.parquet", target="label", features=["mask"]).prepare()
    assert prepared.sample_shape == (6, 5, 3)
    assert "beside the images not read: 'image'" in prepared.notes


def test_names_of_classes_are_taken_for_tables_and_texts_too(tmp_path):
    rows = {"size": [float(k % 7) for k in range(60)], "label": [k % 3 for k in range(60)]}
    pq.write_table(pa.table(rows).replace_schema_metadata(about()), tmp_path / "a.parquet")
    for verb in (data.table, data.parquet):
        assert verb(tmp_path / "a.parquet", target="label").prepare().class_names == NAMES
    rows = {"text": [f"word {k} and another one" for k in range(60)], "label": rows["label"]}
    pq.write_table(pa.table(rows).replace_schema_metadata(about()), tmp_path / "b.parquet")
    found = lk.data.describe(tmp_path / "b.parquet")
    assert (found.verb, tuple(found.classes)) == ("text", NAMES)


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": []}}'])
def test_damaged_metadata_say_nothing(metadata):
    schema = pa.schema([("label", pa.int64())], metadata={b"huggingface": metadata})
    assert (features_of(schema), class_names(schema)) == ({}, {})
