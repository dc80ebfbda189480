"""Which example is seen when: a pure function of (seed, position), so a resumed run misses nothing.

A run is one long row of positions 0, 1, 2, ...; position `p` lies in epoch `p // n` and shows the
example that this epoch's permutation puts at `p % n`. Step `s` of global batch size `b` takes the
positions `s * b ... (s + 1) * b - 1`, so a batch may straddle two epochs and nothing is dropped.
"""

import functools

import numpy as np


@functools.lru_cache(maxsize=4)
def epoch_permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """int64 [num_examples], the order of one epoch. Read-only, because it is shared."""
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_examples)
    order.setflags(write=False)
    return order


def shuffled_indices(positions: np.ndarray, *, seed: int, num_examples: int) -> np.ndarray:
    """int64, the example at each of the int64 `positions` of a shuffled, endless run."""
    positions = np.asarray(positions, np.int64)
    epochs, offsets = np.divmod(positions, num_examples)
    indices = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = epoch_permutation(seed, int(epoch), num_examples)[offsets[here]]
    return indices
