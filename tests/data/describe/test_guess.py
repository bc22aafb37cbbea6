import pandas as pd
import pytest

from lepton_kit.data.describe.guess import Guess, guess

LONG = ["a film that goes on for far too long", "what a pleasure from the very first scene"]


def frame(**columns):
    return pd.DataFrame(columns)


def test_a_named_target_is_taken_and_another_only_proposed():
    assert guess(frame(a=[1, 2], Label=[0, 1], b=[3, 4])).target == "Label"
    found = guess(frame(status=["a", "b"], size=[1, 2]))
    assert (found.target, found.likely) == (None, "status")
    assert guess(frame(a=[1, 2], b=[3, 4])).likely == "b"


def test_prose_with_a_label_is_texts():
    texts = [f"{LONG[k % 2]} {k}" for k in range(20)]
    assert guess(frame(review=texts, stars=[k % 5 for k in range(20)])) == Guess(
        "text", None, "stars", "review"
    )
    found = guess(frame(text=texts, intent=["a", "b"] * 10, split=["train", "test"] * 10))
    assert found == Guess("text", "intent", "intent", "text", "split")


def test_prose_among_many_columns_is_a_table():
    texts = [f"{LONG[k % 2]} {k}" for k in range(20)]
    columns = {f"c{k}": range(20) for k in range(6)}
    assert guess(frame(remark=texts, **columns)).kind == "table"


@pytest.mark.parametrize(
    "word", ["これは良い映画でした、とても楽しかった", "这部电影非常好看我很喜欢它的故事情节"]
)
def test_prose_without_blanks_is_prose(word):
    texts = [f"{word}{k}" for k in range(20)]
    assert guess(frame(body=texts, kind=["a", "b"] * 10)).kind == "text"


def test_short_texts_named_so_are_texts():
    words = [f"w{k}" for k in range(20)]
    assert guess(frame(text=words, language=["a", "b"] * 10)) == Guess("text", None, "language", "text")


def test_a_fold_of_numbers_is_no_split():
    assert guess(frame(fold=[1, 2, 3], x=[1, 2, 3])).split is None
    assert guess(frame(Split=["Train", "valid", None], x=[1, 2, 3])).split == "Split"


def test_neither_a_constant_nor_a_text_is_likely():
    texts = [f"{LONG[k % 2]} {k}" for k in range(3000)]
    more = {f"c{k}": range(3000) for k in range(4)}
    found = guess(frame(price=[1] * 3000, **more, size=[1] * 2999 + [2], remark=texts, empty=[None] * 3000))
    assert (found.kind, found.likely) == ("table", "size")
    assert guess(frame(a=[1, 1])).likely is None


def test_a_label_that_the_rows_are_sorted_by():
    texts = [f"{LONG[k % 2]} {k}" for k in range(3000)]
    assert guess(frame(said=texts, mood=["a"] * 1500 + ["b"] * 1500)).likely == "mood"
