"""Cells as values: numbers in any spelling, dates, and words for missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data.tables import values
from lepton_kit.data.tables.columns import bucket
from lepton_kit.data.tables.values import FORMS, PLAIN, NumberForm, number

floats = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


def spelled(value: float, form: NumberForm) -> str:
    text = f"{value:,.3f}".replace(",", "T").replace(".", form.decimal)
    return text.replace("T", form.thousands)


@given(floats, st.sampled_from(FORMS))
def test_a_number_is_read_as_it_is_spelled(value, form):
    found = number(spelled(value, form), form)
    assert found is not None
    assert found[0] == float(f"{value:.3f}")


@given(st.lists(st.floats(allow_nan=False).map(repr) | st.just(""), min_size=1))
def test_plain_numbers_are_those_of_python(texts):
    found = values.plain_floats(values.filled(texts))
    assert np.array_equal(found, [float(text) if text else np.nan for text in texts], equal_nan=True)


@given(st.lists(floats.map(repr), min_size=1))
def test_plain_numbers_do_not_depend_on_pyarrow(texts):
    array = values.filled(texts)
    without = np.array([float(text) for text in texts])
    assert np.array_equal(values.plain_floats(array), without)


@pytest.mark.parametrize("text", ["1_000", "x", "1,5", "12 apples", "+-1"])
def test_other_texts_are_no_plain_numbers(text):
    assert values.plain_floats(values.filled(["1", text])) is None


@pytest.mark.parametrize("text", [" 1.5 ", "+1.5", "1.50"])
def test_signs_and_blanks_are_read_as_python_does(text):
    assert values.plain_floats(values.filled([text])).tolist() == [1.5]


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("$1,234.50", FORMS[1], (1234.5, "$")),
        ("-$5", PLAIN, (-5.0, "$")),
        ("€ 5", PLAIN, (5.0, "€")),
        ("12,30 €", FORMS[2], (12.3, "€")),
        ("45 %", PLAIN, (45.0, "%")),
        ("(1.50)", PLAIN, (-1.5, None)),
        ("123-", PLAIN, (-123.0, None)),
        ("\u22125", PLAIN, (-5.0, None)),
        ("1\u202f234", FORMS[4], (1234.0, None)),
        ("1'234.5", FORMS[6], (1234.5, None)),
        ("USD 7", PLAIN, (7.0, "USD")),
        ("1e-3", PLAIN, (0.001, None)),
        ("inf", PLAIN, (np.inf, None)),
        ("1,23,456", FORMS[1], None),
        ("$5€", PLAIN, None),
        ("--5", PLAIN, None),
        ("10-20", PLAIN, None),
        ("2020-01-02", PLAIN, None),
        ("5 kg", PLAIN, None),
        ("", PLAIN, None),
    ],
)
def test_numbers_of_people(text, form, expected):
    assert number(text, form) == expected


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["2024-02-29", "2023-01-01"], "ISO8601"),
        (["2024-02-29 10:00", "2023-01-01 11:30"], "ISO8601"),
        (["2024-02-29T10:00:00+02:00"], "ISO8601"),
        (["25.12.2024"], "%d.%m.%Y"),
        (["12/25/2024"], "%m/%d/%Y"),
        (["25/12/2024"], "%d/%m/%Y"),
        (["5 Jan 2024"], "%d %b %Y"),
        (["January 5, 2024"], "%B %d, %Y"),
    ],
)
def test_dates_are_read_in_one_format(texts, first):
    assert values.date_formats(texts)[0] == first


def test_the_order_of_a_date_may_be_said():
    assert values.date_formats(["3/4/2024"], day_first=True) == ["%d/%m/%Y"]
    assert values.date_formats(["31/4/2024"]) == []
    assert values.date_formats(["10-20"]) == []
    assert values.date_formats([]) == []


def test_time_zones_become_universal_time():
    found = values.dates(values.filled(["2024-01-01T01:00:00+02:00", "x"]), "ISO8601")
    assert found[0] == np.datetime64("2023-12-31T23:00:00")
    assert np.isnat(found[1])


def test_missing_cells_of_every_type():
    assert values.is_missing(values.filled([None, "NA", "x", ""])).tolist() == [True, True, False, True]
    assert values.is_missing(np.array([1.0, np.nan])).tolist() == [False, True]
    assert values.is_missing(np.array(["NaT", "2020"], "M8[us]")).tolist() == [True, False]
    assert not values.is_missing(np.array([0, 1])).any()


def test_a_bucket_is_the_same_on_every_machine():
    # The CRC-32 of "123456789" is 0xCBF43926, the check value that its definition gives.
    assert bucket("123456789", 2**32) == 0xCBF43926
    assert bucket("Zürich", 32) == bucket("Zürich", 32) < 32
