"""What a live panel costs the kernel: its share of one core while it follows a synthetic run of 8 ranks.

A real kernel shows the panel; this process plays the driver and writes 4 reports a second, after a history of many
steps, what the workers take of the machine every 5 s, and every 2 s what the model says of 360 digits: without these
predictions and with them, and without and with where the time of each rank goes, one of which is slow. Measured from outside with the processor time of the kernel's process, against the same kernel at rest.
No browser is attached: the messages are counted and thrown away.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
REPORT_SECONDS = 0.25
RESOURCES_SECONDS, VALIDATION_SECONDS = 5.0, 2.0
AIM = 0.02


def synthetic_run(folder: Path, ranks: int, steps: int, workers: bool) -> Any:
    """A run of that many ranks with that many steps of history, and room for as many again."""
    sys.path.insert(0, str(PROJECT))  # the run of the panels' tests
    import lepton_kit as lk
    from tests.panels.predicting import run_on

    per_epoch = max(100, steps // 20)
    epochs = 2 + 2 * steps // per_epoch
    digits = lk.data.sample("digits").prepare()
    run = run_on(folder, digits, ranks=ranks, steps_per_epoch=per_epoch, epochs=epochs)
    run.tells_times, run.slow_rank = workers, ranks - 1
    while run.step < steps:
        run.advance(min(100, steps - run.step))
    return run


class Messages:
    """Counts what the kernel sends."""

    def __init__(self, client: Any):
        self.client, self.count, self.bytes, self.done = client, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self._count, daemon=True)
        self.thread.start()

    def _count(self) -> None:
        socket = self.client.iopub_channel.socket
        while not self.done.is_set():
            if socket.poll(200):
                parts = socket.recv_multipart()
                self.count += 1
                self.bytes += sum(len(part) for part in parts)


def measure(seconds: float, ranks: int, steps: int, predictions: bool, workers: bool) -> dict[str, float]:
    """Shares of one core: the kernel at rest and with the panel; messages and kilobytes a second."""
    import psutil
    from jupyter_client.manager import start_new_kernel

    with tempfile.TemporaryDirectory() as folder:
        run = synthetic_run(Path(folder) / "bench-1", ranks, steps, workers)
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(PROJECT))
        try:
            kernel = psutil.Process(manager.provisioner.process.pid)
            client.execute_interactive("import lepton_kit as lk; import plotly.graph_objects", timeout=120)
            rest = share(kernel, seconds / 2)
            code = (
                "from types import SimpleNamespace\n"
                f"run = SimpleNamespace(id='bench-1', directory={str(run.directory)!r}, alive=True, hold=lambda: None)\n"
                "panel = lk.panels.LivePanel(run)\ndisplay(panel)"
            )
            client.execute_interactive(code, timeout=120, output_hook=lambda message: None)
            time.sleep(2)
            messages = Messages(client)
            stop = threading.Event()
            writer = threading.Thread(target=play, args=(run, stop, predictions))
            writer.start()
            before = time.monotonic()
            busy = share(kernel, seconds)
            wall = time.monotonic() - before
            stop.set()
            writer.join()
            messages.done.set()
            messages.thread.join()
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    return {
        "rest": rest, "panel": busy, "messages": messages.count / wall, "kilobytes": messages.bytes / wall / 1e3,
    }  # fmt: skip


def play(run: Any, stop: threading.Event, predictions: bool) -> None:
    """Write what a driver does until it is told to stop."""
    import lepton_kit as lk
    from tests.panels.predicting import classified, tell

    digits = lk.data.sample("digits").prepare()
    tallies = [classified(digits, share) for share in (0.7, 0.9)]
    turn = 0
    while not stop.wait(REPORT_SECONDS):
        run.advance(10, REPORT_SECONDS)
        turn += 1
        if turn % (RESOURCES_SECONDS / REPORT_SECONDS) == 0:
            run.write("resources", step=run.step, cores=7.5 + turn % 3 / 10, memory_bytes=4e9)
        if predictions and turn % (VALIDATION_SECONDS / REPORT_SECONDS) == 0:
            tell(run, tallies[turn // 8 % 2], epoch=turn)


def share(process: Any, seconds: float) -> float:
    """Processor time of a process over some seconds, as a share of one core."""
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--steps", type=int, nargs="*", default=[1_000, 100_000])
    options = parser.parse_args()
    print(
        "| steps of history | predictions | times of ranks | kernel at rest | with the panel | the panel itself | messages/s | kB/s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    kinds = ((False, False), (False, True), (True, True))
    for steps, predictions, workers in ((steps, *kind) for steps in options.steps for kind in kinds):
        found = measure(options.seconds, options.ranks, steps, predictions, workers)
        own = found["panel"] - found["rest"]
        print(
            f"| {steps:,} | {'yes' if predictions else 'no'} | {'yes' if workers else 'no'} | {found['rest']:.1%} | {found['panel']:.1%} | {own:.1%} | {found['messages']:.1f} | "
            f"{found['kilobytes']:.0f} |"
        )
    print(f"{options.ranks} ranks, measured; aim: the panel itself under {AIM:.0%} of one core")


if __name__ == "__main__":
    main()
