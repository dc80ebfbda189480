"""Losses of classifiers against torch's golden outputs, plain loops and their own definitions."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.losses import classification as losses

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "classification_losses.npz")
CASES = json.loads(str(GOLDEN["cases"]))
CROSS_ENTROPY = [c for c in CASES if c["op"] == "F.cross_entropy"]
BINARY = [c for c in CASES if c["op"] == "F.binary_cross_entropy_with_logits"]

# Compiled whole: in a test, one program compiles faster than twenty operations do.
softmax = jax.jit(losses.softmax_cross_entropy, static_argnames="label_smoothing")
sigmoid = jax.jit(losses.sigmoid_cross_entropy, static_argnames="label_smoothing")
hinge = jax.jit(losses.multiclass_hinge, static_argnames=("margin", "squared"))
LOSSES = (softmax, sigmoid, hinge)
EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES)


def arrays(case, name):
    return jnp.asarray(GOLDEN[f"{case['id']}/{name}"])


def reduced(values, case, valid=None, counts=None):
    """What the golden gradient is the gradient of, and torch's output."""
    how = case["args"].get("reduction", "mean")
    if how == "none":
        return losses.total(values * arrays(case, "cotangent")), values
    out = losses.mean(values, valid, counts=counts) if how == "mean" else losses.total(values)
    return out, out


