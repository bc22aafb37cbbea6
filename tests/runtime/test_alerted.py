"""Alerts on runs that are under way: a straggler and a stall told to a function, NaN and a full disk to a shell command."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import keras
import pytest

import lepton_kit as lk
from lepton_kit.rundir.alerts import Alert
from tests.processes import eventually, on_a_small_disk, processes_of

pytestmark = pytest.mark.processes
COMMAND = 'echo "$LEPTON_ALERT $LEPTON_RUN $LEPTON_TEXT" >> '


def network(rate: float = 1e-4, activation: str = "tanh") -> keras.Model:
    dense = keras.layers.Dense
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), dense(128, activation=activation), dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss)
    return model


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value of the event files of a folder, as TensorBoard's own reader has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: {one.step: one.value for one in reader.Scalars(tag)} for tag in reader.Tags()["scalars"]}


@pytest.mark.long
def test_a_straggler_and_a_stall_are_told_while_they_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lepton_kit.rundir.alerts.STRAGGLER_SECONDS", 1.0)
    run = lk.launch(
        network(), lk.data.sample("digits"), workers=2, global_batch=600, epochs=1_000_000, hang_seconds=300, log_seconds=0.2,
        runs_dir=tmp_path / "runs",
    )  # fmt: skip
    heard: list[Alert] = []
    told = tmp_path / "told.txt"
    try:
        eventually(lambda: run.view().step > 30, "training")
        watch, shell = run.alert(heard.append, stall_seconds=4.0), run.alert(f"{COMMAND}{told}")
        run.slow_down(1, 12)
        eventually(
            lambda: [one for one in heard if one.kind == "straggler"], "a straggler told to a function"
        )
        eventually(told.exists, "and to a command")
        (straggler,) = [one for one in heard if one.kind == "straggler"][:1]
        assert straggler.run == run.id
        assert straggler.text.startswith("rank 1 takes")
        assert told.read_text().startswith(f"straggler {run.id} rank 1 takes")
        run.slow_down(1, 1)
        (pid,) = [one["pid"] for one in run.view().workers if one["rank"] == 1]
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: [one for one in heard if one.kind == "stall"], "a stall")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert "no step for" in next(one.text for one in heard if one.kind == "stall")
        step = run.view().step
        eventually(lambda: run.view().step > step, "training again")
        watch.stop()
        shell.stop()
    finally:
        run.stop().wait(60)
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()
    run.tensorboard(tmp_path / "board")
    view = run.view()
    for rank in (0, 1):
        found = scalars(tmp_path / "board" / f"rank-{rank}")
        assert set(found["workers/compute (part of the time)"]) <= {*view.report_steps.array.tolist()}
        assert max(found["workers/samples per second"].values()) > 0


SMALL = """
import sys
from pathlib import Path
import lepton_kit as lk
from tests.runtime.test_alerted import COMMAND, network

if __name__ == "__main__":
    told = Path(sys.argv[1]) / "told.txt"
    run = lk.launch(
        network(1e30, "relu"), lk.data.sample("digits"), workers=1, global_batch=600, epochs=1_000_000,
        runs_dir=sys.argv[1] + "/runs",
    )
    run.alert(f"{COMMAND}{told}").join()
    lk.cool()
    print(told.read_text())
"""


def test_a_full_disk_and_a_loss_that_is_no_number_run_a_command(tmp_path: Path):
    answer = on_a_small_disk(tmp_path, SMALL, size="200m", timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]
    lines = [line for line in answer.stdout.splitlines() if line]
    assert sorted(line.split()[0] for line in lines) == ["disk", "nan"]
    assert any("MB are free where the run's folder lies" in line for line in lines)
    assert any("the loss" in line for line in lines)
