"""Penalties on parameters: which ones they cover, their values, what they prefer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.losses.regularization import elastic_penalty

PARAMS = {
    "stem": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([10.0, 10.0])},
    "head": {"kernel": jnp.array([[3.0]])},
}


def test_elastic_penalty_covers_kernels_and_leaves_biases_alone():
    assert elastic_penalty(PARAMS, l2=0.5) == 0.5 * (1 + 4 + 9)
    assert elastic_penalty(PARAMS, l1=0.5) == 0.5 * (1 + 2 + 3)
    assert elastic_penalty(PARAMS, l1=0.5, l2=0.5) == 3 + 7


def test_paths_choose_parameters_by_full_match():
    assert elastic_penalty(PARAMS, l2=1.0, paths="head/kernel") == 9
    assert elastic_penalty(PARAMS, l1=1.0, paths=".*") == 26


def test_pattern_without_a_parameter_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match=r"no parameter matches 'head'.*head/kernel"):
        elastic_penalty(PARAMS, l2=1.0, paths="head")


def test_l2_prefers_small_spread_weights_and_l1_does_not_care():
    # CS231n: both give the same score on x = [1, 1, 1, 1].
    peaked, spread = ({"kernel": jnp.array(w)} for w in ([1.0, 0, 0, 0], [0.25] * 4))
    assert elastic_penalty(spread, l2=1.0) == 0.25 * elastic_penalty(peaked, l2=1.0)
    assert elastic_penalty(spread, l1=1.0) == elastic_penalty(peaked, l1=1.0)


def test_gradient_is_the_sign_plus_twice_the_weight():
    grad = jax.grad(lambda p: elastic_penalty(p, l1=0.1, l2=0.2))(PARAMS)
    np.testing.assert_allclose(grad["stem"]["kernel"], [[0.1 + 0.4, -0.1 - 0.8]], rtol=1e-6)
    np.testing.assert_array_equal(grad["stem"]["bias"], 0)
