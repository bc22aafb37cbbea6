"""The report card: what is measured, how it is judged in words, how it is kept, and the job that makes it."""

import dataclasses
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data import arrays
from lepton_kit.deploy.report import measure
from lepton_kit.deploy.report.card import ReportCard, pareto
from lepton_kit.deploy.report.compress import compress
from lepton_kit.deploy.report.flags import flags
from lepton_kit.deploy.report.rows import COLUMNS, Figure, Row
from lepton_kit.deploy.subject import check_layers, find_home, find_subject
from lepton_kit.errors import CompressionError

POINTS = st.lists(st.tuples(st.integers(0, 8).map(float), st.integers(0, 8).map(float)), max_size=12)


@given(POINTS)
def test_no_point_beats_the_front_and_all_others_are_beaten(points):
    front = pareto(points)
    chosen = [points[index] for index in front]
    assert chosen == sorted(chosen)
    for worth, cost in points:
        assert any(w >= worth and c <= cost for w, c in chosen)
    for a in chosen:
        assert not any(b != a and b[0] >= a[0] and b[1] <= a[1] for b in points)


def row(name, size=100.0, latency=1.0, score=0.9, difference=0.0, bounds=None, **more):
    values = {"file_bytes": size, "gzip_bytes": size, "latency_1_one": latency, "score": score}
    figures = {key: Figure(value, "measured") for key, value in values.items()}
    figures["difference"] = Figure(difference, "measured", *(bounds or (difference, difference)))
    more.setdefault("runtime", "LiteRT")
    return Row(name, figures=figures, **more)


FLOAT = row("float32", role="float")


@pytest.mark.parametrize(
    ("given_row", "others", "words"),
    [
        (row("int4", 20, 1.8, precision="int4"), (), "smaller but slower: 5.0 × smaller, 1.80 ×"),
        (row("int8", 120, 1.2, precision="int8"), (), "no gain"),
        (row("int8", 130, 0.8, precision="int8"), (), "larger than float LiteRT (1.30 ×)"),
        (row("float16", 50, 1.0, precision="float16"), (), "smaller, not faster"),
        (row("sparse", 100, 1.0, sparsity=0.8), (), "80% zeros do not make it faster"),
        (row("int8", 30, 0.5, 0.8, -0.1, (-0.15, -0.05)), (), "worse than float beyond chance"),
        (
            row("int8", 30, 0.5, 0.8, precision="int8"),
            (row("thin", 25, 0.4, 0.85, structured=0.5),),
            "faster but worse than 'thin', a float model",
        ),
        (
            row("thin", 25, 0.4, 0.92, 0.02, structured=0.5),
            (row("control", score=0.93, difference=0.03, role="control"),),
            "its gain comes from the extra training",
        ),
        (
            row("qat2", 30, 0.5, 0.88, precision="qat2"),
            (row("control-run", score=0.93, role="control"),),
            "scores 0.8800; the control-run, trained as long in float, 0.9300",
        ),
    ],
)
def test_what_must_not_be_overlooked_is_said(given_row, others, words):
    said = flags(given_row, (FLOAT, *others, given_row))
    assert any(words in text for text in said), said


def test_a_plain_gain_is_not_flagged():
    good = row("int8", 30, 0.3, 0.9, -0.001, (-0.004, 0.002), precision="int8")
    assert flags(good, (FLOAT, good)) == ()
    assert flags(FLOAT, (FLOAT, good)) == ()
    assert flags(good, (good,)) == ()


def a_card(folder=None):
    rows = (
        FLOAT,
        row("int8", 30, 0.3, 0.89, -0.01, precision="int8", file="int8.tflite"),
        row("bad", 200, 3.0, 0.5, -0.4),
        Row("int4", "LiteRT", error="the converter gave up"),
    )
    return ReportCard(rows, "accuracy", True, 100, {"seed": 0}, "int8", folder=folder)


def test_a_card_is_kept_with_its_files(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "int8.tflite").write_bytes(b"model")
    (home / "preprocessing.json").write_text("{}")
    a_card(str(home)).save(tmp_path / "kept")
    loaded = ReportCard.load(tmp_path / "kept")
    assert loaded.rows == a_card().rows
    assert (loaded.best, loaded.metric, loaded.settings) == ("int8", "accuracy", {"seed": 0})
    assert loaded.path("int8").read_bytes() == b"model"
    assert (tmp_path / "kept" / "preprocessing.json").is_file()
    assert repr(loaded) == "ReportCard(3 variants, accuracy on 100 held-out samples, best 'int8')"
    assert "| **int8** |" in (tmp_path / "kept" / "card.md").read_text()


