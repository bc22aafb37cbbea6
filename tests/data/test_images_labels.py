"""Images whose labels stand in a CSV file."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.errors import ConfigError, DataError


@pytest.fixture
def flat(tmp_path):
    """A folder img/ of ten images 0.png … 9.png, each of its number's grey."""
    for i in range(10):
        path = tmp_path / "set" / "img" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4), i, np.uint8)).save(path)
    return tmp_path / "set"


def write(folder, text, name="labels.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder


def rows(head, row, count=10):
    return "\n".join([head, *(row(i) for i in range(count))]) + "\n"


def prepared(folder, **options):
    return data.image_folder(folder, labels="labels.csv", **{"validation_split": 0, **options}).prepare()


@pytest.mark.parametrize(
    "row",
    [
        lambda i: f"{i}.png,{'ab'[i % 2]}",
        lambda i: f"{i},{'ab'[i % 2]}",
        lambda i: f"img/{i}.png,{'ab'[i % 2]}",
        lambda i: f".\\img\\{i}.png, {'ab'[i % 2]} ",
        lambda i: f"/data/old/place/{i}.png,{'ab'[i % 2]}",
    ],
)
def test_rows_name_images_in_many_ways(flat, row):
    write(flat, rows("file,label", row))
    found = prepared(flat)
    assert found.class_names == ("a", "b")
    assert found.task == "classification"
    by_grey = dict(zip(found.train.x[:, 0, 0, 0].tolist(), found.train.y.tolist(), strict=True))
    assert by_grey == {i: i % 2 for i in range(10)}
    assert found.preprocessing.target.name == "label"


@pytest.mark.parametrize(
    ("head", "row", "encoding"),
    [
        ("Label;Image ID", lambda i: f"{'äb'[i % 2]};{i}", "utf-8-sig"),
        ("label,id", lambda i: f"{i % 2},{i}", "utf-8"),
        ("id\ttags", lambda i: f"{i}\t{'äb'[i % 2]}", "cp1252"),
        ("url,image,Diagnosis", lambda i: f"http://x/{i * 7},{i}.png,{'äb'[i % 2]}", "utf-8"),
    ],
)
def test_columns_are_found(flat, head, row, encoding):
    write(flat, rows(head, row), encoding=encoding)
    assert prepared(flat).class_names == (("0", "1") if head == "label,id" else ("b", "ä"))


def test_the_first_of_two_columns_that_name_images(flat):
    write(flat, rows("file,twin,label", lambda i: f"{i}.png,{9 - i}.png,{'ab'[i // 5]}"))
    found = prepared(flat, label_column="label")
    by_grey = dict(zip(found.train.x[:, 0, 0, 0].tolist(), found.train.y.tolist(), strict=True))
    assert by_grey == {i: i // 5 for i in range(10)}


def test_whole_numbers_are_classes_in_their_order_and_many_are_a_regression(flat):
    write(flat, rows("id,label", lambda i: f"{i},{i % 2 * 8 + 2}"))
    assert prepared(flat).class_names == ("2", "10")
    write(flat, rows("id,age", lambda i: f"{i},{i + 0.5}"))
    found = prepared(flat)
    assert found.task == "regression"
    target = found.preprocessing.target
    assert target.name == "age"
    values = target.values(found.train.y[:, None])[:, 0]
    assert np.allclose(values, found.train.x[:, 0, 0, 0] + 0.5)
    assert prepared(flat, task="classification").num_classes == 10
    write(flat, rows("id,age", lambda i: f"{i},{i}"))
    assert prepared(flat, task="regression").train.y.dtype == np.float32


def test_several_labels_an_image(flat):
    write(flat, rows("id,Finding Labels", lambda i: f"{i},{'No' if i % 2 else 'Mass|Edema'}"))
    found = prepared(flat)
    assert found.class_names == ("Edema", "Mass", "No")
    assert found.train.y[:2].tolist() == [[1, 1, 0], [0, 0, 1]]
    assert found.task == found.preprocessing.target.task == "multilabel"
    write(flat, rows("id,tags", lambda i: f"{i},{'clear primary' if i % 2 else 'haze'}"))
    assert prepared(flat, label_separator=" ").class_names == ("clear", "haze", "primary")
    write(flat, rows("id,tags", lambda i: f"{i},{'x' if i % 2 else ''}"))
    assert prepared(flat, task="multilabel").train.y[:2].tolist() in ([[0], [1]], [[1], [0]])


def test_columns_of_zeros_and_ones(flat):
    write(flat, rows("image,MEL,NV", lambda i: f"{i},{i % 2}.0,{1 - i % 2}.0"))
    found = prepared(flat)
    assert (found.task, found.class_names) == ("classification", ("MEL", "NV"))
    assert found.train.y[:2].tolist() == [1, 0]
    write(flat, rows("image,old,wet", lambda i: f"{i},1,{i % 2}"))
    assert prepared(flat).train.y[:2].tolist() == [[1, 0], [1, 1]]
    write(flat, rows("image,old,wet,note", lambda i: f"{i},1,{i % 2},x"))
    assert prepared(flat, label_column=["old", "wet"]).class_names == ("old", "wet")
    with pytest.raises(DataError, match="row 2 has 2 labels; a classification needs one"):
        prepared(flat, label_column=["old", "wet"], task="classification")
    with pytest.raises(DataError, match="expected 0 or 1"):
        prepared(flat, label_column=["old", "note"])


def test_a_column_of_splits(flat):
    write(
        flat,
        rows(
            "id,label,split", lambda i: f"{i},{'ab'[i % 2]},{['train', 'train', 'val', 'test'][i // 2 % 4]}"
        ),
    )
    found = prepared(flat)
    assert (len(found.train), len(found.validation)) == (6, 2)
    assert "2 test images are left alone" in found.notes
    write(flat, rows("id,label,part", lambda i: f"{i},{'ab'[i % 2]},{['Training', 'Testing'][i // 2 % 2]}"))
    found = prepared(flat, label_column="label", split_column="part")
    assert (len(found.train), len(found.validation)) == (6, 4)
    write(flat, rows("id,label,part", lambda i: f"{i},{'ab'[i % 2]},{'train' if i < 9 else 'huh'}"))
    with pytest.raises(DataError, match="'part' has 'huh'; expected train, validation or test"):
        prepared(flat, label_column="label", split_column="part")
    write(flat, rows("id,label,part", lambda i: f"{i},{'ab'[i % 2]},val"))
    with pytest.raises(DataError, match="no row to train on"):
        prepared(flat, label_column="label", split_column="part")


def test_split_folders_around_images_with_labels(flat):
    (flat / "train").mkdir()
    (flat / "test").mkdir()
    for i in range(10):
        (flat / "img" / f"{i}.png").rename(flat / ("test" if i > 7 else "train") / f"{i}.png")
    write(flat, rows("id,label", lambda i: f"{i},{'ab'[i % 2]}"))
    found = prepared(flat)
    assert (len(found.train), len(found.validation)) == (8, 2)
    assert prepared(flat, splits="none").validation is None
    (flat / "test").rename(flat / "later")
    assert len(prepared(flat, splits={"later": "validation"}).validation) == 2


def test_labels_beside_the_images_change_the_fingerprint(flat, tmp_path, monkeypatch):
    write(flat, rows("id,label", lambda i: f"{i},{'ab'[i % 2]}"))
    for name in ("labels.csv", str(flat / "labels.csv")):
        source = data.image_folder(flat / "img", labels=name)
        assert source.prepare().class_names == ("a", "b")
    old = source.prepare().fingerprint
    write(flat, rows("id,label", lambda i: f"{i},{'xyz'[i % 3]}"))
    assert source.prepare().fingerprint != old
    assert source.prepare().class_names == ("x", "y", "z")
    other = tmp_path / "elsewhere"
    other.mkdir()
    write(other, rows("id,label", lambda i: f"{i},{'uv'[i % 2]}"), "mine.csv")
    monkeypatch.chdir(other)
    source = data.image_folder(flat / "img", labels="mine.csv")
    assert source.options["labels"] == str(other / "mine.csv")
    assert data.Dataset.from_spec(source.spec()).prepare().class_names == ("u", "v")


def test_labels_in_an_archive(flat, tmp_path):
    write(flat, rows("id,label", lambda i: f"{i},{'ab'[i % 2]}"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in flat.rglob("*.*"):
            archive.write(file, f"set/{file.relative_to(flat)}")
    assert prepared(tmp_path / "set.zip").class_names == ("a", "b")


def test_rows_and_images_that_miss_each_other(flat):
    write(flat, rows("id,label", lambda i: f"{i},{'ab'[i % 2]}", count=8) + "99,a\n")
    with pytest.raises(
        DataError, match="1 of 9 rows name an image that isn't there, such as '99'; on_error='skip'"
    ):
        prepared(flat)
    found = prepared(flat, on_error="skip")
    assert len(found.train) == 8
    assert any("99" in note for note in found.notes)
    assert "2 images have no row in labels.csv; left out" in found.notes


def test_a_row_twice(flat):
    text = rows("id,label", lambda i: f"{i},{'ab'[i % 2]}")
    write(flat, text + "0,a\n")
    assert len(prepared(flat).train) == 10
    write(flat, text + "0,b\n")
    with pytest.raises(DataError, match=r"'img/0.png' has two rows that differ: \['a'\] and \['b'\]"):
        prepared(flat)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "not a readable table of labels"),
        ("id,label\n", {}, "no rows"),
        ("id,id\n1,2\n", {}, "two columns have the same name"),
        (
            rows("name,label", lambda i: f"x{i},a"),
            {},
            r"no column names the images, such as 'img/0.png'; .*name \('x0'\)",
        ),
        (
            rows("id,u,v", lambda i: f"{i},p,q"),
            {},
            "which column is the label\\? it has u, v; give label_column=",
        ),
        (rows("id,u,v", lambda i: f"{i},p,q"), {"label_column": "w"}, "no column 'w'; it has id, u, v"),
        (rows("id,u", lambda i: f"{i},p"), {"image_column": "w"}, "no column 'w'"),
        (rows("id,u", lambda i: f"{i},p"), {"split_column": "w"}, "no column 'w'"),
        (rows("id,label", lambda i: f"{i},a"), {}, "one class only"),
        (rows("id,label", lambda i: f"{i},{'a' if i else ''}"), {}, "the image '0' has no value in 'label'"),
        (rows("id,label", lambda i: f"{i},{i or 'x'}"), {"task": "regression"}, "has 'x'; expected numbers"),
    ],
)
def test_what_is_wrong_with_labels_is_named(flat, text, options, said):
    write(flat, text)
    with pytest.raises(DataError, match=said):
        prepared(flat, **options)


def test_labels_that_are_not_there(flat):
    write(flat, "id,label\n", "other.csv")
    with pytest.raises(DataError, match=r"labels='labels.csv': no file of that name .*there is other\.csv"):
        prepared(flat)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"labels": 3}, "data.labels"),
        ({"labels": "a", "masks": "b"}, "data.masks"),
        ({"image_column": "a"}, "data.image_column"),
        ({"split_column": "a"}, "data.split_column"),
        ({"label_separator": ""}, "data.label_separator"),
        ({"label_pattern": "("}, "data.label_pattern"),
        ({"label_pattern": "cat"}, "data.label_pattern"),
        ({"label_pattern": "(c)", "labels": "a"}, "data.label_pattern"),
        ({"label_pattern": "(c)", "masks": "a"}, "data.masks"),
        ({"task": "guess"}, "data.task"),
    ],
)
def test_settings_are_checked(tmp_path, options, field):
    with pytest.raises(ConfigError, match=field):
        data.image_folder(tmp_path, **options)


