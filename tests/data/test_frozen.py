"""A run's data as they were when it began: opened whatever became of the source, or refused in words."""

import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.client.script import absolute
from lepton_kit.data import cache, frozen
from lepton_kit.data.frozen import KEPT, open_frozen, with_data
from lepton_kit.data.prepared import ELSEWHERE, META
from lepton_kit.errors import DataError
from tests.configs import any_config

X, Y = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20) % 2


def write(path, shift=0.0, rows=20):
    np.savez(path, x=X[:rows] + np.float32(shift), y=Y[:rows])


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "a.npz")
    return tmp_path / "a.npz"


def launched(folder, dataset):
    """The configuration of a run whose folder was filled, as a launch does it."""
    folder.mkdir(parents=True)
    spec = KEPT if dataset.held is not None else dataset.spec()
    config = with_data(any_config().replace(data=spec), dataset.prepare(), folder)
    (folder / "config.yaml").write_text(config.to_yaml())
    return config


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "demo"


@pytest.fixture
def another_disk(monkeypatch):
    """As if the cache were on another disk than the run."""

    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)


def spoil(file):
    os.chmod(file, 0o600)
    with file.open("r+b") as opened:
        opened.seek(-4, os.SEEK_END)
        opened.write(b"oops")


def test_a_run_s_copy_takes_no_room_and_needs_neither_source_nor_cache(path, run):
    dataset = data.npz(path)
    config = launched(run, dataset)
    prepared = dataset.prepare()
    assert (run / "data" / "train.x.0.npy").samefile(prepared.folder / "train.x.0.npy")
    assert (config.frozen.samples, config.frozen.validation_samples) == (16, 4)
    path.unlink()
    shutil.rmtree(cache.cache_root())
    again = open_frozen(config, run)
    assert np.array_equal(again.train.x, prepared.train.x)
    assert (again.content, again.fingerprint) == (config.frozen.content, prepared.fingerprint)
    assert again.folder == run / "data"


def test_the_configuration_still_names_the_source(path, run):
    assert launched(run, data.npz(path, seed=3)).data["path"] == str(path)


@pytest.mark.parametrize("changed", ["rewritten", "longer", "gone"])
def test_a_source_that_changed_does_not_matter_to_a_run_that_has_its_copy(path, run, changed):
    config = launched(run, data.npz(path))
    if changed == "gone":
        path.unlink()
    else:
        write(path, shift=1.0, rows=20 if changed == "rewritten" else 10)
    assert open_frozen(config, run).content == config.frozen.content


def test_without_the_copy_the_source_serves_if_it_gives_the_same(path, run):
    config = launched(run, data.npz(path))
    shutil.rmtree(run / "data")
    shutil.rmtree(cache.cache_root())
    os.utime(path, (1, 1))
    opened = open_frozen(config, run)
    assert opened.content == config.frozen.content
    assert cache.entries()[0].needed == (run,), "the run has no other copy now"


def test_without_the_copy_a_changed_source_is_refused_until_it_is_restored(path, run):
    config = launched(run, data.npz(path))
    shutil.rmtree(run / "data")
    write(path, shift=1.0)
    with pytest.raises(
        DataError, match=r"^a.npz has changed since run demo began \(20.*restore it or start a"
    ):
        open_frozen(config, run)
    write(path, rows=10)
    with pytest.raises(DataError, match="8 training samples instead of 16"):
        open_frozen(config, run)
    (run / "config.yaml").unlink()
    with pytest.raises(DataError, match="no configuration is left"):
        open_frozen(config, run)
    write(path)
    assert open_frozen(config, run).content == config.frozen.content


def test_without_copy_and_source_both_are_named(path, run):
    config = launched(run, data.npz(path))
    shutil.rmtree(run / "data")
    path.unlink()
    with pytest.raises(DataError, match=r"^a.npz can't be read any more.*own copy of it \(.*data\) is gone"):
        open_frozen(config, run)


def test_a_copy_that_was_changed_is_made_good_from_the_source_or_refused(path, run):
    config = launched(run, data.npz(path))
    spoil(run / "data" / "train.x.0.npy")
    opened = open_frozen(config, run)
    assert opened.content == config.frozen.content
    assert opened.folder != run / "data"
    path.unlink()
    with pytest.raises(
        DataError, match=r"was changed after the launch \(1 of 16 training samples .* \(rows 15\)\)"
    ):
        open_frozen(config, run)


def test_a_copy_of_other_data_is_not_taken(path, run, tmp_path):
    config = launched(run, data.npz(path))
    write(path, shift=1.0)
    other = launched(tmp_path / "runs" / "other", data.npz(path))
    shutil.rmtree(run / "data")
    shutil.copytree(tmp_path / "runs" / "other" / "data", run / "data")
    with pytest.raises(DataError, match="they are other data"):
        open_frozen(config, run)
    assert open_frozen(other, run).content == other.frozen.content


