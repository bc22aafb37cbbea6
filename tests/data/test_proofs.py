"""The proof of what was fed: hashes that add up exactly, however the samples are cut."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lepton_kit.data import proofs, sharding
from lepton_kit.data.proofs import PROOF_SIZE, content_hashes, proof_of, proof_values, sample_hashes

CONTENTS = np.random.default_rng(0).integers(0, 2**64, 65_536, dtype=np.uint64)


@given(
    st.lists(st.integers(0, 65_535), min_size=1, max_size=300, unique=True), st.integers(1, 5), st.booleans()
)
def test_the_proofs_of_the_parts_add_up_to_the_proof_of_the_whole(indices, ranks, with_contents):
    whole, contents = np.array(indices), CONTENTS if with_contents else None
    parts = np.split(whole, np.cumsum(sharding.cut(len(whole), [1] * ranks))[:-1])

    def proof(part):
        return proof_of(part[None], None if contents is None else contents[part[None]])

    summed = np.sum([proof(part) for part in parts], axis=0)
    assert proof_values(summed) == proof_values(proof(whole))
    hashes = sample_hashes(whole, contents[whole] if with_contents else None)
    assert proof_values(summed) == ([int(hashes.sum(dtype=np.uint64))], [len(whole)])


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_one_wrong_sample_changes_the_proof(right, wrong):
    same = proof_values(proof_of(np.array([[right, 7]]))) == proof_values(proof_of(np.array([[wrong, 7]])))
    assert same == (right == wrong)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_other_contents_at_the_same_place_change_the_proof(right, wrong):
    one, other = np.array([[1, right]], np.uint64), np.array([[1, wrong]], np.uint64)
    place = np.array([[0, 1]])
    assert (proof_of(place, one).tolist() == proof_of(place, other).tolist()) == (right == wrong)


def test_contents_that_have_changed_places_change_the_proof():
    place = np.array([[0, 1]])
    assert proof_of(place, CONTENTS[None, :2]).tolist() != proof_of(place, CONTENTS[None, 1::-1]).tolist()


def test_the_largest_batch_that_is_promised_sums_without_rounding():
    indices = np.arange(65_536)[None]
    (checksum,), (count,) = proof_values(proof_of(indices, CONTENTS[indices]))
    assert count == 65_536
    assert checksum == int(sample_hashes(indices, CONTENTS[indices]).sum(dtype=np.uint64))


def test_a_proof_has_one_row_per_step():
    assert proof_of(np.arange(6).reshape(3, 2)).shape == (3, PROOF_SIZE)


ROWS = arrays.arrays(
    st.sampled_from([np.uint8, np.int32, np.float32, np.float64, np.bool_, "S3", "U2"]),
    arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9),
)


@given(ROWS, st.data())
def test_a_sample_s_hash_changes_with_any_of_its_bytes_and_with_nothing_else(x, draw):
    row = draw.draw(st.integers(0, len(x) - 1))
    before = content_hashes([x, np.arange(len(x))], len(x))
    raw = x.copy().reshape(len(x), -1).view(np.uint8)
    byte = draw.draw(st.integers(0, raw.shape[1] - 1))
    raw[row, byte] ^= draw.draw(st.integers(1, 255))
    after = content_hashes([raw.view(x.dtype).reshape(x.shape), np.arange(len(x))], len(x))
    assert np.flatnonzero(before != after).tolist() == [row]


@given(ROWS, st.integers(1, 64))
def test_hashes_do_not_depend_on_how_rows_are_read(x, piece_bytes):
    order = np.random.default_rng(0).permutation(len(x))
    whole = content_hashes([x], len(x))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proofs, "PIECE_BYTES", piece_bytes)
        assert content_hashes([x[order]], len(x)).tolist() == whole[order].tolist()
    assert content_hashes([np.asfortranarray(x)], len(x)).tolist() == whole.tolist()


def test_values_that_move_within_a_sample_or_to_another_array_change_its_hash():
    one_hot = np.eye(2048, dtype=np.float32)
    assert len(np.unique(content_hashes([one_hot], 2048))) == 2048
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0]])
    assert content_hashes([a, b], 1) != content_hashes([b, a], 1)
    assert content_hashes([a], 1) != content_hashes([a, np.zeros((1, 1))], 1)
    zeros = [content_hashes([np.zeros((1, size), np.uint8)], 1)[0] for size in (0, 1, 2, 8, 9)]
    assert len(set(zeros)) == 5


def test_a_split_without_rows_has_no_hashes():
    assert content_hashes([np.zeros((0, 3))], 0).shape == (0,)


def test_this_version_of_the_hashes_never_changes():
    # Logs and frozen data hold them: another answer needs another version.
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y = np.array([[1, 2], [3, 4]], np.int64)
    assert content_hashes([x, y], 2).tolist() == [10051237325625348559, 13614349969188517097]
    assert content_hashes([x], 2).tolist() == [16622505978784593648, 2913436926840520842]
    assert content_hashes([np.array(["a", "b"])], 2).tolist() == [14857551847759852315, 12165697189518822635]
    assert content_hashes([np.zeros((2, 0))], 2).tolist() == [16294208416658607535] * 2
    assert content_hashes([], 2).tolist() == [0, 0]
    contents = np.array([7, 8, 2**63], np.uint64)
    assert sample_hashes(np.array([0, 1, 2**40]), contents).tolist() == [
        *[980748996055, 430696134657, 741328805140],
    ]
    assert proof_of(np.array([[0, 1], [2, 3]])).tolist() == [
        [368.0, 297.0, 31.0, 260.0, 293.0, 2.0],
        [443.0, 229.0, 152.0, 247.0, 450.0, 2.0],
    ]


def test_mapped_files_are_hashed_as_arrays_are_and_stay_readable(tmp_path):
    x = np.random.default_rng(1).normal(size=(50, 7))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert content_hashes([mapped], 50).tolist() == content_hashes([x], 50).tolist()
    assert np.array_equal(mapped, x)
    written = np.load(tmp_path / "x.npy", mmap_mode="c")
    written[3, 2] = 5.0  # in memory alone: it must not be dropped
    changed = content_hashes([written], 50)
    assert np.flatnonzero(changed != content_hashes([x], 50)).tolist() == [3]
    assert written[3, 2] == 5.0


def test_rows_of_a_mapped_file_that_were_hashed_leave_the_memory_of_this_process(tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, np.arange(1_000_000, dtype=np.float64).reshape(1000, 1000))
    mapped = np.load(file, mmap_mode="r")

    def resident() -> int:
        """Of proc(5)'s smaps, in kB."""
        parts = Path("/proc/self/smaps").read_text().split(f"{file}\n")[1:]
        return sum(int(part.split("Rss:")[1].split()[0]) for part in parts)

    assert float(mapped.sum()) > 0
    assert resident() > 7000
    tracemalloc.start()
    content_hashes([mapped], 1000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert resident() < 1000
    assert most < 2_000_000, "a piece after the other, of 8 MB"


def test_what_is_kept_for_the_next_hashes_can_not_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        proofs._factors(3, 1)[0] = 1
