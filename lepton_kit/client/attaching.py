"""`attach`: a run whose driver is on another host gets a folder here, which tells what the one there tells."""

from __future__ import annotations

import os
import select
import shutil
import tempfile
import time
from pathlib import Path

from lepton_kit.client.run import Run
from lepton_kit.config import RunConfig
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import HostSpec
from lepton_kit.rundir import RunPaths, lock
from lepton_kit.rundir.paths import runs_folder, write_atomically
from lepton_kit.runtime.failing import last_words
from lepton_kit.runtime.hosts.away_talk import KINDS, Absent, Follow, Replaced
from lepton_kit.runtime.hosts.channels import CommandChannel
from lepton_kit.runtime.hosts.launchers import KEEPER, launch_command
from lepton_kit.runtime.start import follow
from lepton_kit.runtime.wire import Connection

PATIENCE = 30.0
RULE = (
    "HOST:ID, such as gpu-box:run-20261126-101500-ab12 (a run of this machine is opened: "
    "`lk.open_run` takes its folder, its id or latest)"
)


def attach(where: str, runs_dir: str | Path | None = None) -> Run:
    """Follow a run whose driver is on another host: ``"gpu-box:ID"``. Returns at once, with what was known here before.

    Its events, logs, checkpoints and models come into a folder here, and what is asked of it here is carried there. The run
    itself is not touched; the whole id is needed. Raises `RunError` that names the runs there, if it has no such one.
    """
    name, _, run = where.rpartition(":")
    if not name or not run or "/" in run:
        raise ConfigError("attach", given=where, rule=RULE)
    host = HostSpec.parse(name)
    paths = RunPaths(runs_folder(runs_dir) / run)
    if not paths.config.is_file():
        _make(paths, host)
    elif RunConfig.load(paths.config).workers.driver != host.name:
        raise RunError(f"{paths.root}: is there, and its driver is not on {host.name}")
    if not lock.held(paths):
        follow(paths, drive=False)
    return Run(paths)


def _make(paths: RunPaths, host: HostSpec) -> None:
    """A folder for a run of which nothing is here yet."""
    config = _configuration(host, paths.id).replace(**{"workers.driver": host.name})
    hidden = RunPaths(paths.root.with_name(f".{paths.id}"))
    try:
        hidden.create()
        write_atomically(hidden.config, config.to_yaml())
        os.rename(hidden.root, paths.root)
    finally:
        shutil.rmtree(hidden.root, ignore_errors=True)


def _configuration(host: HostSpec, run: str) -> RunConfig:
    """What a run there was asked to do."""
    import yaml

    with tempfile.TemporaryDirectory(prefix="lepton-attach-") as folder:
        log = Path(folder) / "log"
        channel = CommandChannel(launch_command(host, KEEPER), log)
        connection, deadline = Connection(channel.end, KINDS), time.monotonic() + PATIENCE
        try:
            connection.send(Follow(run=run, grown={}, folders=[], drive=False))
            while not connection.closed and (left := deadline - time.monotonic()) > 0:
                for message in (
                    connection.receive() if select.select([connection.fileno()], [], [], left)[0] else []
                ):
                    match message:
                        case Absent(runs=runs):
                            raise RunError(
                                f"{host.name}: has no run {run}; there: {', '.join(runs) or 'none'}"
                            )
                        case Replaced(name="config.yaml", text=text):
                            return RunConfig.from_dict(yaml.safe_load(text))
            raise RunError(f"{host.name}: does not answer ({last_words(log) or 'without a word'})")
        finally:
            channel.close(0.0)
            connection.close()
