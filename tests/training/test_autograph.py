"""Generated Python stays in memory: no file, and everything that AutoGraph does still works."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

import pytest


@pytest.fixture
def tf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import tensorflow as tf
    from tensorflow.python.autograph.pyct import loader

    from lepton_kit.training.autograph import keep_in_memory

    monkeypatch.setattr(loader, "load_source", loader.load_source)  # put back afterwards
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keep_in_memory()
    return tf


def test_loops_and_branches_are_converted_without_a_file(tf, tmp_path: Path):
    @tf.function
    def collatz(n):
        steps = tf.constant(0)
        while n != 1:
            if n % 2 == 0:
                n = n // 2
            else:
                n = 3 * n + 1
            steps += 1
        return steps

    assert int(collatz(tf.constant(27))) == 111
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_lines_of_the_user(tf):
    @tf.function
    def wrong(x):
        for _ in tf.range(2):
            x = x + undefined_name  # noqa: F821  # the error is the test
        return x

    with pytest.raises(NameError) as caught:
        wrong(tf.constant(1))
    text = "".join(traceback.format_exception(caught.value))
    assert "undefined_name" in text
    assert "test_autograph.py" in text
