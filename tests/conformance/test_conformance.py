"""Every situation of the table, on real workers, against the user's own object in plain Keras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.errors import LeptonError
from tests.conformance import harness
from tests.conformance.situations import SITUATIONS
from tests.conformance.table import Situation

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    lk.cool()


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(one, id=one.id, marks=() if one.fast else (pytest.mark.conformance,))
        for one in SITUATIONS
    ],
)
def test_what_n_workers_do(situation: Situation, tmp_path: Path):
    {"exact": _exact, "explained": _explained, "refused": _refused}[situation.verdict](situation, tmp_path)


def _exact(situation: Situation, folder: Path) -> None:
    found, config = harness.trained(situation, folder / "workers")
    plain = harness.reference(situation, config, folder / "plain", permuted=False)
    permuted = harness.reference(situation, config, folder / "permuted", permuted=True)
    wrong = harness.compare(found, plain, permuted, situation)
    assert not wrong, "\n".join(wrong)
    if situation.moves:
        assert harness.moved(plain) > 50 * situation.floor, (
            "nothing was trained: the situation can tell nothing"
        )
    said = "\n".join(found.warnings)
    if situation.word:
        assert situation.word.lower() in said.lower()
    else:
        assert not config.model.get("notes"), f"exact, but named as if it were not: {config.model['notes']}"


def _explained(situation: Situation, folder: Path) -> None:
    found, _ = harness.trained(situation, folder)
    assert situation.word.lower() in "\n".join(found.warnings).lower()
    assert np.isfinite(found.history["loss"]).all()
    assert harness.moved(found) > 0


def _refused(situation: Situation, folder: Path) -> None:
    with harness.made(situation, situation.make) as model:
        before = harness.processes()
        with pytest.raises(LeptonError) as failure:
            harness.begin(situation, model, folder)
        assert harness.processes() <= before, "a process was started"
    assert situation.word.lower() in str(failure.value).lower()
    assert "\n" not in str(failure.value).strip(), "one line: what was given, the rule, what to do"
    runs = folder / "runs"
    assert not runs.exists() or list(runs.iterdir()) == [], "a run's folder was left"
