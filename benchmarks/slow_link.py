"""A link between two network namespaces with a rate and a delay: tbf holds the rate, a relay between two TUN devices the delay.

    python benchmarks/slow_link.py FIRST SECOND DEVICE MILLISECONDS

opens DEVICE in both namespaces and passes each packet on after the delay, until its standard input closes; a line there is
another delay. `SlowLink` starts that and sets the devices up.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Sequence

DEVICE = "slow0"
SHAPING = f"qdisc {{verb}} dev {DEVICE} root tbf rate {{rate}} burst {{burst}} latency 200ms"
MTU = 32000
"""Bytes of a packet: large, so that a relay in Python holds 1 Gbit/s with a small part of a core."""
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
REAL_TIME_PRIORITY = 10
"""The relay stands for a network: it does not wait for a core."""


def run(*command: str) -> str:
    """What a program that has to succeed has printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class SlowLink:
    """A link of so many bit/s (as tc writes them, such as ``1gbit``) and milliseconds in each direction."""

    def __init__(self, namespaces: Sequence[str], rate: str, milliseconds: float):
        self.addresses = ["10.88.0.1", "10.88.0.2"]
        self._namespaces = namespaces
        command = [sys.executable, __file__, *namespaces, DEVICE, str(milliseconds)]
        self._relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._relay.stdout is not None
        if self._relay.stdout.readline().strip() != "ready":
            raise SystemExit("the relay of the slow link did not start")
        for namespace, address in zip(namespaces, self.addresses, strict=True):
            run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", DEVICE)
            run("ip", "-n", namespace, "link", "set", DEVICE, "mtu", str(MTU), "up")
            run("tc", "-n", namespace, *SHAPING.format(verb="add", rate=rate, burst="256kb").split())

    def reshape(self, rate: str, milliseconds: float, mtu: int) -> None:
        """Have another rate and delay from now on, and packets of so many bytes, of which no more than two leave at once."""
        assert self._relay.stdin is not None
        self._relay.stdin.write(f"{milliseconds}\n")
        self._relay.stdin.flush()
        for namespace in self._namespaces:
            run("ip", "-n", namespace, "link", "set", DEVICE, "mtu", str(mtu))
            run("tc", "-n", namespace, *SHAPING.format(verb="change", rate=rate, burst=2 * mtu).split())

    def sent_bytes(self) -> int:
        """Bytes that both ends have sent, as their devices count them."""
        return sum(
            int(run("ip", "netns", "exec", name, "cat", f"/sys/class/net/{DEVICE}/statistics/tx_bytes"))
            for name in self._namespaces
        )

    def close(self) -> None:
        """End the relay; the devices go with it."""
        assert self._relay.stdin is not None
        self._relay.stdin.close()
        self._relay.wait()


def tun(namespace: str, device: str) -> int:
    """A descriptor of a new TUN device in a namespace; this process is in that namespace then."""
    entry = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(entry, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(entry)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def relay(first: str, second: str, device: str, delay: float) -> None:
    """Pass packets on between the devices, ``delay`` seconds after they came, until standard input closes."""
    ends = [tun(first, device), tun(second, device)]
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REAL_TIME_PRIORITY))
    print("ready", flush=True)
    waiting: collections.deque[tuple[float, int, bytes]] = collections.deque()
    selector = selectors.SelectSelector()  # epoll counts in whole milliseconds
    for end, other in (ends, ends[::-1]):
        selector.register(end, selectors.EVENT_READ, other)
    selector.register(0, selectors.EVENT_READ, None)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, end, packet = waiting.popleft()
            with contextlib.suppress(OSError):  # a device that is not up yet
                os.write(end, packet)
        timeout = max(0.0, waiting[0][0] - now) if waiting else None
        for key, _ in selector.select(timeout):
            if key.data is None:
                if not (line := sys.stdin.readline()):
                    return
                delay = float(line) / 1000.0
                continue
            with contextlib.suppress(OSError):
                while True:
                    packet = os.read(key.fd, 1 << 16)
                    waiting.append((time.monotonic() + delay, key.data, packet))


if __name__ == "__main__" and len(sys.argv) > 1:
    first, second, device, milliseconds = sys.argv[1:]
    relay(first, second, device, float(milliseconds) / 1000.0)
