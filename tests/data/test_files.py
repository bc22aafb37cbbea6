"""The files of a source: their fingerprint, and the parts of a table that stands in many files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lepton_kit.data import files
from lepton_kit.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "deep/c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x,y\n1,2\n")
    return tmp_path


def test_a_fingerprint_tells_every_change_of_kind_options_names_sizes_and_times(folder: Path):
    def now(kind: str = "table", **options: object) -> str:
        return files.fingerprint(kind, {"target": "y", **options}, files.files_of(folder))

    first = now()
    assert len(first) == 32
    assert int(first, 16) >= 0
    found = [first, now("text"), now(target="x"), now(seed=1)]
    place = folder / "deep" / "c.csv"
    os.utime(place, ns=(5, 5))
    found.append(now())
    place.write_text("x,y\n1,2\n3,4\n")
    os.utime(place, ns=(5, 5))
    found.append(now())
    place.rename(folder / "deep" / "d.csv")
    found.append(now())
    (folder / "more.csv").touch()
    found.append(now())
    assert len(set(found)) == len(found)
    assert now() == found[-1]
    assert files.fingerprint("table", {"a": 1, "b": 2}, []) == files.fingerprint(
        "table", {"b": 2, "a": 1}, []
    )


def test_the_files_of_a_folder_are_sorted_and_a_file_stands_for_itself(folder: Path):
    assert [str(file.relative_to(folder)) for file in files.files_of(folder)] == [
        "a.csv",
        "b.csv",
        "deep/c.csv",
    ]
    assert files.files_of(folder / "b.csv") == [folder / "b.csv"]
    with pytest.raises(DataError, match=r"gone\.csv: cannot be read \(No such file"):
        files.fingerprint("table", {}, [folder / "gone.csv"])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("year=2023/0.parquet", ("year=2023", "year")),
        ("data/deep/year=2023/0.parquet", ("year=2023", "year")),
        ("year=2023/month=5/0.parquet", ("year=2023", "year")),
        ("year=/0.parquet", ("year=", "year")),
        ("year=2023.parquet", None),
        ("data/year=2023.parquet", None),
        ("a year=2023/0.parquet", None),
        ("plain/0.parquet", None),
    ],
)
def test_the_folders_of_a_table_in_parts_name_a_column(name: str, found: tuple[str, str] | None):
    assert files.partition_of(name) == found


@pytest.mark.parametrize(
    ("name", "way", "without"),
    [
        ("year=2023/0.parquet", "lk.data.read(pandas.read_parquet('here'), target=…)", True),
        ("year=2023/0.pq", "lk.data.read(pandas.read_parquet('here'), target=…)", True),
        ("year=2023/0.csv", "lk.data.read(frame, target=…)", False),
    ],
)
def test_what_to_do_with_a_table_in_parts_is_told(name: str, way: str, without: bool):
    said = str(
        files.refusal_of_parts(["plain/0.csv" if name.endswith("csv") else "plain/0.parquet", name], "here")
    )
    assert "folders such as 'year=2023' are the parts of one table, and its column 'year'" in said
    assert way in said
    assert ("kind='parquet', which leaves 'year' out" in said) == without


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("a.csv", True), ("A.CSV", True), ("a.csv.gz", True), ("a.parquet.zst", True), ("deep.txt/a.tsv", True),
        ("a.txt", False), ("a.gz", False), ("csv", False), ("a.csv.txt", False), ("a.csv.gz.gz", False), ("", False), (".csv", False),
    ],
)  # fmt: skip
def test_tables_are_told_by_their_endings(name: str, table: bool):
    assert files.is_table(name) == table


def test_where_decoded_data_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_root() == tmp_path / "lepton_kit" / "data"
    for empty in ("", None):
        monkeypatch.setenv("XDG_CACHE_HOME", "") if empty == "" else monkeypatch.delenv("XDG_CACHE_HOME")
        assert files.cache_root() == Path.home() / ".cache" / "lepton_kit" / "data"
