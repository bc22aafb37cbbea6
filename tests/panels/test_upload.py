from pathlib import Path

import pytest

from lepton_kit.errors import DataError
from lepton_kit.panels.paths import completions, names_in
from lepton_kit.panels.upload import Upload


def upload(root, files, **options):
    made = Upload([{"name": name, "size": len(content)} for name, content in files.items()], root, **options)
    for place, content in enumerate(files.values()):
        for at in range(0, max(1, len(content)), 3):
            made.take(place, content[at : at + 3])
    return made


def test_a_file_comes_in_pieces_and_appears_whole(tmp_path):
    made = upload(tmp_path, {"a.csv": b"x,y\n1,2\n"})
    assert made.done
    assert list((tmp_path / "uploads").glob("*.csv")) == []
    assert made.finish() == tmp_path / "uploads" / "a.csv"
    assert (tmp_path / "uploads" / "a.csv").read_bytes() == b"x,y\n1,2\n"
    assert len(list((tmp_path / "uploads").iterdir())) == 1


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    for expected in ("a.csv", "a-2.csv", "a-3.csv"):
        assert upload(tmp_path, {"a.csv": b"1"}).finish().name == expected
    assert upload(tmp_path, {"pets/x": b"1"}).finish().name == "pets"
    assert upload(tmp_path, {"pets/x": b"1"}).finish().name == "pets-2"


def test_a_folder_keeps_its_folders_and_loose_files_get_one(tmp_path):
    folder = upload(tmp_path, {"pets/cat/1.png": b"abcd", "pets/dog/1.png": b""}).finish()
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png")) == [
        "cat/1.png",
        "dog/1.png",
    ]
    loose = upload(tmp_path, {"a.png": b"a", "b.png": b"b"}).finish()
    assert (loose.name, sorted(p.name for p in loose.iterdir())) == ("files", ["a.png", "b.png"])


@pytest.mark.parametrize("name", ["../a.csv", "/etc/passwd", "a/../../b", "", "..\\a.csv"])
def test_a_name_outside_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="not a name of a file inside"):
        Upload([{"name": name, "size": 1}], tmp_path)


def test_limits_are_told_before_a_byte_is_taken(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"2.0 KiB were dropped; at most 1.0 KiB"):
        Upload([{"name": "a", "size": 2048}], tmp_path, limit=1024)
    with pytest.raises(DataError, match="nothing was dropped"):
        Upload([], tmp_path)
    with pytest.raises(DataError, match="one name"):
        Upload([{"name": "a", "size": 1}, {"name": "a", "size": 1}], tmp_path)
    monkeypatch.setattr("lepton_kit.panels.upload.MOST_FILES", 1)
    with pytest.raises(DataError, match="at most 1 are taken"):
        Upload([{"name": "a", "size": 1}, {"name": "b", "size": 1}], tmp_path)
    monkeypatch.setattr("lepton_kit.panels.upload.SPARE_BYTES", 10**18)
    with pytest.raises(DataError, match="left"):
        Upload([{"name": "a", "size": 1}], tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "uploads").write_text("a file in the way")
    with pytest.raises(DataError, match="cannot be written"):
        Upload([{"name": "a", "size": 1}], tmp_path)


def test_other_bytes_than_announced_are_refused(tmp_path):
    made = Upload([{"name": "a", "size": 2}], tmp_path)
    with pytest.raises(DataError, match="other bytes than it had announced"):
        made.take(0, b"abc")
    with pytest.raises(DataError, match="other bytes"):
        made.take(1, b"a")
    made.cancel()
    assert list((tmp_path / "uploads").iterdir()) == []


def test_completions_go_on_from_what_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data/a.csv", "data/b.csv", "Data2/x", ".hidden"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("")
    assert completions("") == ["Data2/", "data/"]
    assert completions("da") == ["Data2/", "data/"]
    assert completions("data/") == ["data/a.csv", "data/b.csv"]
    assert completions("data/B") == ["data/b.csv"]
    assert completions(".h") == [".hidden"]
    assert completions("none/") == []
    assert completions("data/", most=1) == ["data/a.csv"]
    assert names_in(tmp_path / "data") == ["a.csv", "b.csv"]
