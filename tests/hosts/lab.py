"""A lab of hosts on this machine: network namespaces on a bridge, each with an sshd of its own; all is removed after use."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lepton_kit.training import native

SSHD = "/usr/sbin/sshd"
PORT = 22
PATIENCE = 30.0


def why_not() -> str | None:
    """Why there can be no lab here, in words; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", SSHD, "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: iproute2, openssh-server, openssh-client)"
    name = f"lkt{secrets.token_hex(2)}"
    bridge, cable = ["ip", "link", "add", f"{name}b", "type", "bridge"], ["type", "veth", "peer", "eth0"]
    try:
        for command in (
            ["ip", "netns", "add", name],
            bridge,
            ["ip", "link", "add", f"{name}v", *cable, "netns", name],
        ):
            answer = subprocess.run(command, capture_output=True, text=True)
            if answer.returncode != 0:
                return f"this system lets nobody make network namespaces ({answer.stderr.strip()})"
    finally:
        for command in (["ip", "link", "del", f"{name}b"], ["ip", "netns", "del", name]):
            subprocess.run(command, capture_output=True)
    return None


def free_net() -> str:
    """Three numbers of a network that nothing here has a route to, a lab that is left included."""
    taken = subprocess.run(["ip", "route", "show"], capture_output=True, text=True, check=True).stdout
    free = [net for net in (f"10.77.{k}" for k in range(20, 220)) if f"{net}." not in taken]
    return secrets.choice(free)


def run(*command: str) -> None:
    """Run a program that has to succeed."""
    subprocess.run(command, check=True, capture_output=True)


@dataclass
class Host:
    """One of the hosts: a namespace with its address, its link to the bridge, and its sshd."""

    name: str
    namespace: str
    link: str
    address: str
    cache: Path
    before: str = ""
    """What a shell does there before its sshd starts, such as mounting something that no other host sees."""
    environment: str = ""
    """More of what logins find in their environment, as ``NAME=value``."""
    sshd: subprocess.Popen[bytes] | None = None

    def cut(self) -> None:
        """Take the cable out."""
        run("ip", "link", "set", self.link, "down")

    def mend(self) -> None:
        """Put the cable back in."""
        run("ip", "link", "set", self.link, "up")

    def shape(self, rate: str) -> None:
        """Let no more than this leave for the host or come from it, such as 1gbit."""
        shaping = ("root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms")
        run("tc", "qdisc", "replace", "dev", self.link, *shaping)
        run("ip", "netns", "exec", self.namespace, "tc", "qdisc", "replace", "dev", "eth0", *shaping)

    def wall_off(self, other: Host) -> None:
        """Let nobody from another host connect to the ports that the system chooses here, as a firewall does."""
        for rule in ("del pref 0", "add pref 9 lookup local", f"add pref 1 {self._walled(other)}"):
            run("ip", "-n", self.namespace, "rule", *rule.split())

    def open_to(self, other: Host) -> None:
        """Take that wall away."""
        run("ip", "-n", self.namespace, "rule", "del", "pref", "1", *self._walled(other).split())

    @staticmethod
    def _walled(other: Host) -> str:
        return f"from {other.address} ipproto tcp dport 32768-60999 blackhole"

    def processes(self) -> list[int]:
        """All processes in the namespace, but its sshd."""
        answer = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True)
        return [int(pid) for pid in answer.stdout.split() if self.sshd is None or int(pid) != self.sshd.pid]


