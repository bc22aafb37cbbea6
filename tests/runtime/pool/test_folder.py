"""The folder of a pool: made so that no user can take another's file away, and refused where locks don't hold."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path

import pytest

from lepton_kit.errors import ConfigError
from lepton_kit.runtime.pool import folder as pools
from lepton_kit.runtime.pool.folder import PoolFolder, folder_named, mount_of, roll, usual_pool


def test_a_new_folder_is_open_to_all_and_each_file_is_its_owners(tmp_path: Path):
    pool = PoolFolder(tmp_path / "pool")
    assert stat.S_IMODE(os.stat(pool.path).st_mode) == 0o1777
    assert stat.S_IMODE(os.stat(pool.path / pools.LOCK).st_mode) == 0o666
    PoolFolder(pool.path)  # and once more


def test_one_has_the_pool_at_a_time(tmp_path: Path):
    pool = PoolFolder(tmp_path / "pool")
    with pool.locked(), pytest.raises(TimeoutError, match="held by another"), pool.locked(0.05):
        pass
    with pool.locked(0.05):
        pass


def test_the_environment_names_the_folder_or_switches_it_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(pools.POOL, str(tmp_path / "ours"))
    assert folder_named() == tmp_path / "ours"
    monkeypatch.setenv(pools.POOL, "off")
    assert folder_named() is None
    assert usual_pool() is None
    monkeypatch.delenv(pools.POOL)
    usual = folder_named()
    assert usual is not None
    assert usual.name == pools.NAME


def test_a_named_folder_that_cannot_serve_is_refused_and_the_usual_one_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / pools.NAME).write_text("a file")
    monkeypatch.setenv(pools.POOL, str(tmp_path / pools.NAME))
    with pytest.raises(ConfigError, match=r"^LEPTON_POOL: got .*expected a folder, and no link"):
        usual_pool()
    monkeypatch.delenv(pools.POOL)
    monkeypatch.setattr(pools, "PLACES", (tmp_path,))
    assert usual_pool() is None


def test_a_link_and_a_folder_that_cannot_be_made_are_refused(tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(ConfigError, match="no link to one; or 'off'"):
        PoolFolder(tmp_path / "link")
    with pytest.raises(ConfigError, match="a folder that can be made"):
        PoolFolder(tmp_path / "nowhere" / "pool")


def test_a_folder_of_another_user_has_to_be_open_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o755)
    monkeypatch.setattr(pools.os, "getuid", lambda: os.stat(theirs).st_uid + 1)
    monkeypatch.setattr(pools.time, "sleep", lambda _: None)
    with pytest.raises(ConfigError, match=r"your own folder, or one with mode 1777; it has 755"):
        PoolFolder(theirs)


def test_locks_that_keep_nobody_out_are_found_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(ConfigError, match="whose locks hold; here two were given at once"):
        PoolFolder(tmp_path / "pool")


def test_a_file_system_without_locks_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(ConfigError, match="with locks \\(No locks available\\)"):
        PoolFolder(tmp_path / "pool")


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none", None),
        ("nfs", "rw,nolock", "nfs with nolock"),
        ("nfs4", "rw,local_lock=all", "nfs4 with local_lock=all"),
        ("nfs", "rw,local_lock=flock", "nfs with local_lock=flock"),
        ("cifs", "rw,nobrl", "cifs with nobrl"),
        ("cifs", "rw", None),
        ("lustre", "rw,localflock", "lustre with localflock"),
        ("lustre", "rw,flock", None),
        ("fuse.sshfs", "rw", "this is fuse.sshfs"),
        ("tmpfs", "rw", None),
    ],
)
def test_network_file_systems_whose_locks_do_not_hold_are_told_by_their_mount(
    kind: str, options: str, said: str | None
):
    mounts = f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / /lab rw,relatime - {kind} server:/x {options}"
    if said is None:
        pools._check_mount(Path("/lab/pool"), mounts)
        return
    with pytest.raises(ConfigError, match=said):
        pools._check_mount(Path("/lab/pool"), mounts)
    pools._check_mount(Path("/elsewhere"), mounts)


def test_the_last_of_two_mounts_at_a_place_counts():
    mounts = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:9 / /lab rw - nfs a rw\n3 2 0:9 / /lab rw - tmpfs a rw"
    assert mount_of(Path("/lab/x"), mounts)[0] == "tmpfs"
    assert mount_of(Path("/labor"), mounts)[0] == "ext4"
    assert mount_of(Path("/x"), "") == ("", [])


def test_a_folder_that_is_cleared_away_is_made_anew(tmp_path: Path):
    """Whatever cleans shared memory does it while runs train for days."""
    pool = PoolFolder(tmp_path / "pool")
    shutil.rmtree(pool.path)
    with pool.locked():
        assert stat.S_IMODE(pool.path.stat().st_mode) == 0o1777
    (pool.path / "lock").unlink()
    with pool.locked():
        pool.enroll("a")
    assert roll(pool.path) == {"a": None}
    shutil.rmtree(pool.path)
    pool.path.touch()
    with pytest.raises(ConfigError, match="LEPTON_POOL"), pool.locked():
        pass
