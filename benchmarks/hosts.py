"""Training on two hosts with two workers each over slow links: lepton_kit, plain Horovod, torch DDP side by side.

    python benchmarks/hosts.py [--links 1gbit/0.5 100mbit/5] [--rounds 3] [--seconds 5]

The hosts are network namespaces on this machine, with a link of that rate, and of that delay in milliseconds in each
direction. The model is the communication-bound MLP of `throughput.py` (670k parameters), global batch 128, one thread a
worker. Contestants: lepton_kit with its sums by hosts in float32 and with float16 between hosts, lepton_kit over Horovod's
flat ring (``allreduce="horovod"``), hand-written Horovod, and torch DDP over Gloo where torch is installed. All stay
loaded and take turns. Printed are medians of samples/s, bytes on the link a step (both directions, as the devices count
them), and ratios taken round by round. Needs root, iproute2 and openssh-server.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kinds import keras_model, samples
from slow_link import DEVICE, SlowLink
from throughput import GLOBAL_BATCH, Processes

ROOT = Path(__file__).resolve().parents[1]
KIND = "mlp"
RANKS, PER_HOST = 4, 2
LINKS = ("1gbit/0.5", "100mbit/5")
WAYS = {
    "lepton_kit": {},
    "lepton_kit_float16": {"wire": "float16"},
    "lepton_kit_flat": {"allreduce": "horovod"},
}
PATIENCE = 300.0
EVER = 100_000.0
"""Seconds for which a worker may be silent: it is held between its turns."""


class OnHosts(Processes):
    """A contestant of processes that this script starts in the namespaces."""

    block = 5

    def __init__(self, contestant: str, lab: Any, link: SlowLink):
        self._lab, self._link = lab, link
        super().__init__(contestant, KIND, RANKS)

    def _start(self, contestant: str, kind: str, rank: int, ranks: int) -> subprocess.Popen[str]:
        from horovod.runner.common.util.hosts import SlotInfo
        from horovod.runner.http.http_server import RendezvousServer

        hosts = list(self._lab.hosts.values())
        seats = [
            SlotInfo(hosts[k // PER_HOST].name, k, k % PER_HOST, k // PER_HOST, ranks, PER_HOST, len(hosts))
            for k in range(ranks)
        ]
        if self._rendezvous is None:
            server = RendezvousServer()
            self._port = server.start()
            server.init(seats)
            self._rendezvous = server
        told = {
            "RANK": rank, "SIZE": ranks, "LOCAL_RANK": rank % PER_HOST, "LOCAL_SIZE": PER_HOST,
            "CROSS_RANK": rank // PER_HOST, "CROSS_SIZE": len(hosts), "HOSTNAME": seats[rank].hostname,
            "CONTROLLER": "gloo", "CPU_OPERATIONS": "gloo", "GLOO_IFACE": DEVICE,
            "GLOO_RENDEZVOUS_ADDR": self._lab.gateway, "GLOO_RENDEZVOUS_PORT": self._port,
            "GLOO_TIMEOUT_SECONDS": int(EVER), "STALL_CHECK_DISABLE": 1,
        }  # fmt: skip
        environment = os.environ | {f"HOROVOD_{name}": str(value) for name, value in told.items()}
        environment |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": self._link.addresses[0]}
        environment |= {"MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": DEVICE}
        prefix = ["ip", "netns", "exec", hosts[rank // PER_HOST].namespace]
        return self._open(prefix, environment, contestant, kind)

    def measure(self, seconds: float) -> tuple[float, float]:
        """Samples/s and bytes a step over one turn."""
        before = self._link.sent_bytes()
        rate = self.turn(seconds)
        return rate, (self._link.sent_bytes() - before) / self.steps

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        for child in self._children:
            child.wait()
        self._rendezvous.stop()


class Launched:
    """A run of lepton_kit; its workers are held by a signal between turns."""

    def __init__(self, name: str, lab: Any, link: SlowLink, folder: str):
        import keras

        import lepton_kit as lk

        self.name, self._link = name, link
        model = keras_model(KIND)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss)
        hosts = [{"name": host, "slots": PER_HOST, "threads": 1, "interface": DEVICE} for host in lab.hosts]
        self._run = lk.launch(
            model, lk.data.arrays(*samples(KIND), validation_split=0), workers=RANKS, hosts=hosts, epochs=1_000_000,
            global_batch=GLOBAL_BATCH, checkpoint_seconds=EVER, hang_seconds=EVER, runs_dir=folder, name=name,
            **WAYS[name],
        )  # fmt: skip
        self._until(lambda: self._run.view().step > 20)
        self._pids = [row["pid"] for row in self._run.view().workers if row["rank"] is not None]
        self._signal(signal.SIGSTOP)

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline or self._run.status == "failed":
                raise SystemExit(f"{self._run.id}: {self._run.status}: {self._run.cause}")
            time.sleep(0.01)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    def _next_report(self) -> tuple[float, int, int]:
        """The next change of the step that the log tells: when, which step, and the bytes on the link until then."""
        step = self._run.view().step
        self._until(lambda: self._run.view().step > step)
        return time.perf_counter(), self._run.view().step, self._link.sent_bytes()

    def measure(self, seconds: float) -> tuple[float, float]:
        """Samples/s and bytes a step between two reports of one turn."""
        self._signal(signal.SIGCONT)
        self._next_report()  # it counts the time for which the workers were held
        began, first, before = self._next_report()
        time.sleep(seconds)
        ended, last, after = self._next_report()
        self._signal(signal.SIGSTOP)
        return (last - first) * GLOBAL_BATCH / (ended - began), (after - before) / (last - first)

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        self._run.stop().wait()


def measured(link: str, rounds: int, seconds: float, ways: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Samples/s and bytes a step of every contestant, a pair a round."""
    from tests.hosts.lab import lab

    rate, milliseconds = link.split("/")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lepton-bench-")))
        hosts = stack.enter_context(lab(folder, "one", "two"))
        os.environ["LEPTON_SSH_COMMAND"] = hosts.ssh_command
        namespaces = [host.namespace for host in hosts.hosts.values()]
        shaped = SlowLink(namespaces, rate, float(milliseconds))
        stack.callback(shaped.close)
        contestants: list[Any] = []
        for name in ways:
            if name in WAYS:
                contestants.append(Launched(name, hosts, shaped, str(folder / "runs")))
            else:
                contestants.append(OnHosts(name, hosts, shaped))
            stack.callback(contestants[-1].close)
        found: dict[str, list[tuple[float, float]]] = {one.name: [] for one in contestants}
        for turn in range(rounds + 1):
            for one in contestants:
                figures = one.measure(seconds)
                if turn:
                    found[one.name].append(figures)
    return found


