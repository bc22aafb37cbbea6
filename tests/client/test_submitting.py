"""Runs handed over to a scheduler: what is written, what is refused, and what readers see while they wait."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.client import job_files, jobs
from lepton_kit.client.jobs import SlurmJob
from lepton_kit.config import RunConfig
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import RunPaths, Status
from lepton_kit.runtime.wishes import Wishes
from tests.configs import MODEL, any_config

DIGITS = {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for programs first; sbatch in it takes every script as job 7."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program(folder, "sbatch", "echo 7")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "config.yaml"
    values = {"name": "wide", "model": DIGITS, "data": {"kind": "sample", "name": "digits"}}
    found.write_text(yaml.safe_dump(values))
    return found


def test_a_submitted_run_waits_in_words(file: Path, runs_dir: Path, programs: Path):
    run = lk.submit(
        file, slurm={"nodes": 2, "time": "2:00:00", "sbatch": ["--account=lab"]}, runs_dir=runs_dir
    )
    assert run.status is Status.QUEUED
    assert run.cause == "Slurm job 7; `scancel 7` takes it back"
    assert [(row["status"], row["cause"]) for row in lk.runs(runs_dir).rows()] == [("queued", run.cause)]
    lines = run.paths.job_script.read_text().splitlines()
    for line in (
        "--nodes=2",
        "--ntasks-per-node=1",
        "--time=2:00:00",
        "--account=lab",
        "--no-requeue",
        "--no-kill",
    ):
        assert f"#SBATCH {line}" in lines
    assert lines[-1].endswith(f"-m lepton_kit.cli resume {run.directory} --foreground")
    assert subprocess.run(["bash", "-n", str(run.paths.job_script)]).returncode == 0
    assert run.config.workers.hosts is not None
    assert run.config.workers.hosts[0].is_allocation
    with pytest.raises(RunError, match="waits as Slurm job 7, which will begin it"):
        run.resume()
    with pytest.raises(RunError, match="is queued; a job goes on"):
        lk.submit(run, slurm={"nodes": 2})
    with pytest.raises(RunError, match=r"is queued \(Slurm job 7.*\); stop needs a run that is under way"):
        run.stop()


def test_a_job_of_one_node_has_no_hosts_and_room_for_all(file: Path, runs_dir: Path, programs: Path):
    run = lk.submit(file, slurm={"requeue": True}, workers=3, runs_dir=runs_dir)
    assert run.config.workers.hosts is None
    assert run.config.workers.count == 3
    text = run.paths.job_script.read_text()
    assert "#SBATCH --ntasks-per-node=3\n" in text
    assert "#SBATCH --requeue\n" in text


def test_a_run_that_is_not_taken_leaves_no_folder(file: Path, runs_dir: Path, programs: Path):
    program(programs, "sbatch", "echo 'invalid partition: quick' >&2; exit 1")
    with pytest.raises(RunError, match="sbatch --parsable: invalid partition: quick"):
        lk.submit(file, slurm={"partition": "quick"}, runs_dir=runs_dir)
    assert list(runs_dir.iterdir()) == []


def test_a_dry_run_is_written_and_not_submitted(
    file: Path, runs_dir: Path, programs: Path, capsys: pytest.CaptureFixture[str]
):
    program(programs, "sbatch", "exit 1")
    command = ["--runs-dir", str(runs_dir), "submit", str(file), "--slurm", "--nodes", "2", "--workers", "4"]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    (run,) = lk.runs(runs_dir)
    assert "#SBATCH --ntasks-per-node=2\n" in said
    assert f"# not submitted: sbatch {run.paths.job_script}" in said
    assert run.status is Status.CREATED


@pytest.mark.parametrize(
    ("settings", "options", "text"),
    [
        ({"nodes": 0}, {}, "slurm.nodes: got 0; expected greater than 0"),
        ({"time": "soon"}, {}, "slurm.time: got 'soon'; expected a time as sbatch takes it"),
        ({"node": 2}, {}, "slurm.node: got 2; expected one of nodes"),
        ({"sbatch": ["--signal=KILL"]}, {}, "which the run's job sets itself"),
        ({"sbatch": ["lab"]}, {}, "options that begin with -"),
        ({"tasks_per_node": 1}, {"workers": 2}, "workers.count: got 2; expected at most 1"),
        ("two nodes", {}, "slurm: got 'two nodes'"),
        ({}, {"epochs": 3}, "epochs: got 3; expected in the configuration"),
    ],
)
def test_what_a_job_can_not_be_is_said_before_anything_is_made(
    file: Path, runs_dir: Path, programs: Path, settings: Any, options: dict[str, Any], text: str
):
    with pytest.raises(ConfigError, match=text):
        lk.submit(file, slurm=settings, runs_dir=runs_dir, **options)
    assert list(runs_dir.iterdir()) == []


def test_hosts_that_slurm_does_not_find_are_refused(file: Path, runs_dir: Path, programs: Path):
    values = yaml.safe_load(file.read_text()) | {"workers": {"hosts": ["gpu-box:2"]}}
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"hosts: .* expected none or slurm"):
        lk.submit(file, slurm={"nodes": 2}, runs_dir=runs_dir)


def test_a_driver_elsewhere_is_refused(file: Path, runs_dir: Path, programs: Path):
    values = yaml.safe_load(file.read_text()) | {"workers": {"driver": "gpu-box"}}
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="driver: got 'gpu-box'; expected null"):
        lk.submit(file, slurm={}, runs_dir=runs_dir)
    assert list(runs_dir.iterdir()) == []


def test_what_waits_where_another_driver_has_spoken_before(tmp_path: Path):
    paths = RunPaths(tmp_path / "run")
    paths.create()
    paths.config.write_text(any_config(model=MODEL).to_yaml())
    paths.events.write_text('{"time": 1.0, "kind": "status", "status": "stopped", "cause": null}\n')
    run = lk.Run(paths)
    assert run.status is Status.STOPPED
    jobs.note_queued(paths, "12")
    assert run.status is Status.QUEUED
    jobs.check_turn(paths, {"SLURM_JOB_ID": "12"})
    with pytest.raises(RunError, match="waits as Slurm job 12"):
        jobs.check_turn(paths, {"SLURM_JOB_ID": "13"})


@pytest.mark.parametrize(
    ("asked", "status"), [(("interrupt",), "interrupted"), (("stop", "interrupt"), "stopped")]
)
def test_the_end_of_a_machine_interrupts_what_nobody_stopped(asked: tuple[str, ...], status: str):
    wishes = Wishes(any_config(model=MODEL), cores=2)
    for verb in asked:
        wishes.apply(verb, {}, None)
    assert wishes.wanted.stopping
    assert wishes.ended(Status.STOPPED, None)[0] == status
    assert wishes.ended(Status.FINISHED, None) == (Status.FINISHED, None)


def test_a_manifest_for_kubernetes_is_valid_yaml_that_runs_the_same_command(file: Path, tmp_path: Path):
    output = tmp_path / "job.yaml"
    command = [
        "export-job",
        str(file),
        "kubernetes",
        "--image",
        "lab/lepton:1",
        "--claim",
        "runs",
        "--gpus",
        "1",
    ]
    assert main([*command, "--output", str(output)]) == 0
    assert "not_run" in output.read_text().splitlines()[0]
    held, job = yaml.safe_load_all(output.read_text())
    assert RunConfig.from_dict(yaml.safe_load(held["data"]["config.yaml"])) == RunConfig.load(file)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == [
        "lepton",
        "--runs-dir",
        "/runs",
        "run",
        "/config/config.yaml",
        "--foreground",
    ]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": 1}
    assert {one["name"] for one in pod["volumes"]} == {one["name"] for one in container["volumeMounts"]}


def test_a_script_for_ray_is_valid_shell(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--runs-dir", "/shared/runs", "export-job", str(file), "ray"]) == 0
    text = capsys.readouterr().out
    assert "not_run" in text
    assert text.endswith("-- lepton --runs-dir /shared/runs run config.yaml --foreground\n")
    assert subprocess.run(["sh", "-n"], input=text, text=True).returncode == 0


@pytest.mark.parametrize(
    ("changes", "options", "text"),
    [
        ({"workers": {"hosts": ["a", "b"]}}, {}, "workers.hosts: got"),
        ({"workers": {"driver": "gpu-box"}}, {}, "workers.driver: got 'gpu-box'"),
        (
            {"data": {"kind": "npz", "path": "d.npz", "x": "x", "y": "y"}},
            {},
            "data.path: got 'd.npz'; expected an absolute",
        ),
        ({}, {"image": "a b"}, "image: got"),
        ({}, {"claim": "My Runs"}, "claim: got"),
        ({}, {"memory": "much"}, "memory: got"),
    ],
)
def test_what_no_manifest_can_hold_is_named(changes: dict[str, Any], options: dict[str, str], text: str):
    config = any_config(**({"model": DIGITS} | changes))
    with pytest.raises(ConfigError, match=text):
        job_files.kubernetes(config, **({"image": "lab/lepton:1", "claim": "runs"} | options))


def test_a_job_is_room_for_what_gpus_there_are():
    job = SlurmJob(nodes=2, gpus_per_node=4)
    assert jobs.workers_of(job, any_config(workers={"count": 8})) == 8
    assert "--ntasks-per-node=4" in job.options(8)
    with pytest.raises(ConfigError, match="at most 8: 2 nodes with room for 4 each"):
        jobs.workers_of(job, any_config(workers={"count": 9}))
