"""Which example is seen when."""

import subprocess
import sys

import numpy as np
import pytest

from cvjax.data.order import epoch_permutation, shuffled_indices


@pytest.mark.parametrize("num_examples", [1, 2, 7, 1000])
def test_each_epoch_is_a_permutation(num_examples):
    positions = np.arange(5 * num_examples)
    indices = shuffled_indices(positions, seed=3, num_examples=num_examples)
    for epoch in indices.reshape(5, num_examples):
        assert sorted(epoch) == list(range(num_examples))


def test_epochs_and_seeds_differ():
    orders = [
        tuple(shuffled_indices(np.arange(100) + 100 * epoch, seed=seed, num_examples=100))
        for epoch in range(3)
        for seed in range(3)
    ]
    assert len(set(orders)) == 9
    assert tuple(range(100)) not in orders


def test_any_positions_in_any_order_give_what_the_whole_row_has_there():
    rng = np.random.default_rng(0)
    whole = shuffled_indices(np.arange(700), seed=1, num_examples=23)
    for _ in range(20):
        positions = rng.integers(0, 700, rng.integers(0, 60))
        found = shuffled_indices(positions, seed=1, num_examples=23)
        np.testing.assert_array_equal(found, whole[positions])


def test_order_is_the_same_in_another_process():
    code = (
        "import numpy as np; from cvjax.data.order import shuffled_indices as f;"
        "print(f(np.arange(50, 75), seed=9, num_examples=30).tolist())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = shuffled_indices(np.arange(50, 75), seed=9, num_examples=30).tolist()
    assert out.stdout.strip() == str(here)


def test_order_is_the_documented_one():
    """Runs of old checkpoints go on rightly only while this stays."""
    expected = np.random.Generator(np.random.PCG64([5, 2])).permutation(11)
    np.testing.assert_array_equal(epoch_permutation(5, 2, 11), expected)


def test_shared_order_cannot_be_changed_by_who_got_it():
    with pytest.raises(ValueError, match="read-only"):
        epoch_permutation(0, 0, 5)[0] = 1


def test_positions_beyond_two_to_the_31_do_not_wrap():
    position = 3 * 2**40 + 17
    (index,) = shuffled_indices(np.array([position]), seed=0, num_examples=1000)
    epoch, offset = divmod(position, 1000)
    assert index == np.random.Generator(np.random.PCG64([0, epoch])).permutation(1000)[offset]
