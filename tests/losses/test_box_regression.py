import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from cvjax.losses.box_regression import ciou_loss, diou_loss, giou_loss

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torchvision_box_losses.npz")
LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


@jax.jit
def losses_and_gradients(boxes, targets):
    def mean(loss):
        return lambda boxes: loss(boxes, targets).mean()

    return {
        name: (loss(boxes, targets), jax.grad(mean(loss))(boxes)) for name, loss in LOSSES.items()
    }


def test_losses_and_gradients_agree_with_torchvision():
    boxes, targets = jnp.asarray(GOLDEN["boxes"]), jnp.asarray(GOLDEN["targets"])
    for name, (loss, gradient) in losses_and_gradients(boxes, targets).items():
        # torchvision adds 1e-7 to the denominators.
        np.testing.assert_allclose(loss, GOLDEN[f"{name}/out"], rtol=0, atol=2e-6, err_msg=name)
        want = GOLDEN[f"{name}/gradient_of_mean"]
        np.testing.assert_allclose(gradient, want, rtol=1e-4, atol=1e-7, err_msg=name)


def test_equal_boxes_cost_nothing_and_empty_ones_have_finite_gradients():
    count = len(GOLDEN["boxes"])  # one program for both tests
    equal = np.tile(np.asarray([[3.0, 4.0, 10.0, 6.0]], np.float32), (count, 1))
    empty = np.tile(np.asarray([[3.0, 4.0, 3.0, 4.0]], np.float32), (count, 1))
    for boxes, targets in ((equal, equal), (empty, equal), (empty, empty), (equal, empty)):
        got = losses_and_gradients(jnp.asarray(boxes), jnp.asarray(targets))
        for name, (loss, gradient) in got.items():
            assert np.isfinite(gradient).all(), name
            if boxes is targets is equal:
                np.testing.assert_allclose(loss, 0.0, atol=1e-6, err_msg=name)
