"""The cache of decoded data: who decodes, who waits, what may be cleared."""

import json
import multiprocessing
import os
import shutil
import time

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.data import cache
from lepton_kit.data.files import fingerprint
from lepton_kit.data.prepared import META, open_folder
from lepton_kit.errors import DataError


@pytest.fixture
def source(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(60.0).reshape(20, 3), y=np.arange(20) % 2)
    return data.npz(tmp_path / "a.npz")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "demo"
    folder.mkdir(parents=True)
    return folder


def test_an_entry_says_what_it_was_made_from_and_how_large_it_is(source, tmp_path):
    assert cache.entries() == []
    prepared = source.prepare()
    (entry,) = cache.entries()
    assert (entry.key, entry.kind, entry.source) == (prepared.key, "npz", str(tmp_path / "a.npz"))
    assert entry.size_bytes == sum(file.stat().st_size for file in prepared.folder.iterdir())
    assert (entry.runs, entry.needed) == ((), ())
    assert json.loads(json.dumps(entry.to_dict()))["id"] == entry.key


def test_what_was_used_last_stands_last(source, tmp_path):
    first = source.prepare()
    os.utime(first.folder, (1, 1))
    np.savez(tmp_path / "b.npz", x=np.eye(8), y=np.arange(8) % 2)
    second = data.npz(tmp_path / "b.npz").prepare()
    assert [entry.key for entry in cache.entries()] == [first.key, second.key]
    os.utime(second.folder, (2, 2))
    source.prepare()
    assert [entry.key for entry in cache.entries()] == [second.key, first.key]


def test_a_stream_is_an_entry_too():
    batches = [(np.eye(4, dtype=np.float32), np.arange(4) % 2)]
    data.stream(iter(batches))
    assert [entry.kind for entry in cache.entries()] == ["stream"]


def test_data_that_were_changed_in_the_cache_are_decoded_again(source):
    first = source.prepare()
    content, file = first.content, first.folder / "train.x.0.npy"
    os.chmod(file, 0o600)
    with file.open("r+b") as opened:
        opened.seek(-4, os.SEEK_END)
        opened.write(b"oops")
    again = source.prepare()
    assert again.content == content
    assert np.array_equal(np.sort(again.train.x[:, 0]) % 3, np.zeros(16))


def test_a_run_is_registered_until_its_folder_is_gone(source, run):
    prepared = source.prepare()
    cache.hold(prepared.folder, run, linked=True)
    cache.hold(prepared.folder, run, linked=True)
    (entry,) = cache.entries()
    assert (entry.runs, entry.needed) == ((run,), ())
    hidden = run.with_name(".demo")
    run.rename(hidden)  # as it is named while it is launched
    assert cache.entries()[0].runs == (run,)
    shutil.rmtree(hidden)
    assert cache.entries()[0].runs == ()
    assert list((cache.cache_root() / cache.HOLDERS / prepared.key).iterdir()) == []


def test_a_folder_that_is_not_of_a_cache_is_not_registered(source, run, tmp_path):
    source.prepare()
    cache.hold(tmp_path / "elsewhere", run, linked=True)
    assert cache.entries()[0].runs == ()


def test_clearing_leaves_what_runs_have(source, run):
    prepared = source.prepare()
    cache.hold(prepared.folder, run, linked=True)
    assert cache.clear() == []
    (removed,) = cache.clear(everything=True)
    assert removed.key == prepared.key
    assert cache.entries() == []
    assert len(source.prepare().train) == 16


def test_what_a_run_has_no_other_copy_of_stays_whatever_is_asked(source, run):
    prepared = source.prepare()
    cache.hold(prepared.folder, run, linked=False)
    assert cache.clear(everything=True) == []
    with pytest.raises(DataError, match="run demo has no other copy of this data; delete the run first"):
        cache.clear(prepared.key[:6])
    shutil.rmtree(run)
    assert [entry.key for entry in cache.clear(prepared.key[:6])] == [prepared.key]


@pytest.mark.parametrize(
    ("key", "rule"), [("nothing", "is nothing in the data cache"), ("", "is nothing in the data cache")]
)
def test_a_key_that_is_none_is_told(source, key, rule):
    source.prepare()
    with pytest.raises(DataError, match=rule):
        cache.clear(key)


def test_a_folder_of_another_version_is_listed_and_cleared():
    old = cache.cache_root() / "0123"
    old.mkdir(parents=True)
    (old / META).write_text("{")
    assert [entry.kind for entry in cache.entries()] == ["unknown"]
    assert [entry.key for entry in cache.clear()] == ["0123"]


def test_what_a_killed_process_left_is_cleared_and_what_is_being_written_is_not():
    root = cache.cache_root()
    with cache.workplace(root, "busy") as busy:
        left = root / ".left-1"
        left.mkdir()
        fresh = root / ".fresh-1"
        fresh.mkdir()
        for folder in (busy, left):
            os.utime(folder, (1, 1))
        assert cache.clear() == []
        assert (busy.exists(), left.exists(), fresh.exists()) == (True, False, True)
    assert not busy.exists()


def test_where_there_is_no_cache_there_is_nothing_to_clear(tmp_path):
    assert cache.clear(root=tmp_path / "none") == []


def _decode(root, begin, count):
    def write(writer):
        count.value += 1
        target = writer.array("train", "x", None, (1000, 10), "float32")
        for row in range(1000):
            target[row] = row
            if row % 100 == 0:
                time.sleep(0.01)
        writer.finish(task="other", value_range=(0, 1))

    begin.wait()
    cache.cached("key", root, write)


@pytest.mark.processes
def test_of_processes_that_want_the_same_one_decodes_and_the_others_wait(tmp_path):
    fork = multiprocessing.get_context("fork")
    begin, count = fork.Barrier(3), fork.Value("i", 0)
    processes = [fork.Process(target=_decode, args=(tmp_path, begin, count)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert count.value == 1
    assert open_folder(tmp_path / "key").train.x[:, 0].tolist() == list(range(1000))
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_decoder_that_fails_leaves_nothing(tmp_path):
    def write(writer):
        raise DataError("no such column")

    with pytest.raises(DataError, match="no such column"):
        cache.cached("key", tmp_path, write)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_is_decoded_anew_though_its_size_is_the_same(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("a,b\n")
    first = fingerprint("table", {}, [file])
    os.utime(file, ns=(1, 1))
    assert fingerprint("table", {}, [file]) != first
