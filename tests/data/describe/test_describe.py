"""Descriptions of whole sources: what they say, and that their data set is ready."""

import numpy as np
import pandas as pd
import pytest

import lepton_kit as lk
from lepton_kit.data.describe import preview
from lepton_kit.data.describe.pictures import common_sizes
from lepton_kit.errors import DataError


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    rows = [f"{20 + k % 40},{'ab'[k % 2]},EU,{'Yes' if k % 30 else 'no'}" for k in range(300)]
    path.write_text("age,team,region,bought\n" + "\n".join(rows) + "\n")
    return path


def test_a_table_that_waits_for_its_target(people):
    found = lk.data.describe(people)
    assert repr(found) == "<Description: people.csv, a table, not ready to launch>"
    assert found.concerns == "target"
    assert [one.kind for one in found.columns] == ["number", "category", "constant", "yes/no"]
    assert "<td>EU</td>" in found._repr_html_()
    with pytest.raises(DataError, match="which column is to be predicted"):
        _ = found.dataset
    assert "not ready to launch:" in str(found)
    assert found.to_dict()["failure"].startswith("people.csv: which column")


def test_a_table_with_its_target(people):
    found = lk.data.describe(people, target="bought")
    assert found.dataset == lk.data.table(people, target="bought")
    assert found.code.endswith("people.csv', target='bought')")
    assert sum(found.classes.values()) == 240
    assert sum(found.held_out.values()) == 60
    text = str(found)
    assert "97 % of the training samples are 'Yes': accuracy will mislead" in text
    assert "column 'region' is left out: it is 'EU' in every training row" in text
    assert "also stand in the training split" in text
    assert found.to_dict()["failure"] is None


def test_a_description_of_a_data_set_says_how_it_is_read(people):
    found = lk.data.describe(lk.data.table(people, target="bought"))
    assert found.code.endswith("people.csv', target='bought')")
    assert found.columns


def test_wrong_labels_and_columns_are_described_not_raised(people):
    found = lk.data.describe(people, target="nothing")
    assert "no column 'nothing'" in str(found.failure)
    found = lk.data.describe(people, target="bought", features=["age", "bought"])
    assert "among the features" in str(found.failure)


def test_images(two_classes):
    found = lk.data.describe(two_classes)
    assert found.kind == "images, classification into 2 classes"
    assert found.facts["a sample"] == "4 x 5 x 1 uint8"
    assert found.choices["image_size"][:2] == (None, (4, 5))
    assert found.preview.count("<img") == 10


def test_images_of_mixed_sizes_propose_one(draw):
    for k in range(12):
        folder = draw(f"{'ab'[k % 2]}/{k}.png", size=(8, 8) if k else (9, 9), value=k)
    found = lk.data.describe(folder)
    assert found.concerns == "image_size"
    assert found.choices["image_size"][0] == (8, 8)
    assert common_sizes(folder / "missing") == ()
    (folder / "a" / "broken.png").write_bytes(b"\x89PNG\r\n nothing")
    assert common_sizes(folder)[0] == (8, 8)


def test_texts_say_how_long_they_are_and_what_is_not_read(tmp_path):
    path = tmp_path / "t.csv"
    lines = "".join(f"please do the thing number {k},{'ab'[k % 2]},x{k}\n" for k in range(40))
    path.write_text("text,intent,who\n" + lines)
    found = lk.data.describe(path)
    assert found.facts["words in a text"] == "6 in the middle, at most 6"
    assert "not read, as only the text and its label are: who" in found.left_out
    assert found.preview.count("<li>") == 2


def test_series_are_drawn(tmp_path):
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "m.npz",
        **{f"{part}_{name}": random.normal(size=(200, 2)) for part in ("train", "test") for name in "ab"},
    )
    found = lk.data.describe(tmp_path / "m.npz")
    assert found.kind == "time series, classification into 2 classes"
    assert found.preview.count("<svg") == 6


def test_arrays_name_their_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros((20, 8, 8), np.uint8), kinds=np.arange(20) % 2)
    found = lk.data.describe(tmp_path / "a.npz", x="pictures", y="kinds")
    assert found.choices == {"x": ("pictures", "kinds"), "y": ("pictures", "kinds")}
    assert found.preview.count("<img") == 10
    assert "fewer than 10 training samples of '0' (8)" in str(found)