def table(link: str, found: dict[str, list[tuple[float, float]]]) -> str:
    """The medians, and the ratios to each baseline as medians over rounds."""
    baselines = [name for name in ("hand_written", "torch_ddp", "lepton_kit_flat") if name in found]
    heads = [f"samples/s / {name}" for name in baselines] + [f"bytes / {name}" for name in baselines]
    lines = [f"| {link} | samples/s | bytes a step | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * (len(heads) + 2))
    for name, values in found.items():
        ratios = [
            statistics.median(mine[k] / other[k] for mine, other in zip(values, found[base], strict=True))
            for k in (0, 1)
            for base in baselines
        ]
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        rate, volume = (statistics.median(value[k] for value in values) for k in (0, 1))
        lines.append(f"| {name} | {rate:,.0f} | {volume:,.0f} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [*WAYS, "hand_written", *(["torch_ddp"] if importlib.util.find_spec("torch") else [])]
    parser.add_argument("--links", nargs="+", default=LINKS, help="rate/milliseconds")
    parser.add_argument("--ways", nargs="+", choices=every, default=every)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.hosts.lab import why_not

    if (reason := why_not()) is not None:
        print(f"no hosts to measure: {reason}")
        return
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    for link in options.links:
        print(
            table(link, measured(link, options.rounds, options.seconds, options.ways)), flush=True, end="\n\n"
        )


if __name__ == "__main__":
    main()
