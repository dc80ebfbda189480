import jax
import jax.numpy as jnp
import numpy as np

from cvjax.ops.mining import hard_negatives


def test_three_hardest_negatives_for_each_positive():
    rng = np.random.default_rng(0)
    loss = rng.integers(0, 9, size=(4, 30)).astype(np.float32)  # ties
    kind = rng.choice(3, size=(4, 30), p=[0.1, 0.7, 0.2])  # positive, negative, ignored
    kind[1] = np.where(kind[1] == 0, 1, kind[1])  # no positive
    kind[2] = np.where(kind[2] == 1, 0, kind[2])  # no negative
    got = jax.vmap(hard_negatives)(
        jnp.asarray(loss), jnp.asarray(kind == 0), jnp.asarray(kind == 1)
    )
    for i in range(4):
        negatives = [j for j in range(30) if kind[i, j] == 1]
        hardest = sorted(negatives, key=lambda j: (-loss[i, j], j))[: 3 * (kind[i] == 0).sum()]
        np.testing.assert_array_equal(np.flatnonzero(got[i]), sorted(hardest))
    assert np.asarray(got[0]).sum() > 0
