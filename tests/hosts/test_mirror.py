"""Files reach a host by their contents: what is there is not sent, what was begun goes on, what is wrong does not count."""

from __future__ import annotations

import hashlib
import os
import select
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.errors import RunError
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.hosts import mirror, talk
from lepton_kit.runtime.hosts.intake import BEHIND, Intake
from lepton_kit.runtime.hosts.mirror import Mirror, pieces
from lepton_kit.runtime.hosts.receiving import Receiving
from lepton_kit.runtime.hosts.returning import written
from lepton_kit.training import logged, messages
from lepton_kit.training.sums import META


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def offer(files: dict[str, bytes]) -> dict[str, tuple[int, str]]:
    return {name: (len(data), digest(data)) for name, data in files.items()}


def send(target: Mirror, files: dict[str, bytes]) -> int:
    """Send what is lacking in pieces of three bytes; how many bytes that were."""
    sent, contents = 0, {digest(data): data for data in files.values()}
    for content, have in target.lacking(offer(files)).items():
        data = contents[content]
        for at in range(have, len(data), 3) or [0]:
            target.take(content, at, data[at : at + 3])
            sent += len(data[at : at + 3])
    return sent


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["a", "b", "m/c", "m/d"]), st.binary(max_size=9), min_size=1))
def test_what_is_offered_stands_in_the_folder_and_is_sent_once(tmp_path_factory, files: dict[str, bytes]):
    root = tmp_path_factory.mktemp("hosts")
    first = Mirror(root, "run", "one")
    assert send(first, files) == sum(len(data) for data in set(files.values()))
    assert first.complete()
    assert {name: (first.folder / name).read_bytes() for name in files} == files
    second = Mirror(root, "other", "one")
    assert send(second, files) == 0
    assert second.complete()
    first.close()
    second.close()
    assert not first.folder.exists()


def test_what_was_begun_goes_on_where_it_stopped(tmp_path: Path):
    files = {"model/weights": bytes(range(10))}
    first = Mirror(tmp_path, "run", "one")
    (content,) = first.lacking(offer(files))
    first.take(content, 0, files["model/weights"][:6])
    assert not first.complete()
    again = Mirror(tmp_path, "run", "one")
    assert again.lacking(offer(files)) == {content: 6}
    assert Mirror(tmp_path, "run", "two").lacking(offer(files)) == {content: 0}, "one home for two hosts"
    again.take(content, 6, files["model/weights"][6:])
    assert again.complete()


def test_contents_that_are_not_what_was_offered_are_refused(tmp_path: Path):
    target = Mirror(tmp_path, "run", "one")
    (content,) = target.lacking(offer({"a": b"good"}))
    with pytest.raises(RunError, match="other contents than were offered"):
        target.take(content, 0, b"evil")
    assert target.lacking(offer({"a": b"good"})) == {content: 0}
    assert not target.complete()


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", ""])
def test_no_file_leaves_the_folder(tmp_path: Path, name: str):
    with pytest.raises(RunError, match="leaves the run's folder"):
        Mirror(tmp_path, "run", "one").lacking({name: (1, digest(b"a"))})


def test_the_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "contents").write_text("in the way")
    with pytest.raises(RunError, match=r"one\.\d+: can't be made"):
        Mirror(tmp_path, "run", "one")


def test_what_workers_print_is_told_once(tmp_path: Path):
    target = Mirror(tmp_path, "run", "one")
    log = target.folder / "logs" / "worker-7.log"
    log.write_text("a\n")
    assert list(target.news_of_logs()) == [(7, "a\n")]
    assert list(target.news_of_logs()) == []
    with open(log, "a") as file:
        file.write("b\n")
    assert list(target.news_of_logs()) == [(7, "b\n")]


@pytest.mark.parametrize("size", [0, 1, mirror.PIECE_BYTES, 2 * mirror.PIECE_BYTES + 1])
def test_pieces_make_up_a_file_and_the_last_is_known(tmp_path: Path, size: int):
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    found = list(pieces(file))
    assert b"".join(data for _, data, _ in found) == bytes(size)
    assert [last for _, _, last in found] == [False] * (len(found) - 1) + [True]
    assert [offset for offset, _, _ in found] == [k * mirror.PIECE_BYTES for k in range(len(found))]


def returned(name: str, data: bytes, whole: str | None = None) -> talk.Returned:
    return talk.Returned(name=name, offset=0, data=talk.packed(data), last=True, whole=whole)


