import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.losses.detection import sigmoid_focal_loss, smooth_l1

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torchvision_detection_losses.npz")
CASES = json.loads(str(GOLDEN["cases"]))


def arrays(case, *names):
    return [jnp.asarray(GOLDEN[f"{case['id']}/{name}"]) for name in names]


def test_focal_loss_and_gradient_agree_with_torchvision():
    for case in (c for c in CASES if c["op"].endswith("focal_loss")):
        options = case["args"]
        logits, targets, out, gradient = arrays(case, "inputs", "targets", "out", "grad_inputs")
        # torchvision's "no weight" is -1.
        alpha = None if options["alpha"] < 0 else options["alpha"]

        def loss(x):
            return sigmoid_focal_loss(x, targets, alpha=alpha, gamma=options["gamma"])  # noqa: B023

        if options["reduction"] == "none":
            np.testing.assert_allclose(loss(logits), out, rtol=2e-5, atol=1e-6)
            continue
        mean, got = jax.value_and_grad(lambda x: loss(x).mean())(logits)
        np.testing.assert_allclose(mean, out, rtol=2e-5)
        np.testing.assert_allclose(got, gradient, rtol=1e-4, atol=1e-7)


def test_focal_loss_of_extreme_scores_is_finite():
    logits, targets = jnp.asarray([-200.0, 200.0, -200.0, 200.0]), jnp.asarray([0.0, 1.0, 1.0, 0.0])
    for gamma in (0.5, 2.0):
        loss, gradient = jax.value_and_grad(
            lambda x: sigmoid_focal_loss(x, targets, alpha=None, gamma=gamma).sum()  # noqa: B023
        )(logits)
        np.testing.assert_allclose(loss, 400.0, rtol=1e-6)
        np.testing.assert_allclose(gradient, [0.0, 0.0, -1.0, 1.0], atol=1e-6)


def test_smooth_l1_agrees_with_torch():
    for case in (c for c in CASES if c["op"] == "F.smooth_l1_loss"):
        prediction, target, out = arrays(case, "input", "target", "out")
        got = smooth_l1(prediction, target, beta=case["args"]["beta"])
        np.testing.assert_allclose(got, out, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="beta is -1"):
        smooth_l1(prediction, target, beta=-1.0)
