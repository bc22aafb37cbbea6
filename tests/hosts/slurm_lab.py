"""A Slurm of two nodes on this machine, in a folder of its own; all is removed after use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from lepton_kit.runtime.zygote import PR_SET_PDEATHSIG

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "salloc", "scontrol")
PLACES = "/usr/sbin:/usr/local/sbin"
PATIENCE = 60.0


def why_not() -> str | None:
    """Why there can be no Slurm here, in words; None if there can."""
    if os.geteuid() != 0:
        return "slurmd needs root"
    for program in PROGRAMS:
        if _path_of(program) is None:
            return f"{program} is not installed (Debian: slurm-wlm, munge)"
    return None


def _path_of(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PLACES}")


class Slurm:
    """Its daemons; `conf` is what ``SLURM_CONF`` has to name."""

    def __init__(self, folder: Path):
        self.folder, self.conf = folder, folder / "slurm.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        """Start everything, and wait until both nodes take jobs."""
        self.folder.chmod(0o755)  # munged refuses a socket that others can't reach
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        self._write()
        names = {"key-file": key} | {
            f"{one}{kind}": self.folder / f"munge.{one}"
            for one, kind in (("socket", ""), ("pid", "-file"), ("log", "-file"), ("seed", "-file"))
        }
        self._start("munged", "--foreground", *(f"--{name}={path}" for name, path in names.items()))
        self._until(lambda: names["socket"].exists(), "munged listens")
        self._start("slurmctld", "-D")
        for node in ("n1", "n2"):
            self._start("slurmd", "-D", "-N", node)
        self._until(lambda: self.ask("sinfo", "-h", "-o", "%T %D") == "idle 2", "both nodes are idle")

    def _write(self) -> None:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            ports = [one.getsockname()[1] for one in sockets]
        nodes = [
            f"NodeName=n{k} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[k]} CPUs=4 RealMemory=1000\n"
            for k in (1, 2)
        ]
        self.conf.write_text(
            "ClusterName=test\nSlurmctldHost=localhost\nSlurmUser=root\nSlurmdUser=root\n"
            f"SlurmctldPort={ports[0]}\nAuthInfo=socket={self.folder}/munge.socket\n"
            f"StateSaveLocation={self.folder}/state\nSlurmdSpoolDir={self.folder}/spool-%n\n"
            f"SlurmctldPidFile={self.folder}/slurmctld.pid\nSlurmdPidFile={self.folder}/slurmd-%n.pid\n"
            f"SlurmctldLogFile={self.folder}/slurmctld.log\nSlurmdLogFile={self.folder}/slurmd-%n.log\n"
            "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\n"
            "SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nSlurmdParameters=config_overrides\n"
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1\nReturnToService=2\nMailProg=/bin/true\n"
            + "".join(nodes)
            + "PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP\n"
        )
        (self.folder / "state").mkdir()

    def _start(self, program: str, *arguments: str) -> None:
        with open(self.folder / "daemons.log", "ab") as log:
            started = subprocess.Popen(
                [_path_of(program) or program, *arguments],
                env={**os.environ, "SLURM_CONF": str(self.conf)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_us,
            )
        self._daemons.append(started)

    def _until(self, condition, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, (what, (self.folder / "daemons.log").read_text()[-3000:])
            time.sleep(0.1)

    def ask(self, *command: str) -> str:
        """What one of Slurm's programs says, "" if it can't yet."""
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        return answer.stdout.strip()

    def allocate(self) -> dict[str, str]:
        """The environment of an allocation of both nodes, as ``salloc`` would give it to a command."""
        command = ["salloc", "--no-kill", "-N2", "--no-shell"]
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        found = re.search(r"job allocation (\d+)", told.stderr)
        assert found is not None, told.stderr
        return {"SLURM_JOB_ID": found[1], "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_TASKS_PER_NODE": "1(x2)"}

    def start_at_once(self, job: str) -> None:
        """Start a job that was put back into the queue, where Slurm lets it wait for two minutes."""
        self._until(lambda: "Restarts=1" in self.ask("scontrol", "show", "job", job), "it is put back")
        # In the same second slurmd would take the new turn's credential for the old one's, which is revoked.
        time.sleep(2.0)

        def begins() -> bool:  # when its first turn has ended altogether, Slurm sets the time anew
            self.ask("scontrol", "update", f"jobid={job}", "starttime=now")
            told = self.ask("scontrol", "show", "job", job)
            return "JobState=RUNNING" in told or "JobState=COMPLETED" in told  # it may be short

        self._until(begins, "it begins again")

    def processes(self) -> list[psutil.Process]:
        """Everything that this Slurm has started, daemons included."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == str(self.conf) and process.pid != os.getpid():
                    found.append(process)
        return found

    def down(self) -> None:
        """End all jobs, then the daemons, then whatever is left."""
        if self._daemons:
            self.ask("scancel", "--user=root")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(5.0)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
                process.wait(5.0)
        shutil.rmtree(self.folder, ignore_errors=True)


def _end_with_us() -> None:
    """Have the kernel stop a daemon when whoever started it is killed (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """A Slurm that is there for as long as this context."""
    made = Slurm(Path(tempfile.mkdtemp(prefix="lepton-slurm-")))
    try:
        made.up()
        yield made
    finally:
        made.down()