def test_a_folder_comes_back_whole_or_not_at_all(tmp_path: Path):
    for name in ("checkpoints", "logs"):
        (tmp_path / name).mkdir()
    target = Receiving(tmp_path, "one")
    target.take(returned("checkpoints/step-1/a", b"1"))
    assert not (tmp_path / "checkpoints" / "step-1").exists()
    target.take(returned("checkpoints/step-1/b", b"2", "checkpoints/step-1"))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-1"]
    assert (tmp_path / "checkpoints" / "step-1" / "a").read_bytes() == b"1"
    target.take(returned("final/model.keras", b"3", "final"))
    assert (tmp_path / "final" / "model.keras").read_bytes() == b"3"
    for k in range(2, 8):
        name = f"checkpoints/step-{k}"
        target.take(returned(f"{name}/{META}", b"1", name))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-1",
        "step-6",
        "step-7",
    ]
    for k in (1, 2):
        name = f"predictions/step-{k}"
        target.take(returned(f"{name}/confusion.npz", b"1", name))
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["step-2"]
    target.printed(3, "hello")
    assert (tmp_path / "logs" / "worker-3.log").read_text() == "hello"


def test_what_the_log_has_no_room_for_comes_back_with_the_word_of_it():
    nothing: dict[str, Any] = {"names": [], "counts": [], "points": [], "examples": []}
    some = logged.Predicted(epoch=0, step=7, form="classes", others=3, **nothing)
    all_told = logged.Predicted(epoch=0, step=7, form="classes", **nothing)
    assert written(some) == [str(RunPaths(Path()).confusion(7).parent)]
    assert written(all_told) == []


def test_a_folder_of_which_a_piece_can_not_be_stored_does_not_count_and_is_told(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    in_the_way = tmp_path / "checkpoints" / ".step-1.one"
    target = Receiving(tmp_path, "one")
    in_the_way.write_text("a file where the folder would be")
    target.take(returned("checkpoints/step-1/a", b"1"))
    in_the_way.unlink(missing_ok=True)
    target.take(returned("checkpoints/step-1/b", b"2", "checkpoints/step-1"))
    assert list((tmp_path / "checkpoints").glob("step-*")) == []
    (warned,) = target.told(logged.Saved(step=1, path="checkpoints/step-1"))
    assert isinstance(warned, logged.Warned)
    assert "step-1: can't be stored" in warned.text
    saved = logged.Saved(step=2, path="checkpoints/step-2")
    target.take(returned("checkpoints/step-2/a", b"1", "checkpoints/step-2"))
    assert target.told(saved) == [saved]


def test_a_trained_model_that_can_not_be_stored_fails_the_run(tmp_path: Path):
    target = Receiving(tmp_path, "one")
    (tmp_path / ".final.one").write_text("in the way")
    target.take(returned("final/model.keras", b"3", "final"))
    done = messages.Detached(
        generation=1, step=3, outcome="finished", whole=True, stopped_by=None, trained_until=None
    )
    (failed,) = target.told(done)
    assert isinstance(failed, messages.Failed)
    assert "final: can't be stored" in failed.cause


def test_what_is_said_of_a_folder_is_heard_after_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "checkpoints").mkdir()
    slow = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: slow.wait(30))
    intake = Intake(Receiving(tmp_path, "one"))
    saved = logged.Saved(step=1, path="checkpoints/step-1")
    intake.take(returned("checkpoints/step-1/a", b"1", "checkpoints/step-1"))
    intake.tell(4, saved)
    assert intake.done() == [], "the disk is slow, and nobody waits for it"
    slow.set()
    assert select.select([intake], [], [], 30)[0]
    assert (tmp_path / "checkpoints" / "step-1" / "a").read_bytes() == b"1"
    assert intake.done() == [(4, saved)]
    intake.close()


def test_a_disk_that_is_slower_than_the_network_has_the_network_wait(tmp_path: Path, monkeypatch):
    slow = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: slow.wait(30))
    intake = Intake(Receiving(tmp_path, "one"))
    for k in range(BEHIND + 3):
        intake.take(returned(f"checkpoints/step-1/{k}", b"1"))
    assert intake.is_behind
    slow.set()
    intake.tell(1, messages.Alive(memory_bytes=0, cpu_seconds=0.0))
    assert select.select([intake], [], [], 30)[0]
    assert not intake.is_behind
    intake.close()


@pytest.mark.parametrize("name", ["../x", "/x", "config.yaml", "model/custom.pkl", "events.jsonl", "data/x"])
def test_a_host_writes_nowhere_else(tmp_path: Path, name: str):
    Receiving(tmp_path, "one").take(returned(name, b"evil", name))
    assert list(tmp_path.rglob("*")) == []
    assert not (tmp_path.parent / "x").exists()
