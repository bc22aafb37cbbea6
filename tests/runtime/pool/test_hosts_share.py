"""Two runs on the same hosts, with real agents and workers: each has a slot of its own, and one that ends leaves it to the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lepton_kit as lk
from tests.processes import eventually

pytestmark = pytest.mark.processes
HOSTS = ["localhost/a:1", "localhost/b:1"]


def endless(folder: Path, name: str, **options: object) -> lk.Run:
    model = lk.LeptonModel(input_shape=(4,), num_classes=2, hidden_size=4, num_layers=1)
    data = (np.zeros((64, 4), "float32"), np.arange(64) % 2)
    return lk.launch(
        model, data, workers="auto", hosts=HOSTS, epochs=10**6, global_batch=8, name=name,
        runs_dir=folder, hang_seconds=200, **options,
    )  # fmt: skip


def hosts_of(run: lk.Run) -> list[str]:
    return sorted(one["host"] for one in run.view().workers if one["state"] == "training")


@pytest.mark.long
def test_two_runs_have_a_host_each_and_the_one_that_is_left_takes_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LEPTON_POOL", str(tmp_path / "pool"))
    runs = []
    try:
        runs.append(endless(tmp_path / "runs", "first"))
        eventually(lambda: hosts_of(runs[0]) == ["localhost/a", "localhost/b"], "both hosts")
        runs.append(endless(tmp_path / "runs", "second"))
        eventually(lambda: all(len(hosts_of(run)) == 1 for run in runs), "a host each")
        assert sorted(host for run in runs for host in hosts_of(run)) == ["localhost/a", "localhost/b"]
        shown = lk.pool()
        assert shown.slots == {"localhost/a:1, localhost/b:1": 2}
        assert "2 runs with 2 workers on 2 slots of localhost/a:1, localhost/b:1" in shown.told()
        runs[0].stop().wait(240)
        eventually(lambda: len(hosts_of(runs[1])) == 2, "both hosts for the second")
    finally:
        for run in runs:
            if run.alive:
                run.stop().wait(240)
