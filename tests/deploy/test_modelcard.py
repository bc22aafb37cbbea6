"""The model card: figures checked against their definitions, what it says of its limits, and how it is shown."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lepton_kit as lk
from lepton_kit.data import arrays
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.data.preprocessing import Target
from lepton_kit.deploy.modelcard import figures, samples
from lepton_kit.deploy.modelcard.card import ModelCard, make_card
from lepton_kit.deploy.modelcard.judge import judge, truth_of
from lepton_kit.errors import ConfigError, DataError
from lepton_kit.models.answers import Answer

RNG = np.random.default_rng(0)
CLASSES = Answer(task="classification", link="none", labels=("a", "b", "c"))


def nothing(row: int, told: Any = None, truth: Any = None) -> dict[str, Any]:
    return {"name": f"row {row}"}


def judged(answer: Answer, outputs: Any, y: Any, train_y: Any = None, target: Target | None = None) -> Any:
    return judge(answer, target or Target(), np.asarray(outputs), y, train_y, nothing)


def metric(card: Any, name: str) -> Any:
    return next(one for one in card.metrics if one.name == name)


LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(LABELS)
def test_figures_of_classes_are_their_definitions(pairs):
    truth, told = np.array(pairs).T
    table = figures.confusion(truth, told, 4)
    assert table.sum() == len(pairs)
    recalls, f1s = [], []
    for k, one in enumerate(figures.of_classes(table, list("abcd"))):
        said, are, right = (told == k).sum(), (truth == k).sum(), ((told == k) & (truth == k)).sum()
        assert one.support == are
        assert one.precision.value == (right / said if said else None)
        assert one.recall.value == (right / are if are else None)
        if are:
            recalls.append(one.recall.value)
            f1s.append(one.f1)
    balanced, f1 = figures.macro(table)
    assert balanced == pytest.approx(np.mean(recalls))
    assert f1 == pytest.approx(np.mean(f1s))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_order_and_ties_count_half(rows):
    score, positive = np.array([s for s, _ in rows], float), np.array([p for _, p in rows])
    found = figures.auc(score, positive)
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    assert found.value == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_the_public_auc_takes_what_a_table_has_and_refuses_what_it_cannot_rank():
    table = pd.DataFrame({"p": [0.1, 0.4, 0.35, 0.8], "bad": [False, False, True, True]})
    assert (
        lk.deploy.auc(table["p"], table["bad"]).value == lk.deploy.auc(table["p"], [0, 0, 1, 1]).value == 0.75
    )
    assert lk.deploy.auc([0.1, np.nan], [0, 1]).value is None
    assert lk.deploy.auc([0.1, 0.2], [1, 1]).value is None
    with pytest.raises(DataError, match=r"positive: got shape \(3,\) for scores of shape \(2,\)"):
        lk.deploy.auc([0.1, 0.2], [0, 1, 1])
    with pytest.raises(DataError, match="positive: got other values than"):
        lk.deploy.auc([0.1, 0.2], [0, 2])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_bins_hold_every_sample_once(rows):
    confidence, right = np.array([c for c, _ in rows]), np.array([r for _, r in rows])
    bins, error = figures.calibration(confidence, right)
    assert sum(one.count for one in bins) == len(rows)
    assert all(one.low - 1e-9 <= one.confidence <= one.high + 1e-9 for one in bins)
    assert 0 <= error <= 1
    assert sum(one.count * one.accuracy for one in bins) == pytest.approx(right.sum())


def test_an_interval_holds_its_value_and_names_its_method():
    for one in (
        figures.share("s", 9, 10),
        figures.mean("m", RNG.random(50)),
        figures.mean("m", RNG.random(30_000)),
    ):
        assert one.low < one.value < one.high
    assert figures.mean("m", RNG.random(30_000)).how == "normal"
    assert figures.share("s", 0, 0).value is None
    for one in figures.macro_metrics(np.array([[40, 10], [5, 45]])):
        assert one.low < one.value < one.high
    assert figures.macro_metrics(np.eye(60, dtype=int))[0].low is None


def test_a_classification_is_judged_beside_the_majority_of_training():
    y = np.array([0] * 40 + [1] * 40 + [2] * 20)
    outputs = np.eye(3)[y] * 0.7 + 0.1
    outputs[0] = [0.05, 0.9, 0.05]  # surely wrong
    outputs[50] = [0.4, 0.35, 0.25]
    card = judged(CLASSES, outputs, y, np.array([1, 1, 0, 2]))
    assert metric(card, "accuracy").value == 0.98
    assert card.baseline[0].value == 0.4
    assert "'b'" in card.baseline_rule
    assert card.confusion == ((39, 1, 0), (1, 39, 0), (0, 0, 20))
    assert [one.row for one in card.worst[:2]] == [0, 50]
    assert (card.worst[0].truth, card.worst[0].answer, card.worst[0].score) == ("a", "b", 0.05)
    assert any("Fewer than 30 held-out samples: the figures of c are rough" in text for text in card.limits)
    assert metric(card, "log loss").value == pytest.approx(-np.log(outputs[np.arange(100), y]).mean())
    assert 0 < metric(card, "calibration error").value < 1
    assert any("Probabilities are mostly lower" in text for text in card.limits)
    sure = judged(CLASSES, np.eye(3)[y], (y + 1) % 3)
    assert any("Probabilities are mostly higher" in text for text in sure.limits)


def test_targets_may_be_one_hot_floats_columns_or_signs():
    y = np.array([0, 2, 1])
    assert truth_of(CLASSES, np.eye(3)[y], (3, 3)).tolist() == [0, 2, 1]
    assert truth_of(CLASSES, y[:, None].astype(float), (3, 3)).tolist() == [0, 2, 1]
    assert truth_of(CLASSES, np.array([0, 3, 1]), (3, 3)) is None
    assert truth_of(CLASSES, np.array([0.5, 1, 1]), (3, 3)) is None
    assert truth_of(CLASSES, np.zeros((3, 4)), (3, 3)) is None
    score = Answer(task="classification", link="score")
    assert truth_of(score, np.array([-1, 1]), (2, 1)).tolist() == [0, 1]
    assert truth_of(score, np.array([-1, 1]), (2,)).tolist() == [0, 1]
    assert "no class numbers" in judged(CLASSES, np.zeros((3, 3)), np.array([0, 9, 1])).limits[0]


def test_two_classes_have_an_auc_and_a_loss_without_probabilities_no_calibration():
    y = np.array([0, 1] * 50)
    outputs = np.where(y, 1.0, -1.0)[:, None] + RNG.normal(size=(100, 1)) * 0.1
    card = judged(Answer(task="classification", link="score"), outputs, y)
    assert metric(card, "AUC").value == 1.0
    assert card.calibration == ()
    assert "scores only rank" in card.limits[0]
    lopsided = judged(
        Answer(task="classification", link="none"), np.full((100, 1), 0.1), np.arange(100) == 0, y * 0
    )
    assert any("Over 90 %" in text for text in lopsided.limits)
    assert any("not clearly above the baseline" in text for text in lopsided.limits)


def test_maps_of_classes_are_judged_place_by_place():
    y = RNG.integers(0, 3, (4, 6, 6))
    card = judged(CLASSES, np.eye(3)[y], y, y)
    assert metric(card, "accuracy per position").value == 1.0
    assert metric(card, "mean IoU").value == 1.0
    assert card.worst[0].truth == "a map"
    assert card.places


def test_masks_have_dice_with_intervals_that_resample_samples():
    y = np.zeros((12, 10, 10), int)
    y[:, 2:8, 2:8] = 1
    outputs = y[..., None] * 0.8 + 0.1
    outputs[0, :5] = 0.1  # half of one mask is missed
    card = judged(Answer(task="classification", labels=("other", "brain")), outputs, y, y)
    right = 12 * 36 - 18
    dice = metric(card, "Dice")
    assert dice.value == pytest.approx(2 * right / (right + 12 * 36))
    assert dice.low < dice.value < dice.high <= 1
    assert dice.how == "bootstrap of samples"
    assert card.classes[1].f1 == pytest.approx(dice.value)
    assert card.classes[1].support == 12 * 36
    assert card.classes[1].recall.low < right / (12 * 36) < card.classes[1].recall.high
    assert card.worst[0].row == 0
    assert card.worst[0].score == pytest.approx(2 / 3)
    assert metric(card, "AUC").low is None
    assert card.baseline[0].name == card.metrics[0].name == "accuracy per position"
    missed = judged(Answer(task="classification"), np.zeros((3, 4, 4, 1)), np.zeros((3, 4, 4), int), None)
    assert metric(missed, "Dice").value == 1.0
    assert missed.classes[1].precision.value is None


def test_the_worst_masks_are_drawn_over_their_images(tmp_path: Path):
    x, y = RNG.integers(0, 255, (10, 8, 6), np.uint8), np.zeros((10, 8, 6), np.int32)
    y[:, 2:5, 2:5] = 1
    prepared = arrays(x, y).prepare()
    answer = Answer(task="classification", labels=None)
    held = np.asarray(prepared.validation.y)[..., None] * 0.8 + 0.1
    card = make_card("m", [held], prepared, preprocessing_of(prepared), [answer], split="given")
    assert card.facts.outputs[0].worst[0].picture.startswith("data:image/png;base64,")
    html = card._repr_html_()
    assert "the outline of the truth in yellow" in html
    assert 'alt="row 0 of the validation split: the answer over the image, the truth outlined; Dice 1' in html
    assert "F1 = Dice" in html
    assert "F1 = Dice" in card.to_markdown()
    assert "Figures on given samples" in html
    assert card.facts.split == "given"
    assert ModelCard.load(card.save(tmp_path / "card")).facts == card.facts


def test_several_labels_have_figures_each():
    y = np.array([[1, 0], [1, 1], [0, 0], [1, 0]])
    outputs = np.array([[0.9, 0.1], [0.8, 0.3], [0.1, 0.2], [0.7, 0.1]])
    card = judged(Answer(task="multilabel", labels=("x", "y")), outputs, y, y)
    assert metric(card, "all labels right").value == 0.75
    assert [one.recall.value for one in card.classes] == [1.0, 0.0]
    assert metric(card, "micro F1").value == pytest.approx(6 / 7)
    assert card.baseline[0].value == 0.5


def test_a_regression_is_told_in_the_targets_unit_beside_the_mean():
    target = Target(task="regression", name="price", mean=(100.0,), scale=(10.0,), unit="k$")
    y = RNG.normal(size=200)
    card = judged(Answer(task="regression"), (y + 0.1)[:, None], y, y[:50], target)
    assert metric(card, "MAE").value == pytest.approx(1.0)
    assert metric(card, "mean error").value == pytest.approx(1.0)
    assert metric(card, "R²").value == pytest.approx(1 - 0.01 / y.var())
    assert [one.name for one in card.baseline] == ["MAE", "RMSE"]
    assert card.residuals.quantiles["50 %"] == pytest.approx(1.0)
    assert card.unit == "k$"
    assert metric(judged(Answer(task="regression"), np.ones((5, 1)), np.ones(5)), "R²").value is None
    two = judged(Answer(task="regression"), np.zeros((50, 2)), RNG.normal(size=(50, 2)))
    assert "all 2 values" in two.limits[0]


def test_what_cannot_be_judged_is_said():
    assert "no targets" in judged(CLASSES, np.zeros((2, 3)), None).limits[0]
    assert "no numbers" in judged(CLASSES, np.zeros((2, 3)), np.array(["a", "b"])).limits[0]
    assert "model's own" in judged(Answer(task="other"), np.zeros((2, 3)), np.zeros(2)).limits[0]


def made(x: Any, y: Any, outputs: Any = None, **more: Any) -> ModelCard:
    prepared = arrays(x, y, **more).prepare()
    how = preprocessing_of(prepared)
    answer = Answer(task="classification", link="none", labels=prepared.class_names)
    if outputs is None and prepared.validation is not None:
        outputs = [np.tile([0.7, 0.3], (len(prepared.validation), 1))]
    configuration = {"data": {"kind": "arrays"}, "training": {"keep_best": "val_loss"}}
    return make_card("demo", outputs, prepared, how, (answer,), configuration=configuration, step=7)


NAMES = np.array(["<b>cat", "d|og"])[np.arange(100) % 2]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_card_is_a_whole_page_that_escapes_names_and_holds_no_script(tmp_path: Path):
    card = made(RNG.integers(0, 255, (100, 8, 8, 1)).astype(np.uint8), NAMES)
    page = card.save(tmp_path / "deep" / "a.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert {"svg", "table", "img"} <= tags.seen
    assert "script" not in tags.seen
    assert "<b>cat" not in page
    assert "&lt;b&gt;cat" in page
    assert "color-scheme" in page
    assert card._repr_html_() in page
    assert "d\\|og" in card.to_markdown()
    assert "chose the best epoch" in page


def test_a_card_comes_back_from_its_folder(tmp_path: Path):
    card = made(np.zeros((100, 3), np.float32), NAMES)
    card.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.html", "card.json", "card.md"]
    back = ModelCard.load(tmp_path)
    assert back.facts == card.facts
    assert repr(back) == "<ModelCard demo: accuracy 0.5 on 20 held-out samples>"
    assert list(back.table().index) == ["<b>cat", "d|og"]
    assert back.metrics().loc["accuracy", "baseline"] == 0.5
    assert back.confusion().loc["<b>cat", "<b>cat"] == 10
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(DataError, match=r"card\.json: not a readable model card"):
        ModelCard.load(tmp_path)


def test_without_a_validation_split_or_data_the_card_says_so():
    card = made(np.zeros((100, 3), np.float32), NAMES, validation_split=0.0)
    assert "no validation split" in card.facts.limits[0]
    assert card.table().empty
    assert card.confusion() is None
    assert card.metrics().empty
    assert list(card.metrics().columns) == list(made(np.zeros((100, 3), np.float32), NAMES).metrics().columns)
    assert repr(card) == "<ModelCard demo: no figures, as there are no held-out samples>"
    how = preprocessing_of(arrays(np.zeros((4, 3)), np.arange(4) % 2).prepare())
    assert "could not be opened" in make_card("x", None, None, how, ()).facts.limits[0]


def test_an_output_that_is_not_there_is_refused():
    card = made(np.zeros((100, 3), np.float32), NAMES)
    for ask in (card.metrics, card.table, card.confusion):
        for wrong in (1, -2, True, "class"):
            with pytest.raises(
                ConfigError, match=r"output: got .*; expected the number of an output, from 0 to 0"
            ):
                ask(wrong)


def test_a_card_is_only_written_to_what_it_can_be(tmp_path: Path):
    card = made(np.zeros((100, 3), np.float32), NAMES)
    (tmp_path / "plain").write_text("mine")
    for name in ("x.pdf", "x.txt", "deep/x.HTM", "plain"):
        with pytest.raises(
            ConfigError, match=r"expected a folder, or a file that ends in \.html, \.md, \.json"
        ):
            card.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]
    assert (tmp_path / "plain").read_text() == "mine"
    (tmp_path / "old.results").mkdir()
    for folder in ("old.results", "v1.2", "new"):
        assert (card.save(tmp_path / folder) / "card.html").is_file()
    assert card.save(tmp_path / "A.HTML").is_file()


def test_worst_samples_show_pictures_words_or_features():
    prepared = arrays(np.zeros((10, 2), np.float32), np.arange(10) % 2).prepare()
    features = replace(prepared, feature_names=("age", "income"))
    assert samples.shown(features)(0)["text"] == "age 0, income 0"
    words = arrays(np.ones((10, 5), np.int32), np.arange(10) % 2).prepare()
    assert samples.shown(replace(words, vocabulary=("", "hello")))(0)["text"] == "hello " * 4 + "hello"
    named = replace(prepared, details={"validation_names": ["first", "second"]})
    assert samples.shown(named)(1)["name"] == "second"
    several = arrays({"a": np.zeros((10, 2)), "b": np.zeros((10, 2))}, np.arange(10) % 2).prepare()
    assert samples.shown(several)(0) == {"name": "row 0 of the validation split"}
    assert samples.picture(np.zeros((200, 100, 3)), (0.0, 1.0)).startswith("data:image/png;base64,")