def test_labels_in_the_names_of_files(flat):
    for i in range(10):
        (flat / "img" / f"{i}.png").rename(flat / "img" / f"{('cat', 'dog')[i % 2]}.{i}.png")
    source = data.image_folder(flat, label_pattern=r"^(cat|dog)\.", validation_split=0)
    found = source.prepare()
    assert found.class_names == ("cat", "dog")
    assert np.array_equal(found.train.y, found.train.x[:, 0, 0, 0] % 2)
    ages = data.image_folder(
        flat, label_pattern=r"(\d+)\.png$", task="regression", validation_split=0
    ).prepare()
    values = ages.preprocessing.target.values(ages.train.y)
    assert np.allclose(values, ages.train.x[:, 0, 0, 0], atol=1e-5)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(flat / "img" / "cow.1.png")
    with pytest.raises(
        DataError, match=r"cow\.1\.png: label_pattern .* finds no label in the name \(1 of 11"
    ):
        source.prepare()
    assert len(data.image_folder(flat, label_pattern=r"^(cat|dog)", on_error="skip").prepare().train) == 8


@pytest.mark.parametrize(
    ("head", "row", "first"),
    [
        ("file;age", lambda i: f"{i}.png;{20 + i},5", 20.5),
        ("file,age", lambda i: f'{i}.png,"{1 + i},0{i}0"', 1000),
        ("file,age", lambda i: f"{i}.png,{20 + i}.5 €", 20.5),
    ],
)
def test_numbers_are_read_as_a_table_reads_them(flat, head, row, first):
    found = prepared(write(flat, rows(head, row)), task="regression")
    assert found.preprocessing.target.values(found.train.y[:1])[0] == pytest.approx(first)
    if "," in row(0).partition(".png")[2][1:] and head == "file;age":
        assert any("is read as" in note for note in found.notes)


