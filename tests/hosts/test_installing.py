"""The environment of a bare host: put there over ssh, resumed where it was interrupted, taken when it is whole; and cleaning."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import lepton_kit as lk
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import HostSpec, known_hosts
from lepton_kit.runtime.hosts import cleaning, installing
from lepton_kit.runtime.hosts.installing import Bare
from lepton_kit.runtime.hosts.mirror import Mirror
from tests.hosts.lab import Lab, lab, why_not

HERE = Bare("x86_64", (2, 36), 0)


@pytest.mark.parametrize(
    ("there", "fits"),
    [
        (Bare("x86_64", (2, 36), 0), True),
        (Bare("x86_64", (2, 41), 0), True),
        (Bare("x86_64", (2, 31), 0), False),
        (Bare("aarch64", (2, 36), 0), False),
        (Bare("x86_64", (), 0), False),
    ],
)
def test_what_was_compiled_here_runs_on_the_same_processor_with_no_older_c_library(there: Bare, fits: bool):
    assert there.fits(HERE) is fits


def test_this_machine_fits_itself():
    here = installing.this_machine()
    assert here.fits(here)


@pytest.mark.parametrize(
    ("there", "packages", "text"),
    [
        (Bare("x86_64", (2, 36), 10**9, "/p"), "here", "1.0 GB are free in its home, 5 GB are needed"),
        (Bare("aarch64", (2, 36), 10**11, "/p"), "here", "is aarch64 with C library 2.36, here x86_64"),
        (Bare("x86_64", (2, 36), 10**11), "here", "has no python3"),
        (Bare("aarch64", (2, 36), 10**11), "index", "has neither python3"),
    ],
)
def test_a_host_that_can_not_have_it_is_refused_with_the_reason(there: Bare, packages, text: str):
    with pytest.raises(RunError, match=text):
        installing.Install(HostSpec(name="bare"), packages, print)._refuse(there, HERE, there.fits(HERE))


def test_wrong_packages_are_named():
    with pytest.raises(ConfigError, match="packages: got 'there'; expected index or here"):
        lk.Cluster("localhost").install("there")  # type: ignore[arg-type]  # the wrong word is the test


def test_this_machine_has_it():
    assert lk.Cluster("localhost").install() == {"localhost": "localhost: is this machine, which has it"}


def test_known_hosts_are_kept_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert lk.Cluster().hosts == ()
    lk.Cluster("gpu-box:4,localhost/a").add()
    lk.Cluster([{"name": "gpu-box", "slots": 2, "speed": 2.0}]).add()
    assert [(one.name, one.slots, one.speed) for one in known_hosts()] == [
        ("localhost/a", 1, 1.0), ("gpu-box", 2, 2.0),
    ]  # fmt: skip
    assert repr(lk.Cluster()) == "Cluster(localhost/a:1, gpu-box:2)"
    with pytest.raises(ConfigError, match="got 'lab-3'; expected known ones: localhost/a, gpu-box"):
        lk.Cluster("gpu-box,lab-3").remove()
    lk.Cluster("gpu-box,localhost/a").remove()
    assert known_hosts() == []
    (tmp_path / "lepton_kit" / "hosts.yaml").write_text("hosts:\n- {name: a, slot: 3}\n")
    with pytest.raises(ConfigError, match=r"hosts\.yaml: hosts\.0"):
        lk.Cluster()


def test_cleaning_leaves_what_a_run_holds(tmp_path: Path):
    root, envs = tmp_path / "hosts", tmp_path / "share" / "envs"
    live, dead = Mirror(root, "live", "one"), Mirror(root, "dead", "one")
    for mirror, content in ((live, "aa"), (dead, "bb")):
        mirror.lacking({"x": (2, content)})
        (mirror.contents / content).write_bytes(b"12")
        (mirror.contents / f".{content}.two").write_bytes(b"1")
    os.close(dead._lock)  # as the kernel does when its agent dies
    for name in ("new", "old", "used", "begun"):
        (envs / name).mkdir(parents=True)
        (envs / name / "file").write_bytes(b"123")
        if name != "begun":
            (envs / name / cleaning.COMPLETE).touch()
    (envs.parent / "env").symlink_to("envs/new")
    with cleaning.in_use(envs / "used"):
        freed, runs = cleaning.clean(root, envs)
    assert runs == 1
    assert freed == 2 + 1 + len("bb") + 3
    assert live.folder.exists()
    assert not dead.folder.exists()
    assert sorted(path.name for path in live.contents.iterdir()) == [".aa.two", ".lock", "aa"]
    assert sorted(path.name for path in envs.iterdir()) == ["begun", "new", "used"]
    assert cleaning.clean(root / "none", envs / "none") == (0, 0)
    live.close()


# ---------------------------------------------------------------------- on a host


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A host whose user has an empty home. Of the packages few are sent; the others are found where they lie here."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    home, site = tmp_path / "home", tmp_path / "site"
    home.mkdir()
    site.mkdir()
    root = Path(str(metadata.distribution("tensorflow").locate_file("")))
    (site / "elsewhere.pth").write_text(f"{root}\n")
    yaml = {f"yaml/{path.name}": path for path in (root / "yaml").glob("*.py")}
    monkeypatch.setattr(installing, "site_files", lambda: {"elsewhere.pth": site / "elsewhere.pth", **yaml})
    with lab(tmp_path / "lab", "bare", environment={"bare": f"HOME={home}"}) as made:
        monkeypatch.setenv("LEPTON_SSH_COMMAND", made.ssh_command)
        yield made


@pytest.mark.processes
def test_a_bare_host_gets_the_environment_resumes_and_is_cleaned(
    bare: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    share = tmp_path / "home" / ".local" / "share" / "lepton_kit"
    told: list[str] = []
    cluster = lk.Cluster("bare:2")

    def fail(_: object) -> None:
        raise RunError("bare: the link went down")

    with monkeypatch.context() as broken:
        broken.setattr(installing.Install, "_send_project", fail)
        with pytest.raises(RunError, match="the link went down"):
            cluster.install("here", told.append)
    assert "bare: packages" in told
    assert not (share / "env").exists(), "what is not whole is not taken"
    told.clear()
    (done,) = cluster.install("here", told.append).values()
    assert done.startswith("bare: installed (")
    assert "bare: packages" not in told, "what was done is not done again"
    assert {"bare: lepton_kit", "bare: check"} <= set(told)
    first = (share / "env").resolve()
    assert (first / "lib" / installing.PYTHON / "site-packages" / "yaml" / "__init__.py").exists()
    assert "has this environment" in cluster.install("here", told.append)["bare"]

    checked = cluster.check()
    assert checked.problems == []
    assert checked.table().loc["bare", "native"] == "built"

    monkeypatch.setattr(installing, "code", lambda: "other")
    monkeypatch.setattr(installing.Install, "_check", lambda _: None)
    told.clear()
    cluster.install("here", told.append)
    second = (share / "env").resolve()
    assert second != first
    assert first.exists(), "a run may be using it"
    assert "bare: packages" not in told, "the same packages share their files"
    pairs = [
        folder / "lib" / installing.PYTHON / "site-packages" / "yaml" / "nodes.py"
        for folder in (first, second)
    ]
    assert os.path.samefile(*pairs)
    with open(first / cleaning.IN_USE, "a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert "runs that are served: 0" in cluster.clean()["bare"]
        assert first.exists()
    cluster.clean()
    assert not first.exists()
    assert second.exists()
