"""Sentences about a run's curves: what they begin with, where they stand, and what is said aloud when."""

from __future__ import annotations

import numpy as np

from lepton_kit.panels.sentences import _moved, announced, curves_told, sentence, words_beside


def test_curves_are_told_from_their_first_point_to_their_last(synthetic):
    run = synthetic(ranks=2, epochs=2).begin()
    assert curves_told(run.view()) == words_beside(run.view()) == ""
    run.advance(24)
    view = run.view()
    told = curves_told(view)
    assert f"Training loss fell from {view.loss[0]:.3g} to {view.loss[-1]:.3g}" in told
    assert f"Validation accuracy is {view.epochs[-1]['val_accuracy']:.3g} after epoch 2." in told
    assert f"Throughput is {view.throughput[-1]:,.0f} samples/s" in told
    assert "2 workers trained throughout." in told
    assert sentence(view, "demo").startswith("Run demo, running, step 24 of 24. Training loss")


def test_workers_that_came_and_went_are_told_in_turn(synthetic):
    run = synthetic(ranks=2).begin()
    for ranks in (2, 1, 3):
        run.reform(ranks, "asked")
        run.advance(4)
    assert "Workers: 2, then 1, then 3." in curves_told(run.view())


def test_a_loss_that_breaks_is_told():
    assert _moved("Loss", np.array([1.0, np.nan]), lowest=True) == "Loss is 1; it is not finite any more."
    assert _moved("Loss", np.array([np.nan]), lowest=True) == "Loss is not finite."
    assert (
        _moved("Accuracy", np.array([0.1, 0.9, 0.8]), lowest=False)
        == "Accuracy rose from 0.1 to 0.8, highest 0.9."
    )
    assert _moved("Loss", np.array([2.0, 2.0]), lowest=True) == "Loss stayed at 2."


def test_what_is_said_aloud_does_not_change_with_every_step(synthetic):
    run = synthetic(ranks=2).begin()
    run.advance(3)
    before = announced(run.view(), "demo")
    assert before == "Run demo: running; 2 workers training"
    run.advance(3)
    assert announced(run.view(), "demo") == before
    run.advance(6)
    run.write("incident", worker=1, rank=1, what="killed by signal 9")
    run.end("failed", "no disk")
    said = announced(run.view(), "demo")
    assert said.startswith("Run demo: failed; no disk; epoch 1 done, validation loss ")
    assert said.endswith("1 incident: killed by signal 9")
