"""How the agent of a host is started: the command whose standard input and output are the channel to it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec
from lepton_kit.processes.program import command
from lepton_kit.runtime.hosts import slurm
from lepton_kit.runtime.hosts.channels import CommandChannel
from lepton_kit.runtime.hosts.ways import address_of

AGENT = "lepton_kit.runtime.hosts.agent"
KEEPER = "lepton_kit.runtime.hosts.keeper"
SSH_COMMAND = "LEPTON_SSH_COMMAND"
"""The environment variable that names another ssh, or adds options to it, as GIT_SSH_COMMAND does."""
INSTALLED = '$(cd -P "$HOME/.local/share/lepton_kit/env" 2>/dev/null && pwd || echo /none)/bin/python'
"""Where `lepton hosts install` puts an environment, by the name that stays its own when another one takes its place."""
SSH_OPTIONS = (
    *("-T", "-x"),
    *("-o", "BatchMode=yes"),
    *("-o", "StrictHostKeyChecking=yes"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "ConnectTimeout=10"),
)
"""No terminal, no questions, no forwarding, and no host whose key is not known."""


def ssh() -> list[str]:
    """The ssh client and the options that the user wants for it."""
    return shlex.split(os.environ.get(SSH_COMMAND) or "ssh")


def launch_command(host: HostSpec, module: str = AGENT) -> list[str]:
    """What brings up the agent of a host, or another program of this package there. Nothing secret is in it.

    >>> launch_command(HostSpec(name="me@lab-3", slots=2, python="/opt/env/bin/python"))[-2:]
    ['me@lab-3', 'exec /opt/env/bin/python -P -m lepton_kit.runtime.hosts.agent']
    """
    if host.via == "local":
        return command(module)
    if host.via == "slurm":
        return slurm.step_command(host.name, remote_command(host.python, module))
    return [*ssh(), *SSH_OPTIONS, "--", host.name, remote_command(host.python, module)]


def by_command(host: HostSpec, log: Path) -> CommandChannel:
    """The channel to the agent of a host that a command brings up. Raises `RunError` if it can't be started."""
    return CommandChannel(launch_command(host), log)


def remote_command(python: str | None, module: str = AGENT) -> str:
    """What the shell of a host is told to run: the first Python there that may have lepton_kit."""
    run = f"-P -m {module}"
    if python is not None:
        return f"exec {shlex.quote(python)} {run}"
    candidates = f'"{INSTALLED}" {shlex.quote(sys.executable)}'
    return (
        f'for python in {candidates}; do [ -x "$python" ] && exec "$python" {run}; done; '
        "echo 'no Python with lepton_kit is there: `lepton hosts install` puts one, `python:` names one' >&2; exit 127"
    )


def address_of_host(host: HostSpec) -> str:
    """The address at which the ranks of other hosts find those of this one. Raises `RunError`."""
    return slurm.address_of_node(host.name) if host.via == "slurm" else address_by_ssh(host.name)


def address_by_ssh(name: str) -> str:
    """The address at which ssh reaches a host, by the user's own configuration. Raises `RunError`."""
    try:
        answer = subprocess.run(
            [*ssh(), "-G", "--", name], capture_output=True, text=True, check=True, timeout=10
        )
    except FileNotFoundError:
        raise RunError(f"{name}: there is no ssh client here ({ssh()[0]})") from None
    except (subprocess.SubprocessError, OSError) as failure:
        said = getattr(failure, "stderr", "") or str(failure)
        raise RunError(f"{name}: ssh does not know what to do with it ({said.strip()})") from None
    settings = dict(line.partition(" ")[::2] for line in answer.stdout.splitlines())
    return address_of(settings.get("hostname") or name.rpartition("@")[2])


def addresses_of(hosts: Sequence[HostSpec]) -> dict[str, str]:
    """Name -> address of each host that is not this machine. Raises `RunError` for one without an address."""
    return {host.name: address_of_host(host) for host in hosts if host.via != "local"}
