"""The data and model panel: sources, paths, pickers, and what Start waits for."""

from functools import partial

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

import lepton_kit as lk
from lepton_kit.errors import DataError
from lepton_kit.panels import DataModelPanel
from lepton_kit.panels.data_model import CARD, NO_PATH, OWN
from lepton_kit.panels.parts import _below
from lepton_kit.panels.telling import size


@pytest.fixture
def panel(tmp_path, monkeypatch):
    """A panel of a notebook in an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = DataModelPanel().ready()
    yield made
    made.close()


def choose(panel, path):
    panel.source.value = OWN
    panel.path.value = str(path)
    panel._soon.flush()
    return panel.ready()


@pytest.fixture
def houses(tmp_path):
    """A table with a category, a date, a constant column and a price."""
    rows = [f"{k % 7 + 40},{'ab'[k % 2]},2024-01-{k % 28 + 1:02d},x,{1000.5 * (k % 7)}" for k in range(60)]
    path = tmp_path / "houses.csv"
    path.write_text("size,street,sold,country,price\n" + "\n".join(rows) + "\n")
    return path


def test_a_sample_is_described_and_ready(panel):
    assert panel.look.value.count("lk-thumb") == 10
    assert "1,437" in panel.look.value
    assert panel.waits_for is None
    assert panel.model.input_shape == (8, 8, 1)
    panel.num_layers.value = 2
    assert "num_layers=2" in panel.model_note.value
    assert repr(panel) == "<DataModelPanel: digits>"


def test_own_data_wait_for_a_path(panel):
    panel.source.value = OWN
    assert panel.waits_for == NO_PATH
    with pytest.raises(DataError, match=r"data\.path: got ''"):
        _ = panel.data
    assert panel.own.layout.display == ""
    panel.source.value = "digits"
    assert panel.own.layout.display == "none"
    assert panel.ready().waits_for is None


def test_a_wrong_path_is_told_beside_it(panel):
    choose(panel, "missing.zip")
    assert "no such file or folder" in panel.path_problem.value
    assert panel.waits_for == "see Path"
    with pytest.raises(DataError, match="no such file"):
        _ = panel.data
    panel.source.value = "digits"
    assert panel.ready().path_problem.layout.display == "none"


def test_a_path_is_completed_from_the_notebooks_folder(panel, houses):
    panel.source.value = OWN
    panel.path.value = "hou"
    assert panel.path.options == ("houses.csv",)


def test_a_table_waits_for_its_target_and_is_ready_with_it(panel, houses):
    choose(panel, "houses.csv")
    target = panel.pickers.fields["target"]
    assert [name for name, _ in target.options] == ["choose …", "size", "street", "sold", "price"]
    assert "which column is to be predicted?" in panel.pickers.problems["target"].value
    assert panel.waits_for == "see Target"
    assert "likely &#x27;price&#x27;" in panel.pickers.problems["target"].value
    assert target.label == "choose …"
    target.value = "street"
    panel.ready()
    assert panel.waits_for is None
    assert panel.pickers.problems["target"].layout.display == "none"
    assert panel.data == lk.data.table(houses, target="street")
    assert panel.model.num_classes == 2
    assert "column &#x27;country&#x27; is left out" in panel.look.value


def test_the_first_line_is_asked_about_and_picked(panel, tmp_path):
    (tmp_path / "bare.csv").write_text("".join(f"{k % 7},{k % 5},{'ab'[k % 2]}\n" for k in range(60)))
    choose(panel, "bare.csv")
    header = panel.pickers.fields["header"]
    assert [name for name, _ in header.options] == ["choose …", "is a row of data", "names the columns"]
    assert "does the first line name the columns?" in panel.pickers.problems["header"].value
    header.value = False
    panel.ready()
    assert panel.pickers.problems["header"].layout.display == "none"
    panel.pickers.fields["target"].value = "column_3"
    panel.ready()
    assert panel.waits_for is None
    assert panel.data == lk.data.table(tmp_path / "bare.csv", header=False, target="column_3")


def test_points_in_numbers_are_picked(panel, tmp_path):
    rows = "".join(f"{1 + k % 9}.{100 + k},{'ab'[k % 2]}\n" for k in range(60))
    (tmp_path / "prices.csv").write_text("price,label\n" + rows)
    choose(panel, "prices.csv")
    points = panel.pickers.fields["thousands"]
    assert [name for name, _ in points.options][1:] == [
        "decimals: 1.234 is 1.234",
        "thousands: 1.234 is 1234",
    ]
    points.value = {"price": "."}
    panel.ready()
    assert panel.waits_for is None
    assert points.value == {"price": "."}
    assert panel.prepared.preprocessing.columns[0].mean > 1000


def test_the_held_out_share_is_picked(panel, houses):
    choose(panel, "houses.csv")
    panel.pickers.fields["target"].value = "street"
    panel.ready()
    panel.pickers.fields["held_out"].value = ("validation_split", 0.0)
    panel.ready()
    assert panel.prepared.validation is None
    assert panel.pickers.fields["target"].value == "street"
    assert "nothing is held out" in panel.look.value


def test_a_table_can_be_read_as_texts(panel, houses):
    choose(panel, "houses.csv")
    panel.pickers.fields["kind"].value = "text"
    panel.ready()
    assert panel.description.verb == "text"
    assert panel.pickers.fields["label"].layout.display == ""
    assert panel.pickers.fields["target"].layout.display == "none"


def test_images_of_mixed_sizes_are_given_one_by_the_picker(panel, tmp_path):
    for k in range(20):
        path = tmp_path / "pets" / "cd"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10 + k % 3, 12), 12 * k, np.uint8)).save(path)
    choose(panel, "pets")
    assert panel.waits_for is not None
    sizes = panel.pickers.fields["image_size"]
    assert (10, 12) in [value for _, value in sizes.options]
    sizes.value = (32, 32)
    panel.ready()
    assert panel.waits_for is None
    assert panel.prepared.sample_shape[:2] == (32, 32)


def test_what_a_folder_is_and_damaged_images_are_picked(panel, tmp_path):
    for part in ("train", "test", "extra"):
        for k in range(8):
            path = tmp_path / "pets" / part / "cd"[k % 2] / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 20 * k, np.uint8)).save(path)
    (tmp_path / "pets" / "train" / "c" / "bad.png").write_bytes(b"nothing")
    choose(panel, "pets")
    splits = panel.pickers.fields["splits"]
    assert [label for label, _ in splits.options] == [
        "choose …",
        "leave out 'extra'",
        "'extra' is for train",
        "'extra' is for validation",
        "'extra' is for test",
        "all folders are classes",
    ]
    assert "which may be a split or a class" in panel.pickers.problems["splits"].value
    splits.value = {"extra": "ignore"}
    panel.ready()
    assert "bad.png" in panel.pickers.problems["on_error"].value
    panel.pickers.fields["on_error"].value = "skip"
    panel.ready()
    assert panel.waits_for is None
    assert panel.pickers.options()["splits"] == {"extra": "ignore"}


def test_arrays_are_picked_by_name(panel, tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros((20, 4), np.float32), kinds=np.arange(20) % 2)
    choose(panel, "a.npz")
    assert "which array is the samples?" in panel.pickers.problems["x"].value
    panel.pickers.fields["x"].value = "pictures"
    panel.ready()
    panel.pickers.fields["y"].value = "kinds"
    panel.ready()
    assert panel.waits_for is None
    assert panel.data == lk.data.npz(tmp_path / "a.npz", x="pictures", y="kinds")


@pytest.fixture
def reviews(tmp_path):
    """Nine of ten texts have three words, the others six."""
    rows = [f"{'a good film' if k % 10 else 'one very long and bad film'},{'ab'[k % 2]}" for k in range(60)]
    path = tmp_path / "reviews.csv"
    path.write_text("review,sentiment\n" + "\n".join(rows) + "\n")
    return path


def test_tokens_of_texts_are_picked_from_what_the_texts_have(panel, reviews):
    choose(panel, "reviews.csv")
    tokens, length = panel.pickers.fields["tokenizer"], panel.pickers.fields["sequence_length"]
    assert [(label, value) for label, value in tokens.options][:3] == [
        ("auto: words", "auto"),
        ("words", "words"),
        ("characters", "characters"),
    ]
    assert list(length.options) == [
        ("auto: 6 words", "auto"),
        ("3 words: 90 % of the texts whole", 3),
        ("6 words: 100 % of the texts whole", 6),
    ]
    assert (tokens.value, length.value) == ("auto", "auto")
    length.value = 3
    panel.ready()
    assert panel.prepared.sample_shape == (3,)
    assert panel.data.options["sequence_length"] == 3
    tokens.value = "characters"
    panel.ready()
    assert panel.waits_for is None
    assert panel.prepared.preprocessing.tokenizer == "characters"
    assert ("11 characters: 90 % of the texts whole", 11) in length.options
    assert (length.label, length.value) == (
        "3",
        3,
    )  # picked before, though no share of the texts is of that length


def test_the_length_of_a_window_is_picked_from_the_recordings(panel, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{part}_{kind}": rng.normal(size=(60, 2)) for part in ("train", "test") for kind in "ab"}
    np.savez(tmp_path / "motion.npz", **arrays)
    choose(panel, "motion.npz")
    window = panel.pickers.fields["length"]
    assert [value for _, value in window.options] == [5, 10, 20, 50, 60]
    assert window.options[-1][0] == "60 rows, the shortest recording"
    assert window.value == 20
    window.value = 50
    panel.ready()
    assert panel.prepared.sample_shape == (50, 2)
    assert panel.data == lk.data.windows(tmp_path / "motion.npz", length=50)


def test_recordings_shorter_than_a_window_are_told_at_its_length(panel, tmp_path):
    arrays = {f"{part}_{kind}": np.arange(24.0).reshape(12, 2) for part in ("train", "test") for kind in "ab"}
    np.savez(tmp_path / "short.npz", **arrays)
    choose(panel, "short.npz")
    assert panel.waits_for == "see Window"
    assert "has 12 rows; a window needs 20" in panel.pickers.problems["length"].value
    assert [value for _, value in panel.pickers.fields["length"].options] == [20, 5, 10, 12]
    panel.pickers.fields["length"].value = 10
    panel.ready()
    assert panel.waits_for is None


def test_an_error_of_the_data_is_said_once_at_its_field(tmp_path, monkeypatch, houses):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    bench = lk.Workbench(warm=False)
    panel = choose(bench.data_model, "houses.csv")
    panel.hidden_size.value += 8
    bench.show_code.value = True
    shown = [one.value for one in _below(bench.view) if isinstance(one, widgets.HTML)]
    assert sum("which column is to be predicted?" in text for text in shown) == 1
    assert "which column is to be predicted?" in panel.pickers.problems["target"].value
    assert "<b>Not ready</b>: see Target" in panel.look.value
    assert bench.training.state.value == "idle; Start waits: see Target"
    assert bench.training.complaint == panel.complaint == ""
    assert not bench.training.code.shown
    panel.pickers.fields["target"].value = "street"
    panel.ready()
    assert bench.training.code.shown
    panel.source.value = OWN
    choose(panel, "gone.csv")
    panel.hidden_size.value += 8
    assert not bench.training.code.shown
    assert "see Path" in bench.training.state.value
    assert panel.complaint == ""
    bench.close()


def test_browsing_to_a_file_reads_it(panel, houses, tmp_path):
    (tmp_path / "below").mkdir()
    houses.rename(tmp_path / "below" / "houses.csv")
    panel.source.value = OWN
    panel.browsing.value = True
    assert "below/" in panel.browse.names.options
    panel.browse.names.value = "below/"
    panel.browse.open.click()
    panel.browse.names.value = "houses.csv"
    panel.ready()
    assert panel.path.value == "below/houses.csv"
    assert panel.description.verb == "table"
    panel.browse.names.value = "../"
    panel.browse.open.click()
    panel.browse.names.value = "below/"
    panel.browse.use.click()
    assert panel.path.value == "below"
    panel.browsing.value = False
    assert panel.browse.view.layout.display == "none"


def test_a_dropped_file_is_read(panel, houses):
    content = houses.read_bytes()
    panel.drop.hear({"kind": "begin", "files": [{"name": "prices.csv", "size": len(content)}]}, [])
    panel.drop.hear({"kind": "pieces", "places": [0]}, [content])
    panel.drop.hear({"kind": "end"}, [])
    panel.ready()
    assert (panel.source.value, panel.path.value) == (OWN, "uploads/prices.csv")
    assert f"prices.csv: {size(len(content))}, copied to uploads/" in panel.drop.widget.text
    assert panel.description.verb == "table"


def test_a_refused_drop_is_told_beside_the_path(panel):
    panel.source.value = OWN
    panel.drop.hear({"kind": "begin", "files": [{"name": "a.zip", "size": 10**12}]}, [])
    assert "at most 512.0 MiB" in panel.path_problem.value
    panel.drop.hear({"kind": "end"}, [])
    assert "were not announced" in panel.path_problem.value
    panel.drop.hear({"kind": "begin", "files": [{"name": "a.csv", "size": 4}]}, [])
    panel.drop.hear({"kind": "end"}, [])
    assert "did not arrive whole" in panel.path_problem.value
    panel.drop.hear({"kind": "begin"}, [])
    assert "not understood" in panel.path_problem.value


def test_a_running_run_locks_the_choices(panel):
    panel.lock(True)
    assert panel.source.disabled
    assert panel.path.disabled
    assert panel.drop.widget.locked
    assert panel.pickers.fields["target"].disabled
    panel.lock(False)
    assert not panel.source.disabled


def test_data_from_python_are_described(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = lk.data.arrays(np.zeros((40, 3)), np.arange(40) % 2)
    panel = DataModelPanel(data=given).ready()
    assert panel.waits_for is None
    assert panel.data is given
    panel.close()


def test_data_from_python_that_can_not_be_read_are_told_below_them(tmp_path, monkeypatch, houses):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    panel = DataModelPanel(data=lk.data.table(houses, target="rent")).ready()
    assert "'rent'" in panel.complaint
    assert panel.waits_for == f"see {CARD}"
    panel.close()


def test_data_from_python_that_are_none_are_told(tmp_path):
    panel = DataModelPanel(data=object()).ready()
    assert panel.waits_for is not None
    assert panel.complaint != ""
    assert "reading" not in panel.look.value
    panel.close()


def test_how_far_the_reading_is_is_told(panel, tmp_path, monkeypatch):
    told = []

    def describe(given, *, progress, **options):
        progress(1200, 20_000)
        told.append(panel.look.value)
        raise DataError("stop here")

    monkeypatch.setattr("lepton_kit.panels.data_model.TELL_SECONDS", 0.0)
    monkeypatch.setattr(lk.data, "describe", describe)
    choose(panel, tmp_path)
    assert told == ["reading … 1,200 of 20,000 (6 %)"]
    assert "stop here" in panel.path_problem.value


@pytest.mark.parametrize(
    "data", [lk.data.table, lambda: 1, "a".upper, print, lk.data.Dataset, partial(print, 1)]
)
def test_a_function_in_place_of_data_is_refused_where_it_is_given(data):
    with pytest.raises(DataError, match=r"data: got .* itself, not what it gives; call it: data=.*\(…\)"):
        DataModelPanel(data)
    with pytest.raises(DataError, match="data: got"):
        lk.Workbench(data=data, warm=False)
