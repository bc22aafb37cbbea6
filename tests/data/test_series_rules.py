"""The pure rules of recordings: what is held out, and where there are gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.data.series.gaps import breaks, is_other_speed, regular
from lepton_kit.data.series.holding import cut, held_groups
from lepton_kit.data.series.recordings import Recording


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(1, 50)), min_size=1, max_size=20),
    st.floats(0.05, 0.9),
    st.integers(0, 5),
)
def test_held_out_groups_leave_every_class_something_to_train_on(parts, share, seed):
    groups, labels = [str(g) for g, _, _ in parts], [str(k) for _, k, _ in parts]
    rows = [n for _, _, n in parts]
    held = held_groups(groups, labels, rows, share, seed)
    assert held == held_groups(groups, labels, rows, share, seed)
    by_class = {k: {g for g, one in zip(groups, labels, strict=True) if one == k} for k in set(labels)}
    if held is None:
        return
    for members in by_class.values():
        assert members - held
        assert members & held
    if any(len(members) < 2 for members in by_class.values()):
        pytest.fail("a class with one group can't be in both")


@given(st.integers(1, 500), st.floats(0, 0.9), st.integers(1, 40))
def test_the_last_rows_hold_a_window_on_both_sides(rows, share, length):
    edge = cut(rows, share, length)
    assert edge == rows or (edge >= length and rows - edge >= length)
    if share and rows >= 2 * length and rows - round(rows * share) >= length:
        assert edge < rows
    assert cut(20, 0.2, 10) == 10


def test_a_step_of_half_as_much_again_is_no_gap_yet():
    values = np.zeros((4, 1), np.float32)
    assert breaks(Recording("r", values, time=np.array([0, 1, 2.5, 3.5])), 1.0).tolist() == []
    assert breaks(Recording("r", values, time=np.array([0, 1, 2.6, 3.0])), 1.0).tolist() == [2, 3]
    assert not is_other_speed(1.1, 1.0)
    assert is_other_speed(1.2, 1.0)
    assert is_other_speed(0.8, 1.0)


@settings(max_examples=50)
@given(st.integers(2, 40), st.sets(st.integers(0, 39), max_size=10), st.sets(st.integers(1, 39), max_size=4))
def test_pieces_without_gaps_keep_every_good_row_once(count, missing, jumps):
    values = np.arange(count, dtype=np.float32)[:, None].copy()
    bad = sorted(row for row in missing if row < count)
    values[bad] = np.nan
    time = np.arange(count) + 10.0 * sum((np.arange(count) >= jump).astype(float) for jump in jumps)
    time = np.asarray(time, np.float64)
    pieces, gaps = regular(Recording("r", values, time=time), "split", 1.0, "file")
    kept = np.concatenate([piece.values for piece in pieces]) if pieces else np.zeros((0, 1))
    assert kept[:, 0].tolist() == [row for row in range(count) if row not in bad]
    assert gaps == len(bad) + sum(jump < count for jump in jumps)
    for piece in pieces:
        assert (np.diff(piece.time) == 1).all()
        assert piece.first == piece.values[0, 0]