def test_what_a_card_lacks_is_named(tmp_path):
    card = a_card()
    with pytest.raises(CompressionError, match="no variant 'int2'; the card has float32, int8"):
        card["int2"]
    with pytest.raises(CompressionError, match="'int4' has no file: the converter gave up"):
        card.path("int4")
    with pytest.raises(CompressionError, match="cost: got 'beauty'"):
        card.front("beauty")
    with pytest.raises(CompressionError, match="not a report card"):
        ReportCard.load(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({"rows": [{}]}))
    with pytest.raises(CompressionError, match="not a report card"):
        ReportCard.load(tmp_path)


def test_a_card_as_table_figure_and_text():
    card = a_card()
    table = card.table()
    assert list(table.index) == ["float32", "int8", "bad", "int4"]
    assert table.loc["int8", "file size (bytes)"] == 30
    assert table.loc["int4", "flags"] == "not made: the converter gave up"
    assert card.table(origins=True).loc["int4", "accuracy"] == "not_run"
    assert [one.name for one in card.front("file_bytes")] == ["int8", "float32"]
    figure = card.figure("file_bytes")
    assert [trace.name for trace in figure.data] == ["float", "variants", "Pareto front"]
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    text = card.to_markdown()
    assert "not made: the converter gave up" in text
    assert "| 3.33 |" in text
    assert set(card["int8"].figures) <= set(COLUMNS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity: got 1.0; expected a share in \[0, 1\)"),
        ({"sparsity": [0.5, -0.1]}, "sparsity: got -0.1"),
        ({"structured": True}, "structured: got True"),
        ({"quantize": ("int3",)}, "quantize: got 'int3'"),
        ({"quantize": "mixed"}, "needs keep_float"),
        ({"cost": "money"}, "cost: got 'money'"),
        ({"pattern": "3:4"}, "pattern: got '3:4'"),
        ({"max_drop": -1}, "max_drop: got -1; expected a number of at least 0, a share such as '2%'"),
        ({"max_drop": "much"}, "max_drop: got 'much'"),
        ({"max_drop": {"auc": 0.1, "f1": 0.1}}, "max_drop: got 2 metrics; expected one"),
        ({"max_drop": 0.1, "max_accuracy_drop": 0.1}, "max_drop: got it beside max_accuracy_drop"),
        ({"max_drop": {"auc": 0.1}, "metric": "f1"}, "max_drop: got a bound for 'auc'; the metric is 'f1'"),
        (
            {"target": "latency < 1 ms"},
            r"target: got 'latency < 1 ms'; expected latency or size, then <= or ≤, a number above 0 and a unit "
            r"\(latency: ms, us, .*; size: kB, .*\), such as 'latency <= 0.02 ms'",
        ),
        ({"target": "size <= 50 ms"}, "target: got 'size <= 50 ms'"),
        ({"target": "score >= 0.9"}, "target: got 'score >= 0.9'"),
        ({"target": "size <= 0 kB"}, "target: got 'size <= 0 kB'"),
        ({"target": "size <= 1.2.3 kB"}, "target: got 'size <= 1.2.3 kB'"),
        ({"target": 50}, "target: got 50; expected latency or size"),
        (
            {"target": "size <= 50 kB", "max_drop": 0.01},
            "target: got it beside max_drop; expected one of the two",
        ),
        ({"target": "size<=50kB", "max_accuracy_drop": 0.0}, "target: got it beside max_accuracy_drop"),
        ({"target": "size <= 50 kB", "cost": "size"}, "cost: got 'size' beside a target"),
        (
            {"target": "size <= 50 kB", "sparsity": 0.8},
            "sparsity: got 0.8 beside a target; zeros make a file",
        ),
        ({"max_drop": "auc=much"}, "max_drop: got 'auc=much'; expected a number"),
        ({"fine_tune_epochs": 0}, "fine_tune_epochs: got 0"),
        ({"repetitions": 2.5}, "repetitions: got 2.5"),
        ({"calibration_size": 0}, "calibration_size: got 0"),
        ({"learning_rate": -0.1}, "learning_rate: got -0.1"),
        ({"max_accuracy_drop": 1.5}, "max_accuracy_drop: got 1.5"),
    ],
)
def test_wrong_options_are_refused_before_any_work(options, message):
    with pytest.raises(CompressionError, match=message):
        compress("model.keras", (np.zeros((4, 2)), np.zeros(4, int)), **options)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((5, 3)), r"calibration data: got samples of shape \(3,\); the model's input is \(2,\)"),
        (np.full((5, 2), np.nan), "calibration data: sample 0 holds NaN or infinity"),
        (np.zeros((0, 2)), "calibration data: got no samples"),
        (np.array([["a", "b"]]), "calibration data: got <U1; expected numbers"),
    ],
)
def test_calibration_data_that_does_not_fit_is_refused_before_any_process(samples, message, tmp_path):
    a_file(tmp_path / "model.keras")
    data = (np.zeros((8, 2), np.float32), np.arange(8) % 2)
    with pytest.raises(CompressionError, match=message):
        compress(tmp_path / "model.keras", data, calibration=samples, folder=tmp_path / "card")
    assert not (tmp_path / "card" / "job.json").exists()


