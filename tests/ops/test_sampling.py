import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.sampling import balanced_sample


def test_counts_are_those_of_the_rule_and_every_place_is_equally_likely():
    draw = functools.partial(balanced_sample, size=8, positive_share=0.5)
    draw = jax.jit(jax.vmap(draw, in_axes=(0, None, None)))
    keys = jax.random.split(jax.random.key(0), 4000)
    for positives, negatives in ((6, 10), (2, 10), (0, 10), (6, 3), (4, 0)):
        place = jnp.arange(20)
        positive, negative = place < positives, (place >= 10) & (place < 10 + negatives)
        got_positive, got_negative = map(np.asarray, draw(keys, positive, negative))
        assert not (got_positive & ~np.asarray(positive)).any()
        assert not (got_negative & ~np.asarray(negative)).any()
        taken = min(positives, 4)
        rest = min(negatives, 8 - taken)
        assert (got_positive.sum(1) == taken).all()
        assert (got_negative.sum(1) == rest).all()
        # The standard error of a share of 4000 draws is at most 0.008.
        if positives:
            np.testing.assert_allclose(
                got_positive.mean(0)[:positives], taken / positives, atol=0.04
            )
        if negatives:
            share = got_negative.mean(0)[10 : 10 + negatives]
            np.testing.assert_allclose(share, rest / negatives, atol=0.04)


def test_wrong_options_are_named():
    some = jnp.ones(3, bool)
    with pytest.raises(ValueError, match=r"positive_share=1\.5"):
        balanced_sample(jax.random.key(0), some, some, size=2, positive_share=1.5)
