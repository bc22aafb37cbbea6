"""What a worker remembers of its steps."""

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.data.proofs import PROOF_SIZE, proof_of, sample_hashes
from lepton_kit.training.history import History


def filled():
    """Three steps of 4, 4 and 2 samples."""
    history = History(lambda step: sharding.batch_size(step, 10, 4))
    order = np.arange(10)
    for step, loss in enumerate((1.0, 2.0, 6.0)):
        history.extend(step, np.array([loss]), proof_of(order[4 * step : 4 * step + 4][None]))
    return history


def test_the_mean_loss_weighs_a_short_batch_by_its_samples():
    assert filled().mean_loss(0) == (4 * 1.0 + 4 * 2.0 + 2 * 6.0) / 10
    assert filled().mean_loss(2) == 6.0
    assert filled().mean_loss(3) is None


def test_a_report_tells_losses_samples_of_ranks_and_proofs():
    found = filled().report(1, [1, 1])
    assert (found["first"], found["last"], found["loss"]) == (1, 3, [2.0, 6.0])
    assert found["samples"] == [3, 3]
    assert found["fed"] == [4, 2]
    assert found["checksum"][1] == int(sample_hashes(np.array([8, 9])).sum(dtype=np.uint64))
    assert filled().report(3, [1, 1]) is None


def test_a_loss_that_is_no_number_is_told_as_unknown():
    history = History(lambda step: 4)
    history.extend(0, np.array([np.nan]), np.zeros((1, PROOF_SIZE)))
    assert history.report(0, [1])["loss"] == [None]


def test_it_forgets_up_to_a_step_but_never_the_last():
    history = filled()
    history.forget(2)
    assert [entry[0] for entry in history.since(0)] == [2]
    history.forget(100)
    assert [entry[0] for entry in history.since(0)] == [2]


def test_what_a_checkpoint_holds_comes_back():
    history, other = filled(), History(lambda step: 4)
    from lepton_kit.training.state import history_entries

    other.replace(history_entries(history.array(1)))
    assert [entry[:2] for entry in other.since(0)] == [(1, 2.0), (2, 6.0)]