def test_a_regression_tells_the_range_of_its_target():
    found = lk.data.describe((np.zeros((20, 3)), np.linspace(0.5, 9.5, 20)))
    assert found.facts["target"].startswith("0.5 to")
    assert found.classes == {}
    assert found.kind == "arrays, regression"


def test_nothing_held_out_and_a_class_without_validation_are_told():
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
    assert "nothing is held out" in str(lk.data.describe((x, y), validation_split=0.0))
    told = str(lk.data.describe(lk.data.arrays(x, y, validation=(x[:2] + 1, y[:2]))))
    assert "no validation sample of '2'" in told


def test_a_missing_path_raises(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        lk.data.describe(tmp_path / "missing")


def test_previews_escape_and_shorten():
    frame = pd.DataFrame({"<b>": ["<script>", "x" * 50], **{f"c{k}": [1.0, None] for k in range(12)}})
    shown = preview.rows(frame)
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "x" * 31 + "…" in shown
    assert "and 3 more" in shown
    told = preview.sentences(pd.DataFrame({"t": ["<i>"], "l": [["a"]]}), "t", "l")
    assert "&lt;i&gt;" in told


def test_pictures_of_other_shapes_are_none():
    assert preview.as_image(np.zeros((4, 4, 2)), (0, 1)) is None
    assert preview.as_image(np.zeros((4, 4), np.uint8), (0, 255)).size == (4, 4)
    several = lk.data.arrays([np.zeros((10, 4)), np.zeros((10, 4))]).prepare()
    assert preview.preview(several) == ""
    assert preview.preview(None) == ""


def test_masks_are_shown_beside_their_images():
    images, masks = np.zeros((10, 8, 8, 1), np.uint8), np.zeros((10, 8, 8), np.int32)
    masks[:, 2:5] = 1
    shown = lk.data.describe((images, masks)).preview
    assert shown.count("its mask") == 2 * 10


def test_first_of_each_class_then_more():
    assert list(preview.first_of_each(np.array([3, 3, 1]), most=3)) == [2, 0, 1]


def test_a_damaged_image_and_an_unknown_folder_offer_ways_out(draw):
    for part in ("train", "test", "extra"):
        for k in range(8):
            folder = draw(f"{part}/{'ab'[k % 2]}/{k}.png", value=k)
    found = lk.data.describe(folder)
    assert found.concerns == "splits"
    assert found.choices["splits"][0] == {"extra": "ignore"}
    assert found.choices["splits"][-1] == "none"
    (folder / "train" / "a" / "bad.png").write_bytes(b"nothing")
    found = lk.data.describe(folder, splits={"extra": "ignore"})
    assert (found.concerns, found.choices["on_error"]) == ("on_error", ("raise", "skip"))
    assert found.choices["splits"] == ({"extra": "ignore"},)
    found = lk.data.describe(folder, splits={"extra": "ignore"}, on_error="skip")
    assert found.failure is None
    assert "bad.png" in str(found)


def test_texts_in_a_frame_are_asked_for_as_a_file():
    frame = pd.DataFrame(
        {"text": [f"hello there my friend {k}" for k in range(40)], "label": list("ab") * 20}
    )
    assert "texts are read from a file" in str(lk.data.describe(frame).failure)


def test_a_target_that_is_nearly_unique_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,name\n" + "".join(f"{k % 7},n{k}\n" for k in range(40)))
    assert "nearly every row is its own class" in str(lk.data.describe(path, target="name"))


def test_progress_is_told_while_images_are_decoded(two_classes):
    told = []
    lk.data.describe(two_classes, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] >= 20


def test_the_label_is_shown_as_its_classes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("q,label\n" + "".join(f"{k},{('NA', 'no', 'yes')[k % 3]}\n" for k in range(60)))
    found = lk.data.describe(path)
    label = next(one for one in found.columns if one.name == "label")
    assert set(found.classes) == {"NA", "no", "yes"}
    assert (label.kind, label.missing, label.distinct) == ("category", 0, 3)
