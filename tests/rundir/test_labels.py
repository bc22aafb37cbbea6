"""Name, tags and note of a run: kept beside its configuration, whoever writes, and harmless whoever wrote."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import RunPaths
from lepton_kit.rundir.labels import (
    LONGEST_NAME,
    LONGEST_NOTE,
    LONGEST_TAG,
    MOST_TAGS,
    Labels,
    check_name,
    check_note,
    check_tags,
    read_labels,
    write_labels,
)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path / "demo")
    made.create()
    made.config.write_text("{}")
    return made


def test_a_run_without_labels_has_none(paths: RunPaths):
    assert read_labels(paths) == Labels()


def test_one_label_is_changed_and_the_others_stay(paths: RunPaths):
    write_labels(paths, name="wide", tags=("a", "b"))
    assert write_labels(paths, note="für später") == Labels("wide", ("a", "b"), "für später")
    assert read_labels(paths) == Labels("wide", ("a", "b"), "für später")
    assert paths.config.read_text() == "{}"
    assert not list(paths.root.glob(".labels*"))


def test_writers_at_the_same_time_lose_nothing_of_each_other(paths: RunPaths):
    def keep_writing(label: str) -> None:
        for count in range(40):
            write_labels(paths, **{label: f"{label}-{count}"})

    threads = [threading.Thread(target=keep_writing, args=(label,)) for label in ("name", "note")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_labels(paths) == Labels("name-39", (), "note-39")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"name": 3, "tags": "x", "note": [], "deleted": "now"}', "[" * 5000]
)
def test_what_is_no_label_reads_as_none(paths: RunPaths, text: str):
    paths.labels.write_text(text)
    assert read_labels(paths) == Labels()


def test_tags_that_are_no_texts_are_passed_over(paths: RunPaths):
    paths.labels.write_text(json.dumps({"tags": ["good", 3, None]}))
    assert read_labels(paths).tags == ("good",)


def test_a_folder_that_is_gone_is_told(tmp_path: Path):
    with pytest.raises(RunError, match=r"labels\.json: cannot be written"):
        write_labels(RunPaths(tmp_path / "none"), note="x")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * (LONGEST_NAME + 1), 3])
def test_a_wrong_name_is_refused(name: object):
    with pytest.raises(ConfigError, match="name: got"):
        check_name(name)


@pytest.mark.parametrize(
    "tags",
    ["word", 3, ["two words"], ["a,b"], ['"'], ["a=b"], [""], ["x" * (LONGEST_TAG + 1)], [5], ["a\x1b[1m"], ["gr\udcf6sse"],
     [f"t{k}" for k in range(MOST_TAGS + 1)]],
)  # fmt: skip
def test_wrong_tags_are_refused(tags: object):
    with pytest.raises(ConfigError, match="tags: got"):
        check_tags(tags)


def test_the_longest_of_each_is_taken():
    assert check_name(" x" * (LONGEST_NAME // 2)) == (" x" * (LONGEST_NAME // 2)).strip()
    assert check_tags(f"{k:0{LONGEST_TAG}d}" for k in range(MOST_TAGS))[-1].endswith(str(MOST_TAGS - 1))
    assert check_note("x" * LONGEST_NOTE) == "x" * LONGEST_NOTE
    with pytest.raises(ConfigError, match="note: got '10,001 characters'"):
        check_note("x" * (LONGEST_NOTE + 1))
    with pytest.raises(ConfigError, match="note: got 7"):
        check_note(7)


@pytest.mark.parametrize("note", ["\x1b]0;title\x07", "gr\udcf6sse"])
def test_a_note_that_would_steer_a_terminal_or_fits_no_file_is_refused(note: str):
    with pytest.raises(ConfigError, match=r"note: got '.*'; expected a text without control characters"):
        check_note(note)


def test_lines_of_a_note_stay():
    assert check_note(" one\r\n\ttwo 👩‍🔬\n") == "one\n\ttwo 👩‍🔬"


def test_labels_that_somebody_else_wrote_steer_no_terminal(paths: RunPaths):
    paths.labels.write_text(json.dumps({"name": "a\x1b[2J", "tags": ["b\x07"], "note": "c\x1b[1m\nd"}))
    assert read_labels(paths) == Labels("a[2J", ("b",), "c[1m\nd")
