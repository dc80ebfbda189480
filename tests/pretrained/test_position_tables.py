import jax
import numpy as np
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch
from cvjax.pretrained.position_tables import cubic_weights, resize_grid, resize_position_table

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("old", "new"), [(14, 24), (14, 6), (3, 5), (7, 2)])
def test_weights_sum_to_one_and_mirror(old, new, antialias):
    weights = cubic_weights(old, new, antialias=antialias)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(weights[::-1, ::-1], weights, atol=1e-12)


def test_a_straight_line_stays_one_away_from_the_borders():
    # Keys' kernel follows lines exactly; a = -3/4 does not.
    line = cubic_weights(14, 24, antialias=True) @ np.arange(14)
    want = (np.arange(24) + 0.5) * 14 / 24 - 0.5
    np.testing.assert_allclose(line[4:-4], want[4:-4], atol=1e-9)


# torch.nn.functional.interpolate(grid, size=(new, new), mode="bicubic", antialias=...), torch 2.13;
# the grid is that of the test below, the key (old, new, antialias).
# fmt: off
TORCH = {
    (3, 5, True): [
        -0.7205, -0.6588, -0.1321, 2.3792, 3.9872, 3.2561, 4.5153, 6.306, 5.7013, 5.0941, 8.4717,
        11.8134, 16.0, 11.1194, 7.3962, 4.0156, 8.9798, 16.0224, 13.5376, 11.0784, 0.4564, 6.2595,
        14.9245, 14.5224, 13.2606,
    ],
    (3, 5, False): [
        -0.9047, -0.9915, -0.44, 2.0728, 4.0054, 3.718, 5.2421, 6.892, 6.0601, 5.0288, 8.328,
        12.292, 16.0, 11.608, 7.232, 4.298, 10.041, 16.468, 14.134, 10.8565, 0.0247, 6.698, 14.904,
        15.01, 13.3433,
    ],
    (5, 3, True): [
        2.3205, 7.6386, 13.6641, 6.8187, 7.2206, 10.303, 8.2828, 4.5202, 6.1787,
    ],
    (5, 3, False): [
        1.5099, 7.8519, 13.7699, 10.5741, 8.0, 11.6481, 8.5459, 5.037, 7.7503,
    ],
}
# fmt: on


@pytest.mark.parametrize("case", sorted(TORCH))
def test_resizing_agrees_with_torch(case):
    old, new, antialias = case
    grid = (np.arange(old * old) ** 2 % 17).astype(np.float32).reshape(1, -1, 1)
    found = resize_grid(grid, new, antialias=antialias).reshape(-1)
    np.testing.assert_allclose(found, TORCH[case], atol=2e-4)


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_tokens_beside_the_patches_keep_their_positions(extra):
    table = RNG.standard_normal((1, extra + 16, 3)).astype(np.float32)
    resized = resize_grid(table, 6)
    assert resized.shape == (1, extra + 36, 3)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized[:, :extra], table[:, :extra])
    np.testing.assert_allclose(resized[:, extra:], resize_grid(table[:, extra:], 6), atol=1e-6)


def test_the_same_size_is_the_same_table():
    table = RNG.standard_normal((1, 17, 3)).astype(np.float32)
    np.testing.assert_array_equal(resize_grid(table, 4), table)


@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_a_resized_state_dict_makes_a_model_for_other_images(source):
    fields = {"width": 8, "depth": 1}
    model = create("vit_tiny_patch16_224", num_classes=3, image_size=64, **fields)
    x = np.zeros((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    variables = jax.tree.map(lambda s: RNG.standard_normal(s.shape).astype(np.float32), shapes)
    state = to_torch(
        "vit_tiny_patch16_224", variables, source, num_classes=3, image_size=64, **fields
    )
    larger = resize_position_table(state, image_size=96)
    again = from_torch(
        "vit_tiny_patch16_224", larger, source, num_classes=3, image_size=96, **fields
    )
    assert again["params"]["position_embedding"].shape == (1, 37, 8)
    np.testing.assert_array_equal(
        again["params"]["class_token"], variables["params"]["class_token"]
    )
    assert state is not larger


def test_what_cannot_be_resized_is_refused():
    with pytest.raises(ValueError, match="not a multiple of the patch"):
        resize_position_table({}, image_size=100)
    with pytest.raises(ValueError, match="no position table"):
        resize_position_table({"head.weight": np.zeros(3)}, image_size=96)
