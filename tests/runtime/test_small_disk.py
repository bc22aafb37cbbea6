"""A run on a disk that is full at its launch, in its midst, at its end and at its resume: said in words, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import on_a_small_disk

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, time
from pathlib import Path
import psutil
import lepton_kit as lk

small = Path(sys.argv[1])
runs = small / "runs"
model, data = lk.LeptonModel((8, 8, 1), 10, 16, 1), lk.data.sample("digits")


def fill():
    with open(small / "filler", "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def free():
    (small / "filler").unlink()


def until(condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, (run.status, run.cause)
        time.sleep(0.02)


def said(act):
    try:
        return act()
    except lk.errors.LeptonError as failure:
        print(type(failure).__name__, str(failure).replace(str(small), "SMALL"))


runs.mkdir()
fill()
said(lambda: lk.launch(model, data, workers=1, runs_dir=runs))
print("left", sorted(path.name for path in runs.iterdir()))
free()
run = lk.launch(
    model, data, workers=2, global_batch=100, epochs=1_000_000, checkpoint_seconds=0.2, log_seconds=0.05, runs_dir=runs
)
until(lambda: run.view().step > 20 and run.view().checkpoints)
run.pause()
until(lambda: run.status == "paused")
fill()
run.resume()  # a request is heard, if only as a link that needs no block
assert run.alive
free()
until(lambda: run.view().status == "running")
fill()
worker = psutil.Process(next(one["pid"] for one in run.view().workers if one["rank"] == 0))
seen = None
while run.view().step != seen:  # it trains on, and what is told of that has to wait
    seen, used = run.view().step, sum(worker.cpu_times()[:2])
    until(lambda: sum(worker.cpu_times()[:2]) > used + 1.0)
run.stop()
until(lambda: not run.alive)
print("end", run.status, run.cause.replace(str(run.directory), "RUN"))
print("final", (run.directory / "final").exists(), [path.name for path in run.directory.glob(".*")])
fill()
said(run.resume)
free()
before = run.view().step
run.resume()
until(lambda: run.view().step > before)
run.stop().wait(240)
print("end", run.status)
print("told", any("the disk was full" in text for text in run.warnings))
print("audit", lk.audit(run).problems)
print("left", [path.name for path in run.directory.glob(".*")])
run.model()
"""


@pytest.mark.processes
def test_a_run_on_a_disk_that_fills_up(tmp_path: Path):
    answer = on_a_small_disk(tmp_path, SCRIPT, size="8m", timeout=900)
    print(answer.stdout)
    assert answer.returncode == 0, answer.stderr[-3000:]
    full = "No space left on device"
    lines = answer.stdout.splitlines()
    at_launch, left, end, final, no_resume, *rest = lines
    assert at_launch.startswith(("RunError SMALL/runs: ", "DataError SMALL/runs: "))
    assert full in at_launch
    assert left == "left []"
    assert end.startswith("end failed worker ")
    assert f"RUN/final: the trained model can't be stored ({full}" in end
    assert "last checkpoint: checkpoints/step-" in end
    assert final == "final False []"
    assert no_resume.startswith("RunError SMALL/runs/")
    assert f"the run can't start ({full}" in no_resume
    assert rest == ["end stopped", "told True", "audit ()", "left []"]
