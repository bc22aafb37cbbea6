"""The ask panel: answers while a text is typed, offers classes where it is not sure, and leaves a picture."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from lepton_kit.data.array_input import ArraysPreprocessing
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.texts.preprocessing import TextPreprocessing
from lepton_kit.deploy.predict import Predictor
from lepton_kit.errors import ConfigError
from lepton_kit.models.answers import Answer
from lepton_kit.panels import AskPanel

NAMES = ("book", "cancel", "greet")
WORDS = TextPreprocessing(
    target=Target(task="classification", class_names=NAMES),
    vocabulary=("[padding]", "[unknown]", *NAMES),
    sequence_length=4,
)


def run(x: np.ndarray) -> list[np.ndarray]:
    """A class by how often its word is among the text's; the more often, the surer."""
    return [np.stack([2.0 * (x == word).sum(1) for word in (2, 3, 4)], 1)]


def panel(text: str = "", **more: float) -> AskPanel:
    answers = (Answer(task="classification", link="softmax", labels=NAMES),)
    return AskPanel(Predictor(WORDS, answers, run), text, **more)


def test_a_text_is_answered_while_it_is_typed():
    made = panel(threshold=0.6)
    assert repr(made) == "<AskPanel: '', no text yet>"
    assert "no text yet" in made.still()["text/html"]
    made.text.value = "book"
    assert made.sure
    assert made.ranked[0][0] == "book"
    assert made.said == "book (0.79)"
    made.text.value = "book cancel"
    assert not made.sure
    assert made.said == "not sure: book (0.47), cancel (0.47), greet (0.06)"
    assert "Not sure (below 0.60)" in made.shown.value
    made.text.value = "  "
    assert made.ranked == []
    made.close()


def test_words_that_are_unknown_and_signs_without_any_are_told():
    made = panel("book it", threshold=0.1)
    assert "has words that no training text has" in made.shown.value
    assert "(1 of 1 inputs)" not in made.shown.value
    made.text.value = "\u200b"  # which no reader sees
    assert made.said == "the text is empty"
    assert "the text is empty" in made.still()["text/html"]
    assert "the text is empty" in made.shown.value


def test_names_are_shown_as_text():
    names = ("<i>", "b", "c")
    made = AskPanel(
        Predictor(WORDS, (Answer(task="classification", link="softmax", labels=names),), run), "book"
    )
    assert "&lt;i&gt;" in made.shown.value
    assert "<i>" not in made.shown.value


def test_a_page_without_a_kernel_has_a_picture():
    made = panel("book book, please")
    assert made._repr_mimebundle_()["text/plain"] == "<AskPanel: 'book book, please', book (0.96)>"
    bundle = made.still()
    assert 'alt="Asked “book book, please”, the model answers: book (0.96)"' in bundle["text/html"]
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert picture.size == (1680, 220)
    assert len(bundle["image/png"]) < 40_000


def test_models_that_answer_no_texts_and_shares_beyond_one_are_refused():
    plain = ArraysPreprocessing(target=Target(task="regression"), inputs=())
    with pytest.raises(ConfigError, match="predictor: got 'arrays'; expected a model of texts"):
        AskPanel(Predictor(plain, (Answer(task="regression"),), run))
    with pytest.raises(ConfigError, match="threshold: got 2"):
        panel(threshold=2)
