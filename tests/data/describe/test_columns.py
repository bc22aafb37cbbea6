import pandas as pd
import pytest

from lepton_kit.data.describe.columns import column_of, columns_of, findings
from lepton_kit.data.describe.frames import head


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1.5", "2.5", "1.5"], "number"),
        (["1,5", "2,5", "3"], "number"),
        (["$ 3", "$ 4", "$ 12"], "number"),
        (["yes", "no", "yes"], "yes/no"),
        ([True, False, True], "yes/no"),
        (["a", "b", "a"], "category"),
        (["2024-01-05", "2024-02-06", "2024-02-06"], "date"),
        (pd.to_datetime(["2024-01-05", "2024-02-06", "2024-02-06"]), "date"),
        (["7", "7", "7"], "constant"),
        ([None, None, None], "empty"),
        (["1", "2", "3"], "id"),
        (["one two three four", "five six seven eight", "nine ten eleven twelve"], "text"),
    ],
)
def test_kinds(values, kind):
    assert columns_of(head(pd.DataFrame({"c": values}), {}))[0].kind == kind


def test_examples_are_few_and_short():
    found = column_of(pd.Series(["x" * 40, "b", "c", "d", None]), "c", "category")
    assert found.examples == ("x" * 27 + "…", "b", "c")
    assert (found.missing, found.distinct) == (1, 4)
    assert column_of(pd.Series(pd.to_datetime(["2024-01-05"] * 2)), "c", "date").examples == ("2024-01-05",)


def test_findings_name_the_columns_but_not_the_target():
    frame = pd.DataFrame(
        {
            "id": range(10),
            "same": [1] * 10,
            "none": [None] * 10,
            "sparse": [1.5, 2.5, 3.5, 4.5] + [None] * 6,
            "y": [0] * 10,
        }
    )
    told = findings(columns_of(head(frame, {})), 10, "y")
    assert told == [
        "'same': the same value in every row teaches nothing",
        "'none': no row has a value",
        "'id': different in every row, so that a model can only learn it by heart",
        "more than half of the values are missing: 'sparse' (60 %)",
    ]