class Lab:
    """Hosts with names, reached by ``LEPTON_SSH_COMMAND``."""

    def __init__(self, folder: Path, names: tuple[str, ...]):
        self.folder = folder
        mark = secrets.token_hex(2)
        self.bridge, self._net = f"lkb{mark}", free_net()
        self.hosts = {
            name: Host(
                name, f"lkn{mark}{k}", f"lkv{mark}{k}", f"{self._net}.{k + 2}", folder / f"cache-{name}"
            )
            for k, name in enumerate(names)
        }

    @property
    def gateway(self) -> str:
        """The address of this machine, as the hosts reach it."""
        return f"{self._net}.1"

    @property
    def ssh_command(self) -> str:
        """What reaches the hosts by their names, and asks nobody."""
        return f"ssh -F {self.folder / 'ssh_config'}"

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def up(self) -> None:
        """Make everything, and wait until each sshd listens."""
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        for file in ("host_key", "user_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / file))
        shutil.copy(self.folder / "user_key.pub", self.folder / "authorized_keys")
        public = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        known = [f"{host.address} {public}\n" for host in self.hosts.values()]
        (self.folder / "known_hosts").write_text("".join(known))
        (self.folder / "ssh_config").write_text("".join(map(self._client, self.hosts.values())))
        Path("/run/sshd").mkdir(exist_ok=True)
        for host in self.hosts.values():
            self._plug_in(host)
            built = native.library_path().parent.parent  # as `make setup` would have built it there
            (host.cache / "lepton_kit").mkdir(parents=True)
            (host.cache / "lepton_kit" / built.name).symlink_to(built)
            self.start_sshd(host)

    def _client(self, host: Host) -> str:
        return (
            f"Host {host.name}\n  HostName {host.address}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder / 'user_key'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder / 'known_hosts'}\n"
        )

    def _plug_in(self, host: Host) -> None:
        run("ip", "netns", "add", host.namespace)
        run("ip", "link", "add", host.link, "type", "veth", "peer", "eth0", "netns", host.namespace)
        run("ip", "link", "set", host.link, "master", self.bridge, "up")
        for command in (
            f"addr add {host.address}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
            f"route add default via {self.gateway}",
        ):
            run("ip", "-n", host.namespace, *command.split())

    def start_sshd(self, host: Host) -> None:
        """Bring the sshd of a host up, again if it was killed."""
        config = self.folder / f"sshd_{host.name}"
        config.write_text(
            f"ListenAddress {host.address}\nPort {PORT}\nHostKey {self.folder / 'host_key'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\nStrictModes no\nUsePAM no\nPidFile none\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
            f"SetEnv XDG_CACHE_HOME={host.cache} XDG_STATE_HOME={host.cache} {host.environment}\n"
        )
        with open(self.folder / f"sshd_{host.name}.log", "ab") as log:
            host.sshd = subprocess.Popen(
                [
                    "ip",
                    "netns",
                    "exec",
                    host.namespace,
                    "sh",
                    "-ec",
                    f"{host.before}\nexec {SSHD} -D -e -f {config}",
                ],
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host.address, PORT), 1.0):
                return
            assert time.monotonic() < deadline, self._state(host)
            time.sleep(0.05)

    def _state(self, host: Host) -> str:
        """What may keep a host from being reached: its sshd, addresses, links, routes and neighbours, on both sides."""
        said = [(self.folder / f"sshd_{host.name}.log").read_text()]
        for where in ([], ["-n", host.namespace]):
            for what in ("-br address", "-s link", "route", "rule", "neigh"):
                command = ["ip", *where, *what.split()]
                said += [" ".join(command), subprocess.run(command, capture_output=True, text=True).stdout]
        return "\n".join(said)

    def down(self) -> None:
        """Remove everything, whatever is left of it."""
        for host in self.hosts.values():
            for pid in host.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if host.sshd is not None:
                host.sshd.kill()
                host.sshd.wait()
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True)
            subprocess.run(["ip", "link", "del", host.link], capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)


@contextlib.contextmanager
def lab(
    folder: Path, *names: str, before: dict[str, str] | None = None, environment: dict[str, str] | None = None
) -> Iterator[Lab]:
    """A lab with hosts of these names; ``before`` and ``environment`` are those of `Host`, by name."""
    folder.mkdir(exist_ok=True)
    made = Lab(folder, names)
    for name, host in made.hosts.items():
        host.before, host.environment = (before or {}).get(name, ""), (environment or {}).get(name, "")
    try:
        made.up()
        yield made
    finally:
        made.down()
