"""Data at addresses: ``s3://`` from a loopback server, by s3fs where it is installed, and Zarr over memory and HTTP."""

import functools
import http.server
import importlib
import io
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lepton_kit import data
from lepton_kit.data import places
from lepton_kit.data.places import files_at
from lepton_kit.errors import DataError
from tests.data.s3_server import serving, small_s3, tag_of

fsspec = pytest.importorskip("fsspec")
REGISTRY = importlib.import_module("fsspec.registry")._registry


def packed(seed=0, count=2000):
    g = np.random.default_rng(seed)
    out = io.BytesIO()
    table = pa.table({"a": g.normal(size=count), "b": g.normal(size=count), "y": g.integers(0, 2, count)})
    pq.write_table(table, out, row_group_size=200)
    return out.getvalue()


def everything(split):
    return split.rows(np.arange(len(split)))


@pytest.fixture(params=["s3fs", "small"])
def store(request, monkeypatch):
    """A loopback server of S3, read by s3fs or by a file system of the same keys in some 40 lines."""
    with serving() as (address, handler):
        if request.param == "s3fs":
            s3fs = pytest.importorskip("s3fs", reason="s3fs (52 MB with what it needs) is not installed")
            for name, value in (
                ("AWS_ENDPOINT_URL", address),
                ("AWS_ACCESS_KEY_ID", "key"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
            ):
                monkeypatch.setenv(name, value)
            s3fs.S3FileSystem.clear_instance_cache()
        else:
            monkeypatch.setitem(REGISTRY, "s3", small_s3(address))
        yield handler
        if request.param == "s3fs":
            s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_is_read_as_the_same_folder_here(store, tmp_path):
    for name, seed in (("train-0", 0), ("train-1", 1), ("val-0", 2)):
        store.objects[f"lab/set/{name}.parquet"] = packed(seed)
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / f"{name}.parquet").write_bytes(packed(seed))
    store.objects["lab/set/readme.txt"] = b"no data"
    found = files_at("s3://lab/set", (".parquet",))
    assert [(one.name, one.size) for one in found] == [
        (f"{name}.parquet", len(packed(seed)))
        for name, seed in (("train-0", 0), ("train-1", 1), ("val-0", 2))
    ]
    assert [tag_of(packed(seed)) in one.stamp for seed, one in enumerate(found)] == [True] * 3
    there = data.parquet("s3://lab/set", target="y").prepare()
    here = data.parquet(tmp_path / "set", target="y").prepare()
    assert (len(there.train), len(there.validation)) == (4000, 2000)
    for one, two in ((there.train, here.train), (there.validation, here.validation)):
        assert all(
            np.array_equal(a, b) for a, b in zip(everything(one)[:2], everything(two)[:2], strict=True)
        )


def test_one_object_is_read_in_pieces_that_are_kept(store, monkeypatch):
    monkeypatch.setattr(places, "RANGE_BYTES", 1 << 13)
    store.objects["lab/a.parquet"] = packed()
    prepared = data.parquet("s3://lab/a.parquet", target="y").prepare()
    first = everything(prepared.train)[0]
    ranges = [span for verb, path, span in store.asked if verb == "GET" and path == "lab/a.parquet"]
    assert len(ranges) == len(packed()) // (1 << 13) + 1
    assert all(span.startswith("bytes=") for span in ranges)
    again = data.parquet("s3://lab/a.parquet", target="y").prepare()
    assert np.array_equal(everything(again.train)[0], first)
    assert [span for verb, path, span in store.asked if verb == "GET" and path == "lab/a.parquet"] == ranges


def test_an_object_that_was_replaced_is_another_source(store):
    store.objects["lab/a.parquet"] = packed()
    source = data.parquet("s3://lab/a.parquet", target="y")
    before = source.prepare().fingerprint
    store.objects["lab/a.parquet"] = packed(1)
    fsspec.filesystem("s3").invalidate_cache()
    assert source.prepare().fingerprint != before


def test_an_object_that_is_not_there_is_named(store):
    store.objects["lab/a.parquet"] = packed()
    with pytest.raises(DataError, match=r"s3://lab/b.parquet: cannot be read"):
        data.parquet("s3://lab/b.parquet", target="y").prepare()


def test_a_table_at_an_address_says_how_addresses_are_read():
    with pytest.raises(Exception, match=r"data\.path: got 's3://…'; expected a file"):
        data.table("s3://lab/a.csv", target="y")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture(params=["memory", "http"])
def group(request, tmp_path):
    """(address of a Zarr group, its samples, what takes a chunk away)."""
    zarr = pytest.importorskip("zarr")
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)

    def fill(where):
        made = zarr.open_group(where, mode="w")
        made.create_array("x", shape=x.shape, chunks=(40, 5), dtype=x.dtype)[:] = x
        made.create_array("y", shape=(200,), chunks=(200,), dtype="int64")[:] = np.arange(200) % 2
        return made

    if request.param == "memory":
        fill("memory://lab/g.zarr")
        system = fsspec.filesystem("memory")
        yield "memory://lab/g.zarr", x, lambda: system.rm("/lab/g.zarr/x/c/3/0")
        system.store.clear()
        return
    fill(str(tmp_path / "served" / "g.zarr"))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served"))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    lost = tmp_path / "served" / "g.zarr" / "x" / "c" / "3" / "0"
    yield f"http://127.0.0.1:{server.server_port}/g.zarr", x, lost.unlink
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_zarr_group_at_an_address_gives_the_samples_of_its_arrays(group, monkeypatch):
    monkeypatch.setattr("lepton_kit.data.large.zarrays.BLOCK_BYTES", 1)
    address, x, lose = group
    prepared = data.zarr(address, validation_split=0).prepare()
    assert np.array_equal(everything(prepared.train)[0], x)
    assert prepared.train.y[:4].tolist() == [0, 1, 0, 1]
    assert data.Dataset.from_spec(data.zarr(address).spec(), "/elsewhere").prepare().sample_shape == (5,)
    unread = data.zarr(address, validation_split=0).prepare()
    lose()
    with pytest.raises(DataError, match="rows 120 to 159 have changed, or are lost"):
        everything(unread.train)
