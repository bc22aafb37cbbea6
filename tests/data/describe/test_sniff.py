"""What a path holds, by content first; files are real, made here."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lepton_kit as lk
from lepton_kit.data.describe.sniff import kind_of
from lepton_kit.errors import DataError


@pytest.fixture
def file(tmp_path):
    def write(name, content=b"x"):
        path = tmp_path / "held" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def png():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(file, name, members):
    path = file(name)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"x,y\n1,2\n"),
        ("no ending", b"x;y\n1;2\n"),
        ("utf16.csv", "x,y\n1,2\n".encode("utf-16")),
        ("a.parquet", b"PAR1rest"),
        ("a.arrow", b"ARROW1rest"),
        ("a.csv.gz", gzip.compress(b"x,y\n1,2\n")),
        ("a.jsonl", b'{"x": 1}\n'),
        ("latin.csv", "größe,straße\n1,ü\n".encode("latin-1")),
    ],
)
def test_a_file_of_rows(file, name, content):
    assert kind_of(file(name, content)) == "table"


def test_archives_by_their_members(file, tmp_path):
    assert kind_of(zipped(file, "a.zip", {"cat/1.png": png(), "notes.txt": b""})) == "images"
    assert kind_of(zipped(file, "b.zip", {"cat\\1.JPG": png()})) == "images"
    assert kind_of(zipped(file, "c.npz", {"x.npy": b"", "y.npy": b""})) == "npz"
    assert kind_of(zipped(file, "d.xlsx", {"xl/workbook.xml": b""})) == "table"
    assert kind_of(zipped(file, "e.zip", {"rows.csv": b"x,y\n", "__MACOSX/rows.png": b""})) == "table"
    path = tmp_path / "f.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("dog/1.png")
        member.size = len(png())
        archive.addfile(member, io.BytesIO(png()))
    assert kind_of(path) == "images"


def test_shards_and_records(file, tmp_path):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("1.jpg", "1.cls", "2.jpg", "2.cls"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert kind_of(path) == "webdataset"
    assert kind_of(file("a.tfrecord", b"\x10\0\0\0")) == "tfrecord"


def test_folders_by_their_files(file):
    assert kind_of(file("cat/1.png").parents[1]) == "images"
    file("cat/.DS_Store")
    assert kind_of(file("cat/2.txt").parents[1]) == "images"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("good/1.txt", "bad/1.txt"), "texts"),
        (("walk/1.csv", "run/1.csv"), "recordings"),
        (("part-1.parquet", "part-2.parquet", "_SUCCESS"), "table"),
        (("x.npy", "y.npy"), "npz"),
        (("a-1.tfrecord", "a-2.tfrecord"), "tfrecord"),
        (("a-1.tar", "a-2.tar"), "webdataset"),
        (("zarr.json", "c0"), "zarr"),
    ],
)
def test_other_folders(file, names, kind):
    for name in names:
        folder = file(name)
    assert kind_of(folder.parents[len(names[0].split("/")) - 1]) == kind


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.pdf", b"%PDF-1.4", "a PDF"),
        ("a.pkl", b"\x80\x04\x95", "a pickle, which could run code"),
        ("a.db", b"SQLite format 3\0", "an SQLite database"),
        ("x.npy", b"\x93NUMPY", "one array alone; give its labels too"),
        ("a.xls", b"\xd0\xcf\x11\xe0", "old Excel"),
        ("a.png", png(), "one image; give the folder"),
        ("empty.csv", b"", "the file is empty"),
        ("blank.csv", b" \r\n\t\n", "the file is empty"),
        ("a.bin", bytes(range(256)), "not a kind of file that is read"),
        ("broken.zip", b"PK\x03\x04nothing", "not a readable zip file"),
    ],
)
def test_what_is_not_read_is_named(file, name, content, told):
    with pytest.raises(DataError, match=told):
        kind_of(file(name, content))


@pytest.mark.parametrize(("name", "content"), [("a.h5", b"\x89HDF\r\n"), ("a.mat", b"MATLAB 5.0 MAT-file")])
def test_files_of_named_arrays(file, name, content):
    assert kind_of(file(name, content)) == "npz"


def test_a_word_file_and_folders_without_data(file, tmp_path):
    with pytest.raises(DataError, match="a Word or PowerPoint file"):
        kind_of(zipped(file, "a.docx", {"word/document.xml": b""}))
    with pytest.raises(DataError, match="no such file or folder"):
        kind_of(tmp_path / "missing")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        kind_of(tmp_path / "nothing")
    with pytest.raises(DataError, match="1 files, but no images"):
        kind_of(file("src/main.c").parent)


def test_a_link_that_leads_back_ends(file):
    folder = file("cat/1.png").parent
    (folder / "again").symlink_to(folder, target_is_directory=True)
    assert kind_of(folder.parent) == "images"


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        kind_of(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        lk.data.table(tmp_path / "pipe.csv", target="a").prepare()
    for text in ("a long text, " * 1000, "a\0b"):
        with pytest.raises(DataError, match=r"signs is the path of no file; texts with their labels"):
            kind_of(Path(text))
    with pytest.raises(DataError, match="cannot be read"):
        kind_of(Path("a" * 500))
    with pytest.raises(DataError, match="no such file or folder"):
        kind_of(tmp_path / "none.csv")


def test_compressed_whatever_the_name_says(file):
    with pytest.raises(
        DataError, match=r"compressed, though its name does not say so; rename it to a\.csv\.gz"
    ):
        kind_of(file("a.csv", gzip.compress(b"a,b\n1,2\n")))


def test_a_text_beside_class_folders(file):
    for name in ("pos/1.txt", "neg/1.txt"):
        file(name)
    assert kind_of(file("README.txt").parent) == "texts"
    assert kind_of(file("rows.csv").parent) == "table"