def test_names_of_layers_are_looked_up_in_the_file_those_of_inner_models_too(tmp_path):
    import keras

    kl = keras.layers
    inner = keras.Sequential(
        [keras.Input((4, 3)), kl.Bidirectional(kl.LSTM(2, name="cells"), name="both")], name="encoder"
    )
    keras.Sequential([keras.Input((4, 3)), inner, kl.Dense(2, name="out")]).save(tmp_path / "model.keras")
    check_layers(
        tmp_path / "model.keras",
        skip=("out", "encoder", "both", "encoder/both/forward_cells", "backward_cells"),
        keep_float=(),
    )
    with pytest.raises(CompressionError, match=r"keep_float: no layer 'encode'; expected one of .*'encoder'"):
        check_layers(tmp_path / "model.keras", keep_float=("encode",))
    (tmp_path / "broken.keras").write_bytes(b"PK")
    check_layers(tmp_path / "broken.keras", skip=("anything",))


def a_file(path, leave_out=()):
    """A ``.keras`` file of one dense layer with three outputs, as Keras writes it but without its weights' numbers."""
    import keras

    layers = [keras.Input((2,), name="x"), keras.layers.Dense(3, activation="softmax", name="dense")]
    model = keras.Sequential(layers, name="net")
    model.compile("adam", "sparse_categorical_crossentropy")
    config = keras.saving.serialize_keras_object(model)
    content = {"config.json": json.dumps(config), "metadata.json": "{}", "model.weights.h5": "numbers" * 99}
    with zipfile.ZipFile(path, "w") as archive:
        for name in content.keys() - set(leave_out):
            archive.writestr(name, content[name])
    return path


