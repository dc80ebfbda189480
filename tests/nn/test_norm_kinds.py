import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvjax.nn.norm_kinds import group_count, normalize

X = 5 + 2 * jax.random.normal(jax.random.key(0), (2, 3, 4, 8))
SCALE, BIAS = np.arange(1.0, 9), np.linspace(-1, 1, 8)


class Normalized(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x):
        return normalize(x, self.kind, train=True, name="norm")


@pytest.mark.parametrize(("kind", "groups"), [("layer", 1), ("group", 4), ("instance", 8)])
def test_each_kind_normalises_its_own_part_of_one_example(kind, groups):
    params = {"norm": {"scale": jnp.float32(SCALE), "bias": jnp.float32(BIAS)}}
    y = Normalized(kind).apply({"params": params}, X)
    want = np.zeros(X.shape)
    width = X.shape[-1] // groups
    for i in range(len(X)):
        for g in range(groups):
            part = np.asarray(X[i, :, :, g * width : (g + 1) * width], np.float64)
            part = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
            want[i, :, :, g * width : (g + 1) * width] = part
    np.testing.assert_allclose(y, want * SCALE + BIAS, atol=2e-5)


def test_large_mean_leaves_the_variance_exact():
    x = 4096 + jax.random.normal(jax.random.key(0), (1, 16, 16, 2))
    y = Normalized("instance").apply(Normalized("instance").init(jax.random.key(0), x), x)
    exact = np.asarray(x, np.float64)
    want = (exact - exact.mean((1, 2))) / exact.std((1, 2))
    np.testing.assert_allclose(y, want, atol=5e-3)  # the mean near 4,096 is good to 1e-3


def test_none_is_the_input_and_has_no_parameters():
    y, variables = Normalized("none").init_with_output(jax.random.key(0), X)
    assert y is X
    assert not variables


def test_batch_kinds_keep_statistics_and_the_others_none():
    for kind in ("batch", "batch_renorm", "group", "instance", "layer"):
        shapes = jax.eval_shape(Normalized(kind).init, jax.random.key(0), X)
        assert ("batch_stats" in shapes) == kind.startswith("batch"), kind
        assert set(shapes["params"]["norm"]) == {"scale", "bias"}


def test_groups_are_32_or_hold_two_channels_and_always_divide():
    assert [group_count(c) for c in (256, 64, 48, 6, 2, 1)] == [32, 32, 24, 3, 1, 1]
    assert all(c % group_count(c) == 0 for c in range(1, 300))


def test_an_instance_without_a_map_is_refused():
    with pytest.raises(ValueError, match="norm: instance normalisation"):
        jax.eval_shape(Normalized("instance").init, jax.random.key(0), X[:, 0, 0])
