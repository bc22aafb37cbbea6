"""Slurm: the nodes of the allocation that this process stands in, as hosts of a run, and how an agent starts on one."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from typing import TypeVar

from lepton_kit.config import RunSettings
from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec
from lepton_kit.runtime.hosts.ways import address_of

PATIENCE_SECONDS = 30.0
"""How long a question to Slurm's controller may take."""
STEP = (
    *("-N1", "-n1", "--ntasks-per-node=1"),
    *("--overlap", "--unbuffered", "--quiet"),
    *("--mpi=none", "--cpu-bind=none"),
)
"""One process on one node that shares what the job has there with its other steps, and gets all of it."""
OUTLAST = "trap '' TERM; "
"""Slurm sends SIGTERM to all processes of a job that is to end. An agent ends with its driver, which first has a
checkpoint written; what still lives when the time that Slurm gives is over (KillWait) is killed."""
Settings = TypeVar("Settings", bound=RunSettings)


def settled(config: Settings, environment: Mapping[str, str] = os.environ) -> Settings:
    """The configuration with the nodes of the allocation in the place of ``slurm`` among its hosts, if that is there.

    Raises `RunError` outside an allocation.
    """
    hosts = config.workers.hosts or ()
    if not any(host.is_allocation for host in hosts):
        return config
    nodes = [
        node for host in hosts for node in (nodes_of(host, environment) if host.is_allocation else [host])
    ]
    return config.replace(**{"workers.hosts": [node.model_dump() for node in nodes]})


def nodes_of(host: HostSpec, environment: Mapping[str, str] = os.environ) -> list[HostSpec]:
    """The nodes of the allocation that an environment tells of, with what else is said of ``slurm`` as a host.

    A node has as many slots as Slurm has tasks there, or GPUs if it has some. Raises `RunError` outside an allocation.
    """
    listed = environment.get("SLURM_JOB_NODELIST")
    if not listed or not environment.get("SLURM_JOB_ID"):
        raise RunError(
            "hosts: slurm: this process stands in no Slurm allocation; start it in one (`salloc --nodes=2 --exclusive`), "
            "or have a job made of the run: `lepton submit config.yaml --slurm`"
        )
    names = ask("scontrol", "show", "hostnames", listed).split()
    slots, threads = slots_of(environment, len(names))
    gpus = gpus_of(environment)
    common = host.model_dump(exclude={"name", "slots"})
    common["threads"] = host.threads or threads
    if gpus:
        common |= {"device": "gpu", "threads": host.threads}
    return [
        HostSpec(name=name, slots=gpus or number, **common) for name, number in zip(names, slots, strict=True)
    ]


def slots_of(environment: Mapping[str, str], nodes: int) -> tuple[list[int], int | None]:
    """How many workers each node has room for, and the threads of each if the job was given CPUs by the task.

    Those are Slurm's tasks. In a step (``srun --pty bash``) the tasks are those of the step: there the CPUs count.

    >>> slots_of({"SLURM_TASKS_PER_NODE": "2(x2),1", "SLURM_CPUS_PER_TASK": "4"}, 3)
    ([2, 2, 1], 4)
    >>> slots_of({"SLURM_JOB_CPUS_PER_NODE": "8(x2)", "SLURM_CPUS_PER_TASK": "4", "SLURM_STEP_ID": "0"}, 2)
    ([2, 2], 4)
    """
    given = environment.get("SLURM_CPUS_PER_TASK", "")
    threads = int(given) if given.isdigit() and given != "0" else None
    tasks = repeated(environment.get("SLURM_TASKS_PER_NODE", ""))
    if len(tasks) == nodes and "SLURM_STEP_ID" not in environment:
        return tasks, threads
    cpus = repeated(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    if len(cpus) != nodes:
        raise RunError(
            f"hosts: slurm: {nodes} nodes, but SLURM_TASKS_PER_NODE is "
            f"{environment.get('SLURM_TASKS_PER_NODE')!r} and SLURM_JOB_CPUS_PER_NODE "
            f"{environment.get('SLURM_JOB_CPUS_PER_NODE')!r}"
        )
    return [max(1, number // (threads or 1)) for number in cpus], threads


def repeated(text: str) -> list[int]:
    """Numbers in Slurm's short form.

    >>> repeated("4(x3),1"), repeated("")
    ([4, 4, 4, 1], [])
    """
    found: list[int] = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        found += [int(number)] * int(times or 1)
    return found


def gpus_of(environment: Mapping[str, str]) -> int:
    """GPUs of the job on each node; 0 if it has none.

    >>> gpus_of({"SLURM_GPUS_PER_NODE": "a100:2"}), gpus_of({"SLURM_GPUS_ON_NODE": "4"}), gpus_of({})
    (2, 4, 0)
    """
    for name in ("SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE"):
        last = environment.get(name, "").rpartition(":")[2]
        if last.isdigit():
            return int(last)
    return 0


def step_command(node: str, run: str) -> list[str]:
    """What has the shell of a node run something whose standard input and output are this command's.

    >>> step_command("n2", "exec python")[-4:]
    ['n2', '/bin/sh', '-c', "trap '' TERM; exec python"]
    """
    return ["srun", *STEP, "-w", node, "/bin/sh", "-c", OUTLAST + run]


def address_of_node(node: str) -> str:
    """The address of a node, as Slurm has it or as its name resolves. Raises `RunError`."""
    told = ask("scontrol", "show", "node", node, "--oneliner")
    found = re.search(r"\bNodeAddr=(\S+)", told)
    return address_of(found[1] if found else node)


def ask(*command: str) -> str:
    """What one of Slurm's programs answers. Raises `RunError` with what it says is wrong."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    except FileNotFoundError:
        raise RunError(f"{command[0]}: is not here; Slurm's programs have to be installed") from None
    except (subprocess.SubprocessError, OSError) as failure:
        said = (getattr(failure, "stderr", "") or str(failure)).strip()
        raise RunError(f"{' '.join(command[:2])}: {said}") from None
    return answer.stdout
