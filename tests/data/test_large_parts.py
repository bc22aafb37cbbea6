"""What is held out of large data: every row in one split, found from its place alone, equal in every process."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data.large.index import opened_parts, parts_of, record_edges
from lepton_kit.data.large.parts import Run, Share, _chosen

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) > 1)


@given(SIZES, st.floats(0.01, 0.9), st.integers(0, 2**40))
def test_every_row_is_in_one_split_and_both_have_some(sizes, share, seed):
    edges = np.concatenate([[0], np.cumsum(sizes)])
    train, held = (Share(edges, share, seed, held=held) for held in (False, True))
    rows = [part.rows(np.arange(len(part))) for part in (train, held)]
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(edges[-1]))
    assert len(held) >= 1
    assert all((np.diff(one) > 0).all() for one in rows)  # as they lie
    for part, found in zip((train, held), rows, strict=True):
        for number in range(len(sizes)):
            inside = found[part.edges[number] : part.edges[number + 1]]
            assert ((inside >= edges[number]) & (inside < edges[number + 1])).all()


@given(SIZES, st.integers(0, 2**40), st.data())
def test_rows_asked_for_alone_are_those_of_the_whole(sizes, seed, draw):
    edges = np.concatenate([[0], np.cumsum(sizes)])
    part = Share(edges, 0.3, seed, held=False)
    whole = part.rows(np.arange(len(part)))
    _chosen.cache_clear()
    places = np.array(draw.draw(st.lists(st.integers(0, len(part) - 1), min_size=1, max_size=9)))
    assert np.array_equal(part.rows(places), whole[places])


def test_seeds_hold_out_other_rows_and_each_block_gives_its_share():
    edges = np.arange(0, 5001, 500)
    parts = [Share(edges, 0.2, seed, held=True) for seed in (0, 1)]
    assert not np.array_equal(*(part.rows(np.arange(1000)) for part in parts))
    assert (np.diff(parts[0].edges) == 100).all()


def test_files_that_are_held_out_are_the_rows_after_the_others():
    edges = record_edges(2500, 3100)
    assert edges.tolist() == [0, 1000, 2000, 2500, 3100]
    train, held, train_edges = opened_parts(parts_of(edges, 2500, 0.2, 0), edges)
    assert (train, held) == (Run(0, 2500), Run(2500, 3100))
    assert held.rows(np.array([0, 599])).tolist() == [2500, 3099]
    assert train_edges.tolist() == [0, 1000, 2000, 2500]


def test_without_a_share_all_rows_are_trained_on():
    edges = record_edges(10, 10)
    train, held, _ = opened_parts(parts_of(edges, 10, 0.0, 0), edges)
    assert (len(train), held) == (10, None)