def test_a_copy_that_can_t_be_read_is_told(path, run):
    config = launched(run, data.npz(path))
    path.unlink()
    os.chmod(run / "data" / META, 0o600)
    (run / "data" / META).unlink()
    with pytest.raises(DataError, match="can't be read"):
        open_frozen(config, run)


def test_data_from_memory_are_frozen_the_same_way(run):
    config = launched(run, data.arrays(X, Y))
    assert config.data["path"] == "data"
    assert open_frozen(config, run).content == config.frozen.content == data.arrays(X, Y).prepare().content
    shutil.rmtree(run / "data")
    with pytest.raises(DataError, match=r"were given as arrays or a stream, and .* is gone; start a new run"):
        open_frozen(config, run)


def test_a_stream_is_frozen_by_the_files_it_was_read_into(run):
    dataset = data.stream(iter([(X, Y)]))
    config = launched(run, dataset)
    assert (run / "data" / "train.x.0.npy").samefile(dataset.held.folder / "train.x.0.npy")
    assert cache.entries()[0].runs == (run,)
    assert not (run / "data" / "origin.json").exists()
    assert open_frozen(config, run).details["batch_size"] == 20


def test_prepared_data_that_somebody_changed_are_written_anew(path, run, tmp_path):
    prepared = data.npz(path).prepare()
    assert replace(prepared, validation=None).folder is None
    fewer = replace(prepared, train=prepared.train.part(slice(0, 4)), key=None)
    config = launched(run, data.of(fewer))
    assert (config.frozen.samples, config.frozen.validation_samples) == (4, 4)
    assert open_frozen(config, run).content == fewer.content != prepared.content


def test_a_cache_that_was_cleared_between_reading_and_launching_does_not_matter(path, run):
    dataset = data.npz(path)
    prepared = dataset.prepare()
    shutil.rmtree(cache.cache_root())
    run.mkdir(parents=True)
    assert frozen.freeze(prepared, run).content == prepared.content


def test_small_data_on_another_disk_are_copied(path, run, another_disk):
    config = launched(run, data.npz(path))
    assert not (run / "data" / ELSEWHERE).exists()
    shutil.rmtree(cache.cache_root())
    assert open_frozen(config, run).content == config.frozen.content


def test_large_data_on_another_disk_stay_there_and_are_kept_for_the_run(path, run, another_disk, monkeypatch):
    monkeypatch.setattr(frozen, "COPY_BYTES", 100)
    config = launched(run, data.npz(path))
    assert [file.name for file in (run / "data").iterdir()] == [ELSEWHERE]
    path.unlink()
    assert cache.clear(everything=True) == []
    opened = open_frozen(config, run)
    assert opened.folder == cache.entries()[0].folder
    again = launched(run.with_name("again"), data.Dataset.from_spec({"kind": "arrays", "path": "data"}, run))
    assert again.frozen.content == config.frozen.content
    assert len(cache.entries()[0].needed) == 2
    shutil.rmtree(cache.cache_root())
    with pytest.raises(DataError, match="can't be read"):
        open_frozen(config, run)


def test_a_moved_run_registers_anew_where_its_data_lie(path, run, another_disk, monkeypatch):
    monkeypatch.setattr(frozen, "COPY_BYTES", 100)
    config = launched(run, data.npz(path))
    moved = run.with_name("moved")
    run.rename(moved)
    open_frozen(config, moved)
    assert cache.entries()[0].needed == (moved,)


def test_what_a_run_of_another_disk_holds_is_copied_whatever_its_size(path, run, another_disk, monkeypatch):
    monkeypatch.setattr(frozen, "COPY_BYTES", 100)
    first = launched(run, data.arrays(X, Y))
    again = launched(run.with_name("again"), data.Dataset.from_spec(dict(first.data), run))
    assert again.frozen == first.frozen
    assert (run.with_name("again") / "data" / META).exists()


def test_a_run_of_an_older_version_opens_its_source_as_it_is(path, run):
    config = launched(run, data.npz(path)).replace(frozen=None)
    write(path, rows=10)
    assert len(open_frozen(config, run).train) == 8


def test_a_cache_that_can_t_be_written_keeps_no_run_from_starting(path, run, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache, "hold", refuse)
    config = launched(run, data.npz(path))
    assert open_frozen(config, run).folder == run / "data"


def test_a_disk_without_room_is_told(path, run, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    prepared = data.arrays(X, Y).prepare()
    run.mkdir(parents=True)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(
        DataError, match=r"runs: the data can't be stored with the run \(No space .* MB are free"
    ):
        frozen.freeze(prepared, run)


def test_what_is_frozen_does_not_stand_in_what_repeats_a_run(path, run):
    repeated = absolute(launched(run, data.npz(path)), run)
    assert "frozen" not in repeated.to_dict()
    assert repeated.data["path"] == str(path)
