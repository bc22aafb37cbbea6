"""The proof of what was fed: hashes that add up exactly, however the samples are cut."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data import sharding
from lepton_kit.data.proofs import PROOF_SIZE, proof_of, proof_values, sample_hashes


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=300, unique=True), st.integers(1, 5))
def test_the_proofs_of_the_parts_add_up_to_the_proof_of_the_whole(indices, ranks):
    whole = np.array(indices)
    parts = np.split(whole, np.cumsum(sharding.cut(len(whole), [1] * ranks))[:-1])
    summed = np.sum([proof_of(part[None]) for part in parts], axis=0)
    assert proof_values(summed) == proof_values(proof_of(whole[None]))
    assert proof_values(summed) == ([int(sample_hashes(whole).sum(dtype=np.uint64))], [len(whole)])


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_one_wrong_sample_changes_the_proof(right, wrong):
    same = proof_values(proof_of(np.array([[right, 7]]))) == proof_values(proof_of(np.array([[wrong, 7]])))
    assert same == (right == wrong)


def test_the_largest_batch_that_is_promised_sums_without_rounding():
    indices = np.arange(65_536)[None]
    (checksum,), (count,) = proof_values(proof_of(indices))
    assert count == 65_536
    assert checksum == int(sample_hashes(indices).sum(dtype=np.uint64))


def test_a_proof_has_one_row_per_step():
    assert proof_of(np.arange(6).reshape(3, 2)).shape == (3, PROOF_SIZE)
