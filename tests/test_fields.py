"""The benchmark of the domain notebooks: seeds go in, figures come out, and the page keeps the rows of what did not run."""

from __future__ import annotations

import nbformat
import psutil
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output


@pytest.fixture(scope="module")
def fields(script):
    return script("fields", "benchmarks")


def notebook(parameters: str = "SEED = 0\nEPOCHS = 3", figures: str = "figures = {'seed': SEED / 2}"):
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    last = new_code_cell(f"{figures}\nbaseline = {{}}", metadata={"tags": ["figures"]})
    last.outputs = [new_output("stream", name="stdout", text="an old output")]
    return new_notebook(cells=[first, last])


def test_the_seed_replaces_that_of_the_parameters_and_the_notebook_given_stays(fields):
    given = notebook()
    changed = fields.seeded(given, 3)
    assert changed.cells[0].source == "SEED = 3\nEPOCHS = 3"
    assert changed.cells[1].outputs == []
    assert changed.cells[-1].source == fields.ASK
    assert given.cells[0].source == "SEED = 0\nEPOCHS = 3"


@pytest.mark.parametrize("parameters", ["seed = 0", "SEED = 1", "SEED = 0\nSEED = 0", "# SEED = 0"])
def test_a_notebook_without_the_one_seed_is_refused(fields, parameters):
    with pytest.raises(ValueError, match="SEED = 0; expected one"):
        fields.seeded(notebook(parameters), 1)


def test_a_notebook_without_parameters_is_refused(fields):
    with pytest.raises(ValueError, match="0 cells are tagged parameters"):
        fields.seeded(new_notebook(cells=[new_code_cell("SEED = 0")]), 1)


def test_figures_are_read_from_the_last_output_among_other_lines(fields):
    told = 'a line\nfigures of this run: [{"AUC": 0.9, "hours": 3}, {"AUC": 0.88}]\n'
    found = fields.outcome([new_output("stream", name="stdout", text=told)])
    assert (found.figures, found.baseline) == ({"AUC": 0.9, "hours": 3}, {"AUC": 0.88})


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("nothing", "printed no figures"),
        ('figures of this run: [{"AUC": NaN}, {}]', "AUC: got nan"),
        ('figures of this run: [{"AUC": "0.9"}, {}]', "AUC: got '0.9'"),
        ('figures of this run: [{"AUC": 0.9}, {"auc": 0.8}]', "baseline of auc; figures: AUC"),
        ("figures of this run: [{}, {}]", "baseline of nothing"),
    ],
)
def test_what_is_no_figure_is_refused(fields, told, why):
    with pytest.raises(ValueError, match=why):
        fields.outcome([new_output("stream", name="stdout", text=told)])


def test_a_row_holds_mean_and_spread_beside_the_baseline(fields):
    outcomes = [fields.Outcome({"AUC": value, "delay": 12.0}, {"AUC": 0.88}) for value in (0.90, 0.91, 0.95)]
    auc, delay = fields.lines("lidar", outcomes)
    assert auc == (
        "| [lidar](../notebooks/domains/lidar.ipynb) | AUC | 0.880 | 0.920 | 0.026 | 0.900 | 0.950 | 3 |"
    )
    assert "| delay |  | 12.0 | 0.000 | 12.0 | 12.0 | 3 |" in delay


def test_one_seed_has_no_deviation(fields):
    (row,) = fields.lines("lidar", [fields.Outcome({"AUC": 0.9}, {})])
    assert row.endswith("| AUC |  | 0.900 |  | 0.900 | 0.900 | 1 |")


@pytest.mark.parametrize("other", [({"F1": 0.9}, {}), ({"AUC": 0.9}, {"AUC": 0.8})])
def test_seeds_that_tell_different_things_are_refused(fields, other):
    with pytest.raises(ValueError, match="lidar: its figures or baselines"):
        fields.lines("lidar", [fields.Outcome({"AUC": 0.9}, {}), fields.Outcome(*other)])


def test_the_page_keeps_the_rows_of_notebooks_that_did_not_run(fields):
    def rows(name, *values):
        return fields.lines(name, [fields.Outcome({f"AUC {value}": value for value in values}, {})])

    first = fields.page("", {"lidar": rows("lidar", 0.9, 0.8), "credit": rows("credit", 0.7)})
    again = fields.page(first, {"lidar": rows("lidar", 0.5)})
    assert first.startswith(fields.HEAD)
    assert again == fields.HEAD + "\n".join([*rows("credit", 0.7), *rows("lidar", 0.5)]) + "\n"


def test_notebooks_are_chosen_by_name(fields, tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.ipynb").touch()
    assert [path.stem for path in fields.chosen(None, tmp_path)] == ["a", "b"]
    assert [path.stem for path in fields.chosen("b", tmp_path)] == ["b"]
    with pytest.raises(ValueError, match="no notebook c; there are a, b"):
        fields.chosen("a,c", tmp_path)


@pytest.mark.processes
def test_a_notebook_runs_with_its_seed_away_from_the_project(fields, tmp_path):
    """Its folder is a temporary one, from which the samples are where they are from `notebooks/domains`."""
    code = "from pathlib import Path\nassert Path('../../data_samples/image_recognition').is_dir()\nPath('runs').mkdir()"
    path = tmp_path / "small.ipynb"
    nbformat.write(notebook(f"{code}\nSEED = 0"), path)
    before = sorted(fields.NOTEBOOKS.glob("runs/*"))
    assert fields.execute(path, 3).figures == {"seed": 1.5}
    assert [entry.name for entry in tmp_path.iterdir()] == ["small.ipynb"]
    assert not [one for one in fields.NOTEBOOKS.glob("runs/*") if one not in before]


@pytest.mark.processes
def test_a_notebook_that_fails_leaves_no_run_behind(fields, tmp_path):
    launch = (
        "import lepton_kit as lk, numpy as np\n"
        "run = lk.launch(lk.LeptonModel((2,), 2, 8), (np.zeros((64, 2)), np.arange(64) % 2), workers=1, epochs=100_000)\n"
        f"open({str(tmp_path / 'run')!r}, 'w').write(str(run.directory.resolve()))\n"
        "while not run.view().step: pass\n"
        "1 / 0"
    )
    path = tmp_path / "failing.ipynb"
    nbformat.write(notebook(f"SEED = 0\n{launch}"), path)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        fields.execute(path, 0)
    folder = (tmp_path / "run").read_text()
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if folder in " ".join(one.info["cmdline"] or ())
    ]


def test_all_notebooks_are_tutorials_then_fields(script, tmp_path):
    (tmp_path / "domains" / "runs").mkdir(parents=True)
    for name in ("domains/a.ipynb", "domains/runs/no.ipynb", "05.ipynb", "00.ipynb"):
        (tmp_path / name).touch()
    found = script("notebooks").all_notebooks(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["00.ipynb", "05.ipynb", "domains/a.ipynb"]
