"""A prepared folder that was changed after it was decoded is found, and one that was only copied is not accused."""

import json
import os
import shutil
import time

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.data.contents import changed_files, check
from lepton_kit.data.prepared import META, open_folder, write_folder
from lepton_kit.errors import DataError

X, Y = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20) % 2


@pytest.fixture
def folder(tmp_path):
    write_folder(data.arrays(X, Y).prepare(), tmp_path / "data")
    return tmp_path / "data"


def overwrite(file, byte=-1, quietly=False):
    """Change one byte in place; ``quietly`` puts the time of change back, as no honest program does."""
    before = file.stat().st_mtime_ns
    os.chmod(file, 0o600)
    content = bytearray(file.read_bytes())
    content[byte] ^= 0x40
    with file.open("r+b") as opened:
        opened.write(content)
    if quietly:
        os.utime(file, ns=(before, before))


def test_an_untouched_folder_is_as_it_was(folder):
    assert changed_files(folder) == []
    assert check(open_folder(folder)) == []
    assert check(open_folder(folder), every_byte=True) == []


def test_files_are_read_only(folder):
    assert {file.stat().st_mode & 0o777 for file in folder.glob("*.npy")} == {0o444}


def test_a_changed_sample_is_named(folder):
    overwrite(folder / "train.x.0.npy")
    assert changed_files(folder) == ["train.x.0.npy"]
    problem = "1 of 16 training samples are not as they were decoded (rows 15)"
    assert check(open_folder(folder)) == [problem]
    assert check(open_folder(folder)) == [problem], "looking does not heal it"


def test_many_changed_samples_are_counted_and_the_first_are_named(folder):
    for split, rows in (("train", 16), ("validation", 4)):
        os.chmod(folder / f"{split}.y.0.npy", 0o600)
        np.load(folder / f"{split}.y.0.npy", mmap_mode="r+")[:rows] += 1
        os.utime(folder / f"{split}.y.0.npy")
    assert check(open_folder(folder)) == [
        "16 of 16 training samples are not as they were decoded (rows 0, 1, 2, 3, 4, …)",
        "4 of 4 validation samples are not as they were decoded (rows 0, 1, 2, 3)",
    ]


def test_a_change_that_hides_its_time_is_found_by_reading_every_byte(folder):
    overwrite(folder / "validation.x.0.npy", quietly=True)
    assert check(open_folder(folder)) == []
    (problem,) = check(open_folder(folder), every_byte=True)
    assert "1 of 4 validation samples" in problem


def test_changed_hashes_are_told_from_changed_samples(folder):
    overwrite(folder / "train.hashes.npy")
    (problem,) = check(open_folder(folder))
    assert problem.startswith("the hashes of the samples")


def test_an_index_beside_the_arrays_counts_as_contents(tmp_path):
    def written(name, index):
        folder = tmp_path / name
        folder.mkdir()
        np.savez(folder / "index.npz", index=index)
        write_folder(data.arrays(X, Y).prepare(), folder)
        return open_folder(folder)

    one, same, other = written("a", [1, 2]), written("b", [1, 2]), written("c", [1, 3])
    assert one.content == same.content != other.content
    overwrite(one.folder / "index.npz", byte=200)
    assert changed_files(one.folder) == ["index.npz"]
    assert len(check(one)) == 1


def test_a_file_that_can_t_be_read_is_told(folder):
    (folder / "validation.hashes.npy").write_bytes(b"")
    with pytest.raises(DataError):
        open_folder(folder)
    write_folder(data.arrays(X, Y).prepare(), folder)
    opened = open_folder(folder)
    (folder / "train.x.0.npy").unlink()
    (problem,) = check(opened)
    assert problem.startswith("a file can't be read")


def test_a_copy_with_other_times_is_read_once_and_then_known(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy)
    later = time.time() + 5
    for file in (tmp_path / "copy").glob("*.npy"):
        os.utime(file, (later, later))
    assert len(changed_files(tmp_path / "copy")) == 6
    assert check(open_folder(tmp_path / "copy")) == []
    assert changed_files(tmp_path / "copy") == []


def test_a_missing_file_is_a_changed_one(folder):
    (folder / "train.hashes.npy").unlink()
    assert changed_files(folder) == ["train.hashes.npy"]


def test_a_folder_of_an_older_version_tells_nothing(folder):
    meta = json.loads((folder / META).read_text())
    for name in ("content", "files"):
        del meta[name]
    (folder / META).write_text(json.dumps({**meta, "format": 2}))
    overwrite(folder / "train.x.0.npy")
    old = open_folder(folder)
    assert (old.train.hashes, check(old, every_byte=True)) == (None, [])


def test_data_in_memory_have_nothing_to_check():
    assert check(data.arrays(X, Y).prepare(), every_byte=True) == []
