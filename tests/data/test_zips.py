"""Files of folders and archives: names, links, declared sizes, damage."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from lepton_kit.data import zips
from lepton_kit.errors import DataError


def zipped(path, entries, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def tarred(path, entries, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if content is not None else None)
    return path


ENTRIES = {"b/2.txt": b"two", "a/1.txt": b"one", "a/ü ☂.txt": b"three"}


def all_of(path):
    with zips.open_files(path) as files:
        found = {}
        for name in files.names():
            with files.open(name) as stream:
                found[name] = stream.read()
            assert files.read(name) == found[name]
            assert files.head(name, 2) == found[name][:2]
        assert files.names() == sorted(files.names())
        return found


@pytest.mark.parametrize("end", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_tar_archives(tmp_path, end):
    mode = "w" if end == ".tar" else f"w:{end.rsplit('.', 1)[-1].replace('tgz', 'gz')}"
    assert all_of(tarred(tmp_path / f"x{end}", ENTRIES, mode)) == ENTRIES


def test_folders_and_zip_archives(tmp_path):
    for name, content in ENTRIES.items():
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(content)
    assert all_of(tmp_path / "x") == ENTRIES
    assert all_of(zipped(tmp_path / "x.zip", ENTRIES)) == ENTRIES


def test_backslashes_and_dots_in_names(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a/1.txt": b"one", "./b/2.txt": b"two"})
    path.write_bytes(path.read_bytes().replace(b"a/1", b"a\\1"))
    assert all_of(path) == {"a/1.txt": b"one", "b/2.txt": b"two"}


def test_names_in_utf_8_without_the_flag_and_in_cp437(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a/uu.txt": b"one", "b/v.txt": b"two"})
    path.write_bytes(path.read_bytes().replace(b"uu.txt", "ü.txt".encode()).replace(b"v.txt", b"\x81.txt"))
    with zips.open_files(path) as files:
        assert files.names() == ["a/ü.txt", "b/ü.txt"]
        assert files.read("b/ü.txt") == b"two"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused_unless_it_is_the_same(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.txt", b"one")
        archive.writestr("1.txt", b"one")
    assert all_of(path) == {"1.txt": b"one"}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("1.txt", b"two")
    with pytest.raises(DataError, match=r"x\.zip/1\.txt: twice in the archive"):
        zips.open_files(path)


def test_a_declared_size_is_checked_before_anything_is_read(tmp_path, monkeypatch):
    path = zipped(tmp_path / "x.zip", {"big.png": b"\0" * (zips.CHECKED_FROM + 1), "ok.txt": b"ok"})
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was read"))
    with (
        zips.open_files(path) as files,
        pytest.raises(DataError, match=r"big\.png: unpacks to 16 MiB, over 200 times"),
    ):
        files.read("big.png")
    monkeypatch.setattr(zips, "MAX_BYTES", 1)
    with (
        zips.open_files(path) as files,
        pytest.raises(DataError, match=r"ok\.txt: unpacks to 0 MiB; at most"),
    ):
        files.read("ok.txt")


def test_a_size_that_lies_reads_no_more_than_it_says(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.txt": b"\0" * 100_000})
    path.write_bytes(path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with zips.open_files(path) as files, pytest.raises(DataError, match=r"a\.txt: cannot be read"):
        files.read("a.txt")


def test_a_tar_bomb(tmp_path, monkeypatch):
    path = tarred(tmp_path / "x.tar.gz", {f"{i}.txt": b"\0" * 2**20 for i in range(3)}, "w:gz")
    monkeypatch.setattr(zips, "CHECKED_FROM", 2**20)
    with pytest.raises(DataError, match="over 200 times"):
        zips.open_files(path)


def test_what_cannot_be_read_is_named(tmp_path):
    broken = zipped(tmp_path / "broken.zip", {"a.txt": os.urandom(2000)})
    content = bytearray(broken.read_bytes())
    content[500] ^= 255
    broken.write_bytes(content)
    with zips.open_files(broken) as files, pytest.raises(DataError, match=r"a\.txt: cannot be read"):
        files.read("a.txt")
    secret = zipped(tmp_path / "secret.zip", {"a.txt": b"one"})
    content = bytearray(secret.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    secret.write_bytes(content)
    with zips.open_files(secret) as files, pytest.raises(DataError, match=r"a\.txt: is encrypted"):
        files.read("a.txt")
    short = tarred(tmp_path / "short.tar", {"a.txt": b"x" * 5000})
    os.truncate(short, 2000)
    with pytest.raises(DataError, match=r"short\.tar|a\.txt"):
        all_of(short)
    for name in ("no.zip", "no.tar.gz"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(DataError, match="not a folder and not a readable"):
            zips.open_files(tmp_path / name)
    with pytest.raises(DataError, match="no such folder or archive"):
        zips.open_files(tmp_path / "gone")
    with zips.open_files(tmp_path) as files:
        for read in (files.read, files.head):
            with pytest.raises(DataError, match=r"gone\.txt: cannot be read"):
                read("gone.txt")


def test_empty_folders(tmp_path):
    (tmp_path / "x" / "full").mkdir(parents=True)
    (tmp_path / "x" / "full" / "1.txt").write_text("one")
    (tmp_path / "x" / "empty").mkdir()
    for path in (
        tmp_path / "x",
        zipped(tmp_path / "x.zip", {"full/": b"", "full/1.txt": b"one", "empty/": b""}),
        tarred(tmp_path / "x.tar", {"full": None, "full/1.txt": b"one", "empty": None}),
    ):
        with zips.open_files(path) as files:
            assert files.empty_folders() == ["empty"]


def test_links_are_followed_and_loops_are_not(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.txt").write_text("one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.txt").write_text("two")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "file").symlink_to(tmp_path / "elsewhere" / "2.txt")
    found = [file.relative_to(tmp_path).as_posix() for file in zips.walk(tmp_path / "set")]
    assert found == ["set/a/1.txt", "set/a/file", "set/b/2.txt"]


def test_names_with_a_line_break_are_one_line_in_errors():
    assert zips.Files(Path("x")).where("a\nb") == "x/a\\nb"
