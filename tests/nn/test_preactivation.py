import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.preactivation import PreActBasicBlock, PreActBottleneck

X = np.random.default_rng(0).standard_normal((2, 6, 6, 8)).astype(np.float32)
ACTIVE = np.maximum(X, 0) / np.sqrt(np.float32(1 + 1e-5))  # of a norm that has seen nothing


def without_branch(module):
    """What the block gives where its last convolution is zero: its shortcut; the parameters."""
    x = jnp.asarray(X)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
    rng = np.random.default_rng(1)
    last = "conv2" if isinstance(module, PreActBasicBlock) else "conv3"

    def fill(path, leaf):
        names = [key.key for key in path]
        if names[-1] == "kernel" and last not in names:
            return rng.standard_normal(leaf.shape).astype(np.float32)
        return np.full(leaf.shape, names[-1] in ("scale", "var"), np.float32)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    apply = jax.jit(lambda v: module.apply(v, x, train=False))
    return apply(variables), variables["params"]


@pytest.mark.parametrize("module", [PreActBasicBlock(width=8), PreActBottleneck(width=2)])
def test_shortcut_of_an_inner_block_is_its_input_to_the_bit(module):
    out, params = without_branch(module)
    np.testing.assert_array_equal(out, X)
    assert "shortcut_conv" not in params


@pytest.mark.parametrize(
    "module", [PreActBasicBlock(width=8, first=True), PreActBottleneck(width=2, first=True)]
)
def test_shortcut_of_the_first_block_is_its_activated_input(module):
    np.testing.assert_allclose(without_branch(module)[0], ACTIVE, atol=1e-6)


@pytest.mark.parametrize(
    "module", [PreActBasicBlock(width=12, stride=2), PreActBottleneck(width=3, stride=2)]
)
def test_projection_reads_every_second_pixel_of_the_activated_input(module):
    out, params = without_branch(module)
    kernel = np.asarray(params["shortcut_conv"]["kernel"][0, 0])
    np.testing.assert_allclose(out, ACTIVE[:, ::2, ::2] @ kernel, atol=1e-5)


def test_padded_shortcut_is_the_input_between_zero_channels():
    out, _ = without_branch(PreActBasicBlock(width=12, stride=2, shortcut="pad"))
    want = np.pad(X[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (2, 2)))
    np.testing.assert_array_equal(out, want)