def test_numbers_among_which_is_a_word_are_refused(flat):
    write(flat, rows("file,age", lambda i: f"{i}.png,{'?' if i == 3 else i + 0.5}"))
    with pytest.raises(DataError, match=r"column 'age' has numbers, but also '\?'; take its rows out"):
        prepared(flat)


def test_boxes_are_no_labels(flat):
    write(flat, rows("file,x,y,w,h", lambda i: f"{i}.png,{i},{2 * i},3,4"))
    with pytest.raises(
        DataError, match="it has x, y, w, h, which look like bounding boxes; give label_column="
    ):
        prepared(flat)
    assert prepared(flat, label_column="y").preprocessing.target.name == "y"
    write(flat, rows("file,xmin,ymin,xmax,ymax,class", lambda i: f"{i}.png,1,2,3,4,{'ab'[i % 2]}"))
    found = prepared(flat)
    assert found.class_names == ("a", "b")
    assert (
        "xmin, ymin, xmax, ymax look like bounding boxes, which are not read: an image has one label"
        in found.notes
    )


def test_labels_in_json_lines_beside_their_images(flat):
    for i in range(4):
        (flat / "test").mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 4), 50, np.uint8)).save(flat / "test" / f"{i}.png")
    lines = [
        f'{{"file_name": "{i}.png", "label": {i % 2}, "objects": {{"bbox": [1, 2]}}}}' for i in range(10)
    ]
    write(flat / "img", "\n".join(lines), "metadata.jsonl")
    found = data.image_folder(flat, labels="img/metadata.jsonl", validation_split=0).prepare()
    assert (found.class_names, len(found.train)) == (("0", "1"), 10)
    assert "4 images have no row in img/metadata.jsonl; left out" in found.notes
    for content, told in (("{", "line 1 is no JSON"), ("[1]", "line 1 is no object"), ("\n", "no rows")):
        write(flat / "img", content, "metadata.jsonl")
        with pytest.raises(DataError, match=told):
            data.image_folder(flat, labels="img/metadata.jsonl").prepare()


def test_one_folder_beside_a_table_points_to_it(tmp_path):
    for name in ("train/images/1.png", "train/images/2.png", "val/images/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / name)
    (tmp_path / "train.csv").write_text("image,label\n1.png,a\n")
    with pytest.raises(
        DataError, match=r"one class only \('images'\); .*, or labels='train\.csv', a table of file names"
    ):
        data.image_folder(tmp_path).prepare()
