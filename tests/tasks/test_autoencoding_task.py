"""The autoencoder's figures, and its encoder in a classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.tasks.autoencoding import Autoencoding
from cvjax.train.restore import make_plan

KEY = jax.random.key(0)
IMAGE = jax.random.uniform(KEY, (4, 4, 4, 1))
FIELDS = {"latent": 3, "widths": (6,)}


def test_the_loss_is_the_squared_error_a_value_without_padding():
    task = Autoencoding(create("autoencoder", image_shape=(4, 4, 1), **FIELDS))
    variables = task.init(KEY, {"image": IMAGE})
    made = task.model.apply(variables, IMAGE, train=False)[0]["reconstruction"]
    expected = np.square(np.float64(made) - np.float64(IMAGE)).reshape(4, 16).mean(axis=1)
    found = task.predict(variables, {"image": IMAGE})
    np.testing.assert_allclose(found["squared_error"], expected, rtol=1e-5)
    assert found["code"].shape == (4, 3)
    loss, info = task.loss(variables, {"image": IMAGE, "valid": jnp.arange(4) < 2})
    assert float(loss) == pytest.approx(expected[:2].mean(), rel=1e-5)
    assert info["metrics"]["squared_error"] == loss
    shown = task.reconstruct(variables, KEY, {"image": IMAGE})["image"]
    np.testing.assert_array_equal(shown[:, 0], IMAGE)
    np.testing.assert_allclose(shown[:, 1], np.clip(made, 0, 1), rtol=1e-6)


def test_a_code_as_large_as_the_image_is_refused():
    model = create("autoencoder", image_shape=(4, 4, 1), latent=16)
    with pytest.raises(ValueError, match=r"model\.latent=16: a code as large as the image"):
        jax.eval_shape(lambda: model.init(KEY, IMAGE, train=True))


@pytest.mark.parametrize("body", ["dense", "conv"])
def test_the_classifier_takes_over_every_array_of_the_encoder_and_none_of_the_decoder(body):
    fields = {**FIELDS, "body": body}
    coder = create("autoencoder", image_shape=(4, 4, 1), **fields)
    classifier = create("coder_classifier", num_classes=5, **fields)

    def shapes(model):
        tree = jax.eval_shape(lambda: model.init(KEY, IMAGE, train=True))
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {"/".join(k.key for k in path): (x.shape, str(x.dtype)) for path, x in leaves}

    rules = (("(encoder|code)/.*", r"\g<0>"), ("head/.*", None))
    plan = make_plan(shapes(classifier), shapes(coder), rules)
    assert plan.problems == []
    assert set(plan.load) == {p for p in shapes(coder) if "encoder" in p or "/code/" in p}
    assert all("decoder" in path for path in plan.ignored)


def test_the_classifiers_code_is_the_autoencoders():
    coder = create("autoencoder", image_shape=(4, 4, 1), **FIELDS)
    classifier = create("coder_classifier", num_classes=None, **FIELDS)
    variables = coder.init(KEY, IMAGE, train=True)
    part = {"params": {name: variables["params"][name] for name in ("encoder", "code")}}
    np.testing.assert_array_equal(
        classifier.apply(part, IMAGE, train=False)[1]["pooled"],
        coder.apply(variables, IMAGE, train=False)[1]["pooled"],
    )