@pytest.mark.sampled(8)
@pytest.mark.parametrize("case", CROSS_ENTROPY, ids=lambda c: c["id"])
def test_softmax_cross_entropy_and_its_gradient_match_torch(case):
    logits, target = arrays(case, "input"), arrays(case, "target")
    weights = arrays(case, "weight") if "weight" in case["in"] else None
    ignore = case["args"].get("ignore_index")
    valid = None if ignore is None else target != ignore
    counts = None
    if weights is not None:
        counts = jnp.take(weights, jnp.clip(target, 0, weights.shape[0] - 1))

    def objective(logits):
        if logits.ndim == 4:  # torch puts the classes second
            logits = jnp.moveaxis(logits, 1, -1)
        values = softmax(
            logits,
            target,
            label_smoothing=case["args"].get("label_smoothing", 0.0),
            class_weights=weights,
        )
        return reduced(values, case, valid, counts)

    grad, out = jax.jit(jax.grad(objective, has_aux=True))(logits)
    # float32 sums of 7 terms of size ~5, in another order than torch's
    np.testing.assert_allclose(out, arrays(case, "out"), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(grad, arrays(case, "grad_input"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", BINARY, ids=lambda c: c["id"])
def test_sigmoid_cross_entropy_and_its_gradient_match_torch(case):
    logits, target = arrays(case, "input"), arrays(case, "target")
    weights = arrays(case, "pos_weight") if "pos_weight" in case["in"] else None

    def objective(logits):
        values = sigmoid(logits, target, positive_weights=weights)
        return losses.mean(values) / logits.shape[-1]  # torch averages over classes too

    out, grad = jax.jit(jax.value_and_grad(objective))(logits)
    np.testing.assert_allclose(out, arrays(case, "out"), rtol=2e-6)
    np.testing.assert_allclose(grad, arrays(case, "grad_input"), rtol=1e-5, atol=1e-7)


def random_scores(seed=0, b=6, k=5, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(size=(b, k)) * scale, jnp.float32)
    return logits, jnp.asarray(rng.integers(0, k, b), jnp.int32)


def hinge_by_loops(logits, label, margin, squared):
    found = []
    for scores, right in zip(np.asarray(logits, np.float64), np.asarray(label)):
        loss = 0.0
        for j, score in enumerate(scores):
            if j != right:
                loss += max(0.0, score - scores[right] + margin) ** (2 if squared else 1)
        found.append(loss)
    return found


@pytest.mark.parametrize("margin", [1.0, 0.25])
@pytest.mark.parametrize("squared", [False, True])
def test_multiclass_hinge_matches_a_double_loop(margin, squared):
    logits, label = random_scores()
    ours = hinge(logits, label, margin=margin, squared=squared)
    np.testing.assert_allclose(ours, hinge_by_loops(logits, label, margin, squared), rtol=1e-6)


def test_multiclass_hinge_gives_the_figures_of_the_course_notes():
    # CS231n, lecture 3: cat, car and frog scores of three pictures; losses 2.9, 0 and 12.9.
    logits = jnp.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    ours = hinge(logits, jnp.array([0, 1, 2]))
    np.testing.assert_allclose(ours, [2.9, 0.0, 12.9], atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_equal_scores_cost_ln_c_c_minus_1_and_c_ln_2(num_classes):
    logits, label = jnp.zeros((3, num_classes)), jnp.array([0, 1, num_classes - 1])
    expected = {
        softmax: math.log(num_classes),
        hinge: num_classes - 1,
        sigmoid: num_classes * math.log(2),
    }
    for loss, value in expected.items():
        np.testing.assert_allclose(loss(logits, label), [value] * 3, rtol=1e-6)


def test_doubling_weights_that_have_zero_hinge_loss_keeps_it_zero():
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    scores = jnp.dot(x, w)
    label = jnp.argmax(scores, axis=-1)
    gap = jnp.sort(scores, axis=-1)[:, -1] - jnp.sort(scores, axis=-1)[:, -2]
    w = w / gap.min() * 1.01  # every right score leads by more than the margin
    for factor in (1, 2):
        np.testing.assert_array_equal(hinge(jnp.dot(x, factor * w), label), 0)
    single, double = (softmax(jnp.dot(x, f * w), label).sum() for f in (1, 2))
    assert 0 < double < single  # softmax always wants more


def test_small_change_of_a_safe_right_score_leaves_the_hinge_but_not_softmax():
    logits, label = jnp.array([[4.0, 1.0, 2.0]]), jnp.array([0])
    moved = logits.at[0, 0].add(-0.3)
    np.testing.assert_array_equal(hinge(moved, label), 0)
    assert softmax(moved, label) > softmax(logits, label)


@pytest.mark.parametrize("loss", [softmax, hinge])
def test_losses_are_unchanged_by_a_constant_added_to_all_scores(loss):
    logits, label = random_scores()
    np.testing.assert_allclose(loss(logits + 7, label), loss(logits, label), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_labels_equal_their_one_hot_probabilities(smoothing):
    logits, label = random_scores()
    hot = jax.nn.one_hot(label, 5)
    for loss in (softmax, sigmoid):
        ours = loss(logits, label, label_smoothing=smoothing)
        np.testing.assert_allclose(ours, loss(logits, hot, label_smoothing=smoothing), rtol=1e-6)


def test_sigmoid_of_two_opposite_scores_is_twice_the_softmax():
    # softmax([x, -x]) is sigmoid(2x); both one-vs-rest terms cost the same.
    x = jnp.array([-2.0, 0.3, 5.0])
    pair = jnp.stack([x, -x], axis=-1)
    label = jnp.zeros(3, jnp.int32)
    for smoothing in (0.0, 0.1):
        one = softmax(pair, label, label_smoothing=smoothing)
        two = sigmoid(2 * pair, label, label_smoothing=smoothing)
        # a log-softmax near 0 is exact to float32 eps of 1, not of itself
        np.testing.assert_allclose(two, 2 * one, rtol=1e-6, atol=1e-7)


def test_any_leading_shape_gives_what_flat_examples_give():
    logits, label = random_scores(b=6)
    for loss in LOSSES:
        deep = loss(logits.reshape(2, 3, 5), label.reshape(2, 3))
        np.testing.assert_array_equal(deep.reshape(6), loss(logits, label))
        assert loss(logits[0], label[0]).shape == ()


# ---- edges


@EVERY_LOSS
def test_huge_scores_give_finite_losses_and_gradients(loss):
    logits = jnp.array([[1e30, -1e30, 0.0], [-1e4, 1e4, 88.0]])
    label = jnp.array([1, 1])
    values, grad = loss(logits, label), jax.grad(lambda x: loss(x, label).sum())(logits)
    assert np.isfinite(values).all()
    assert values[0] >= 1e30  # the wrong class leads by 2e30
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("target", [jnp.array([0]), jnp.array([[0.75, 0.25, 0.0]])])
def test_class_masked_by_minus_infinity_costs_nothing(target):
    logits = jnp.array([[0.5, 1.5, -jnp.inf]])
    kept = target if target.ndim == 1 else target[:, :2]
    for loss in (softmax, sigmoid):
        np.testing.assert_allclose(loss(logits, target), loss(logits[:, :2], kept), rtol=1e-6)
        grad = jax.grad(lambda x, loss=loss: loss(x, target).sum())(logits)
        assert np.isfinite(grad).all()
        assert grad[0, 2] == 0
    if target.ndim == 1:
        np.testing.assert_allclose(hinge(logits, target), 2.0)


def test_a_masked_class_that_the_target_demands_costs_infinity():
    logits, label = jnp.array([[0.0, -jnp.inf]]), jnp.array([1])
    for loss in LOSSES:
        assert loss(logits, label)[0] == jnp.inf
    smooth = softmax(logits, jnp.array([0]), label_smoothing=0.1)
    assert smooth[0] == jnp.inf


@EVERY_LOSS
def test_bfloat16_scores_are_computed_in_float32(loss):
    logits, label = random_scores()
    half = logits.astype(jnp.bfloat16)
    values = loss(half, label)
    assert values.dtype == jnp.float32
    np.testing.assert_array_equal(values, loss(half.astype(jnp.float32), label))


@EVERY_LOSS
@pytest.mark.parametrize("bad", [-1, 3, 255])
def test_label_that_is_no_class_gives_nan_unless_it_is_invalid(loss, bad):
    logits, label = jnp.array([[1.0, 2.0, 0.5]] * 2), jnp.array([0, bad])
    assert np.isnan(loss(logits, label)).tolist() == [False, True]
    valid = label != bad
    objective = jax.value_and_grad(lambda x: losses.mean(loss(x, label), valid))
    value, grad = jax.jit(objective)(logits)
    np.testing.assert_allclose(value, loss(logits[:1], label[:1])[0], rtol=1e-6)
    assert np.isfinite(grad).all()
    np.testing.assert_array_equal(grad[1], 0)


def test_one_class_costs_nothing():
    logits, label = jnp.array([[3.0]]), jnp.array([0])
    assert softmax(logits, label)[0] == 0
    assert hinge(logits, label)[0] == 0


def test_target_of_another_shape_is_an_error_that_names_both():
    with pytest.raises(ValueError, match=r"int32\[3\] for scores of shape \[2, 4\]"):
        softmax(jnp.zeros((2, 4)), jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match=r"float32\[2\]"):
        sigmoid(jnp.zeros((2, 4)), jnp.zeros(2))


# ---- reductions


def test_mean_and_total_see_valid_values_only():
    values = jnp.array([1.0, jnp.nan, 5.0])
    valid = jnp.array([True, False, True])
    assert losses.total(values, valid) == 6
    assert losses.mean(values, valid) == 3
    assert losses.mean(jnp.array([1.0, 2.0, 6.0])) == 3


def test_mean_divides_by_the_counts_of_valid_values():
    values = jnp.array([2.0, 3.0, 100.0])
    valid = jnp.array([True, True, False])
    assert losses.mean(values, valid, counts=jnp.array([1.0, 4.0, 50.0])) == 1


def test_mean_of_nothing_is_zero_with_zero_gradient():
    value, grad = jax.value_and_grad(losses.mean)(jnp.array([1.0, 2.0]), jnp.zeros(2, bool))
    assert value == 0
    np.testing.assert_array_equal(grad, 0)


# ---- gradients


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: softmax(x, y, label_smoothing=0.1),
        lambda x, y: sigmoid(x, y, label_smoothing=0.1),
        hinge,
        lambda x, y: hinge(x, y, squared=True),
    ],
    ids=["softmax", "sigmoid", "hinge", "squared_hinge"],
)
def test_gradient_equals_central_differences(loss):
    logits, label = random_scores(b=3, k=4, scale=1.0)
    with jax.enable_x64(True):
        logits = np.asarray(logits, np.float64)
        objective = jax.jit(lambda x: loss(x, label).sum())
        grad = np.asarray(jax.jit(jax.grad(objective))(logits))
        for index in np.ndindex(3, 4):
            step = np.zeros_like(logits)
            step[index] = 1e-6
            numeric = (objective(logits + step) - objective(logits - step)) / 2e-6
            # float64: rounding 1e-16 * 10 / 1e-6, curvature 1e-12
            np.testing.assert_allclose(grad[index], numeric, atol=1e-8)
