"""Files at a path or an address: read in pieces, kept with their hash, and checked to be what the index knows."""

from __future__ import annotations

import functools
import http.server
import io
import os
import re
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lepton_kit import data
from lepton_kit.data import places
from lepton_kit.data.places import File, Files, files_at, is_address
from lepton_kit.errors import DataError

fsspec = pytest.importorskip("fsspec")


class Server(http.server.SimpleHTTPRequestHandler):
    """A file server with ranges and entity tags, as object stores have them."""

    requests: ClassVar[list[str]] = []

    def do_GET(self):
        self.requests.append(self.headers.get("Range", ""))
        path = self.translate_path(self.path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted or not os.path.isfile(path):
            super().do_GET()
            return
        content = Path(path).read_bytes()
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(content[first : last + 1])

    def end_headers(self):
        path = self.translate_path(self.path)
        if os.path.isfile(path):
            self.send_header("ETag", f'"{os.stat(path).st_mtime_ns}"')
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path):
    """(address, folder) of a loopback server."""
    root = tmp_path / "served"
    root.mkdir()
    Server.requests = []
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(root)))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", root
    made.shutdown()
    made.server_close()
    thread.join()


def table(seed=0, count=3000):
    g = np.random.default_rng(seed)
    return pa.table({"a": g.normal(size=count), "b": g.normal(size=count), "y": g.integers(0, 2, count)})


def everything(split):
    return split.rows(np.arange(len(split)))


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def test_an_address_is_told_from_a_path():
    assert all(map(is_address, ("s3://a/b", "gs://a", "https://a/b", "memory://a")))
    assert not any(map(is_address, ("/a/b", "a:b", "C:\\a", 3, "://a")))


def test_a_file_on_a_server_gives_the_samples_of_the_same_file_here(server):
    address, root = server
    pq.write_table(table(), root / "a.parquet", row_group_size=300)
    there = data.parquet(f"{address}/a.parquet", target="y")
    here = data.parquet(root / "a.parquet", target="y").prepare()
    assert there.spec()["path"] == f"{address}/a.parquet"
    found = data.Dataset.from_spec(there.spec(), "/elsewhere").prepare()
    assert np.array_equal(everything(found.train)[0], everything(here.train)[0])


def test_what_was_read_is_kept_and_a_spoilt_piece_is_read_again(server):
    address, root = server
    pq.write_table(table(), root / "a.parquet", row_group_size=300)
    prepared = data.parquet(f"{address}/a.parquet", target="y").prepare()
    before = everything(prepared.train)[0]
    count = len(Server.requests)
    again = data.parquet(f"{address}/a.parquet", target="y").prepare()
    assert np.array_equal(everything(again.train)[0], before)
    assert [one for one in Server.requests[count:] if one.startswith("bytes=0-") and len(one) > 12] == []
    (piece,) = places.ranges_root().glob("*/*")
    content = bytearray(piece.read_bytes())
    content[100] ^= 1
    piece.write_bytes(bytes(content))
    prepared = data.parquet(f"{address}/a.parquet", target="y").prepare()
    assert np.array_equal(everything(prepared.train)[0], before)


def test_a_file_that_changes_on_the_server_is_found(server, monkeypatch):
    address, root = server
    monkeypatch.setattr(places, "RANGE_BYTES", 1 << 12)
    pq.write_table(table(), root / "a.parquet", row_group_size=300)
    first = data.parquet(f"{address}/a.parquet", target="y")
    prepared = first.prepare()
    pq.write_table(table(1), root / "a.parquet", row_group_size=300)
    os.utime(root / "a.parquet", ns=(1, 1))
    assert first.prepare().fingerprint != prepared.fingerprint
    for piece in places.ranges_root().glob("*/*"):
        piece.unlink()
    with pytest.raises(DataError, match=r"a.parquet: has changed since its index was made"):
        everything(prepared.train)


def test_a_server_that_is_gone_is_a_clean_error():
    with pytest.raises(DataError, match=r"http://127.0.0.1:9/a.parquet: cannot be read"):
        data.parquet("http://127.0.0.1:9/a.parquet", target="y").prepare()


def test_a_folder_of_the_memory_file_system_is_read(memory):
    for number in range(2):
        out = io.BytesIO()
        pq.write_table(table(number), out, row_group_size=500)
        memory.pipe(f"/set/train-{number}.parquet", out.getvalue())
    memory.pipe("/set/readme.txt", b"no data")
    found = files_at("memory://set", (".parquet",))
    assert [file.name for file in found] == ["train-0.parquet", "train-1.parquet"]
    prepared = data.parquet("memory://set", target="y", validation_split=0).prepare()
    assert len(prepared.train) == 6000
    expected = np.concatenate([table(n)["a"].to_numpy() for n in range(2)])
    x = everything(prepared.train)[0][:, 0]
    assert np.allclose(x, (expected - expected.mean()) / expected.std(), atol=1e-6)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nosuch://a/b", "nosuch:// cannot be read"),
        ("memory://nothing", "memory://nothing: cannot be read"),
    ],
)
def test_addresses_that_lead_nowhere_are_named(memory, address, words):
    with pytest.raises(DataError, match=words):
        files_at(address, (".parquet",))


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(DataError, match=r"pip install lepton-kit\[remote\]"):
        files_at("s3://a/b", ("",))


def test_many_files_are_read_with_few_of_them_open(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "OPEN_FILES", 3)
    for number in range(10):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number] * 100))
    files = Files(files_at(tmp_path, (".bin",)))
    for number in [*range(10), 3, 0]:
        assert files.read(number, 10, 5) == bytes([number] * 5)
    assert len(files._open) == 3
    files.close()
    assert files.read(4, 0, 1) == b"\x04"
    files.close()


def test_a_stream_seeks_and_reads_as_a_file(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    files = Files(files_at(tmp_path, (".bin",)))
    stream = files.stream(0)
    assert stream.read(3) == bytes([0, 1, 2])
    assert stream.seek(-2, io.SEEK_END) == 98
    assert stream.read() == bytes([98, 99])
    assert stream.read(5) == b""
    stream.seek(10)
    assert stream.seek(5, io.SEEK_CUR) == stream.tell() == 15
    buffer = bytearray(4)
    assert stream.readinto(buffer) == 4
    assert buffer == bytes([15, 16, 17, 18])
    files.close()


def test_a_file_that_shrinks_is_an_error_and_no_crash(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1000))
    (file,) = files_at(path, (".bin",))
    files = Files([file])
    assert len(files.read(0, 0, 10)) == 10
    with open(path, "r+b") as handle:
        handle.truncate(100)
    with pytest.raises(DataError, match=r"a.bin: ends at byte 100; the index expects more"):
        files.read(0, 50, 500)
    files.close()
    with pytest.raises(DataError, match=r"1000 bytes then, 100 now"):
        files.read(0, 0, 10)


def test_places_without_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        files_at(tmp_path / "none", (".bin",))
    with pytest.raises(DataError, match=r"no file that ends in .bin"):
        files_at(tmp_path, (".bin",))
    with pytest.raises(DataError, match="cannot be read"):
        Files([File(str(tmp_path / "gone"), "gone", 1, "1")]).read(0, 0, 1)
