"""How long a run is: a pure function of the configuration and the number of samples."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.training.length import Length, length_of
from tests.configs import any_config


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 6), st.integers(0, 5))
def test_every_step_lies_in_one_epoch_and_the_last_completes_the_last(samples, batch, epochs, first):
    length = length_of(
        any_config(training={"global_batch": batch, "epochs": epochs + first, "initial_epoch": first}),
        samples,
    )
    assert length.total_steps == epochs * -(-samples // batch)
    completed = [length.completed_epochs(step) for step in range(length.total_steps + 1)]
    assert completed[0] == 0
    assert completed[-1] == epochs
    assert all(0 <= b - a <= 1 for a, b in itertools.pairwise(completed))
    assert length.first_step == first * length.steps_per_epoch


def test_steps_per_epoch_makes_epochs_of_their_own_length():
    length = length_of(any_config(training={"global_batch": 4, "epochs": 3, "steps_per_epoch": 7}), 10)
    assert (length.steps_per_epoch, length.total_steps) == (7, 21)
    assert [length.completed_epochs(p) for p in (6, 7, 13, 14, 21)] == [0, 1, 1, 2, 3]


def test_max_steps_cuts_an_epoch_off_and_completes_it():
    length = length_of(any_config(training={"global_batch": 4, "epochs": 3, "max_steps": 4}), 10)
    assert length.total_steps == 4
    assert [length.completed_epochs(p) for p in (3, 4)] == [1, 2]


def test_a_limit_beyond_the_last_epoch_changes_nothing():
    length = length_of(any_config(training={"global_batch": 4, "epochs": 3, "max_steps": 100}), 10)
    assert length.total_steps == 9


def test_a_stop_completes_the_epoch_that_it_cuts_off_and_no_other():
    length = length_of(any_config(training={"global_batch": 4, "epochs": 3}), 10)
    assert [length.completed_epochs(p, stopped=True) for p in (0, 1, 2, 3, 4)] == [0, 1, 1, 1, 2]


def test_a_run_that_goes_on_from_no_other_begins_at_the_start_of_the_data():
    assert Length(10, 4, 6).first_step == 0