def test_files_that_are_damaged_are_refused_before_a_job_starts(tmp_path):
    data = np.zeros((8, 2), np.float32), np.arange(8) % 2
    path, home = a_file(tmp_path / "model.keras"), tmp_path / "home"
    whole = path.read_bytes()
    find_subject(path, data, home)
    for content, said in (
        (b"", "not a readable .keras file"),
        (whole[: len(whole) // 2], "not a readable .keras file"),
        (
            whole.replace(b"numbersn", b"nunberss", 1),
            "model.keras: damaged; what it holds as 'model.weights.h5'",
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(CompressionError, match=said):
            find_subject(path, data, home)
    for name in ("config.json", "model.weights.h5"):
        path.unlink()
        with pytest.raises(CompressionError, match=r"not a readable .keras file"):
            find_subject(a_file(path, [name]), data, home)


def test_data_that_do_not_fit_the_model_are_refused_before_a_job_starts(tmp_path):
    path = a_file(tmp_path / "model.keras")
    x, y = np.zeros((8, 2), np.float32), np.arange(8) % 3
    with pytest.raises(
        CompressionError, match=r"data: the model expects samples of shape \(2,\); the data have \(4,\)"
    ):
        compress(path, (np.zeros((8, 4), np.float32), y), folder=tmp_path / "job")
    with pytest.raises(CompressionError, match=r"data: .* takes labels 0 to 2; row . has the label 3"):
        compress(path, (x, y + 1), folder=tmp_path / "job")
    with pytest.raises(CompressionError, match=r"test: .* takes labels 0 to 2; row . has the label 3"):
        compress(path, (x, y), test=(x, y + 1), folder=tmp_path / "job")
    with pytest.raises(CompressionError, match=r"test: got 3 arrays; expected two"):
        compress(path, (x, y), test=(x, y, y), folder=tmp_path / "job")
    with pytest.raises(CompressionError, match=r"sparsity: got 'half'"):
        compress(path, (x, y), sparsity="half", folder=tmp_path / "job")
    assert not (tmp_path / "job" / "job.json").exists()


def test_lambda_layers_are_named_with_what_takes_their_place(tmp_path):
    import keras

    last = keras.layers.Lambda(lambda x: x[:, -1], name="last")
    model = keras.Sequential([keras.Input((4, 2)), last, keras.layers.Dense(1)])
    data = np.zeros((8, 4, 2), np.float32), np.zeros(8, np.float32)
    with pytest.raises(CompressionError, match=r"its Lambda layers do \(last\) with keras.ops"):
        find_subject(model, data, tmp_path)


def test_subjects_that_cannot_be_judged_are_refused(tmp_path):
    with pytest.raises(CompressionError, match="data: got None"):
        find_subject("model.keras", None, tmp_path)
    with pytest.raises(CompressionError, match=r"expected a \.keras file that exists"):
        find_subject(tmp_path / "none.keras", (np.zeros((4, 2)), np.zeros(4, int)), tmp_path)
    a_file(tmp_path / "model.keras")
    with pytest.raises(CompressionError, match="data: got int"):
        find_subject(tmp_path / "model.keras", 3, tmp_path)
    x, y = np.zeros((8, 2), np.float32), np.arange(8) % 2
    whole = arrays(x, y, validation_split=0)
    with pytest.raises(CompressionError, match="data: got no validation split"):
        find_subject(tmp_path / "model.keras", whole, tmp_path)
    with pytest.raises(CompressionError, match="data: got no targets"):
        find_subject(tmp_path / "model.keras", arrays(x, None), tmp_path)


def test_a_run_keeps_its_card_in_its_own_folder(tmp_path):
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "model.keras").touch()
    data = arrays(np.zeros((10, 2)), np.arange(10) % 2)
    run = SimpleNamespace(directory=tmp_path, data=lambda: data)
    home = find_home(run, None)
    model, stored = find_subject(run, None, home)
    assert (home, model) == (tmp_path / "compression", tmp_path / "final" / "model.keras")
    assert stored.parent == home / "input"


def test_every_public_name_is_found_and_stays_what_it_is():
    import lepton_kit.deploy as room

    for _ in range(2):  # a module of the same name would shadow a function the second time
        for name in room.__all__:
            assert callable(getattr(room, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing


def test_timings_whose_middle_halves_overlap_are_not_called_slower():
    def timed(name, size, low, median, high):
        made = row(name, size, median)
        return dataclasses.replace(
            made, figures={**made.figures, "latency_1_one": Figure(median, "measured", low, high)}
        )

    reference = dataclasses.replace(timed("float32", 100.0, 0.8, 1.0, 1.4), role="float")
    apart = timed("int8", 25.0, 1.5, 1.8, 2.0)
    within = timed("int8", 25.0, 1.3, 1.8, 2.0)
    assert any("slower" in flag for flag in flags(apart, [reference, apart]))
    said = flags(within, [reference, within])
    assert not any("slower" in flag for flag in said)
    assert any("not distinguishable from float LiteRT's on this machine now (" in flag for flag in said)
    assert not any("not distinguishable" in flag for flag in flags(apart, [reference, apart]))


def timed(**seconds):
    return {(name, 1): list(values) for name, values in seconds.items()}


def test_timings_that_cant_be_told_apart_are_taken_again_and_the_quietest_round_counts():
    noisy = timed(float32=[1, 2, 3], int8=[2, 3, 4])
    quiet = timed(float32=[1, 1.01, 1.02], int8=[1.7, 1.71, 1.72])
    rounds = [noisy, quiet, noisy]
    found = measure.quietest(lambda: rounds.pop(0), ("float32", 1))
    assert rounds == [noisy]
    assert found["int8", 1]["median"] == pytest.approx(1710)
    assert measure.overlapping(found, ("float32", 1)) == []


@pytest.mark.parametrize(
    ("reference", "seconds", "rounds"), [(("float32", 1), 0, 4), (None, 0, 1), (("float32", 1), 30, 1)]
)
def test_measuring_on_is_bounded_in_rounds_and_in_time(reference, seconds, rounds):
    taken, now = [], iter(range(0, 1000, seconds or 1)) if seconds else iter([0] * 99)

    def one_round():
        taken.append(1)
        return timed(float32=[1, 2, 3], float16=[1, 2, 3])

    found = measure.quietest(one_round, reference, clock=lambda: next(now))
    assert len(taken) == rounds
    assert found["float16", 1] == {"median": 2000, "low": 1500, "high": 2500}


def test_a_model_is_told_from_the_reference_at_its_own_batch_size_only():
    spread = {"low": 1.0, "high": 2.0}
    found = {("float32", 1): spread, ("int8", 1): {"low": 3.0, "high": 4.0}, ("int8", 32): spread}
    assert measure.overlapping(found, ("float32", 1)) == []
    assert measure.overlapping({**found, ("int4", 1): {"low": 2.0, "high": 3.0}}, ("float32", 1)) == ["int4"]
