"""A sentence typed into the ask panel is answered with every letter."""

from __future__ import annotations

CELL = """
import numpy as np
import lepton_kit as lk
from lepton_kit.data.texts.preprocessing import TextPreprocessing
from lepton_kit.deploy.predict import Predictor
from lepton_kit.models.answers import Answer

names = ("book", "cancel", "greet")
how = TextPreprocessing(vocabulary=("[padding]", "[unknown]", *names), sequence_length=8)
answers = (Answer(task="classification", link="softmax", labels=names),)
run = lambda x: [np.stack([2.0 * (x == word).sum(1) for word in (2, 3, 4)], 1)]
lk.panels.AskPanel(Predictor(how, answers, run), "book a table", threshold=0.6)
"""
SLOW = 120_000


def test_a_sentence_is_answered_while_it_is_typed(open_notebook):
    desk = open_notebook("ask.ipynb", [CELL])
    desk.command("notebook:run-all-cells")
    panel = desk.page.locator(".lk-panel")
    answer = panel.locator(".lk-answer")
    answer.filter(has_text="Answer").wait_for(timeout=SLOW)
    desk.photograph_themes("ask-sure")
    text = panel.locator(".lk-ask input")
    text.fill("")
    answer.filter(has_text="no text yet").wait_for(timeout=SLOW)
    text.press_sequentially("cancel or book")
    answer.filter(has_text="Not sure (below 0.60)").wait_for(timeout=SLOW)
    text.press_sequentially(" no, greet and greet")  # before the last words no text is answered so
    answer.filter(has_text="Answer").locator("td").first.filter(has_text="greet").wait_for(timeout=SLOW)
    desk.photograph_themes("ask")
