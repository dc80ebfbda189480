import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create


def layer_sizes(**fields):
    model = create("zfnet", num_classes=1000, **fields)
    image = jnp.zeros((1, 224, 224, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in variables["params"].items()}


def feature_shapes(size, **fields):
    model = create("zfnet", num_classes=1000, **fields)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    _, features = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0], image
    )
    return {k: v.shape[1:] for k, v in features.items()}


def test_layers_have_the_parameters_of_their_sizes():
    sizes = layer_sizes()
    assert sizes == {
        "conv1": 7 * 7 * 3 * 96 + 96,
        "conv2": 5 * 5 * 96 * 256 + 256,
        "conv3": 3 * 3 * 256 * 512 + 512,
        "conv4": 3 * 3 * 512 * 1024 + 1024,
        "conv5": 3 * 3 * 1024 * 512 + 512,
        "hidden1": 6 * 6 * 512 * 4096 + 4096,
        "hidden2": 4096 * 4096 + 4096,
        "head": 4096 * 1000 + 1000,
    }
    assert sum(sizes.values()) == 107_627_624


def test_network_of_figure_3_has_62357608_parameters():
    assert sum(layer_sizes(channels=(96, 256, 384, 384, 256)).values()) == 62_357_608


def test_maps_are_the_papers():
    assert feature_shapes(224) == {
        "stride2": (110, 110, 96),
        "stride4": (55, 55, 96),
        "stride8": (26, 26, 256),
        "stride16": (13, 13, 512),
        "stride32": (6, 6, 512),
        "pooled": (4096,),
    }


def test_smallest_image_is_the_smallest():
    assert create("zfnet", num_classes=1000).smallest_image == 63
    assert feature_shapes(63)["stride32"] == (1, 1, 512)
    with pytest.raises(ValueError, match="does not fit"):
        feature_shapes(62)
