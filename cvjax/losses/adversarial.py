"""Losses of two players: a discriminator that scores pictures and a generator that makes them.

A score is a logit, high for "real"; losses work place by place, so they serve one score an image
[B] and a map of them [B, H, W] (PatchGAN) alike, in float32. All are to be minimised.

    loss = LOSSES["hinge"]
    loss.real(scores of real pictures), loss.fake(scores of made ones)   # the discriminator's two
    loss.generator(scores of made ones)                                  # the generator's
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Scores = Float[Array, "*b"]


class AdversarialLoss(NamedTuple):
    """What each player minimises, as functions of scores; see the table `LOSSES`."""

    real: Callable[[Scores], Scores]
    fake: Callable[[Scores], Scores]
    generator: Callable[[Scores], Scores]


def binary_real(scores: Scores) -> Scores:
    """-log D, in nats, D = sigmoid(score): cross-entropy with "real"."""
    return jax.nn.softplus(-scores.astype(jnp.float32))


def binary_fake(scores: Scores) -> Scores:
    """-log(1 - D), in nats: cross-entropy with "made"."""
    return jax.nn.softplus(scores.astype(jnp.float32))


def minimax_generator(scores: Scores) -> Scores:
    """log(1 - D), what the generator minimises in the game's own value (Goodfellow et al. 2014,
    https://arxiv.org/abs/1406.2661, equation 1). Where D sees through it, its gradient is near 0.
    """
    return -jax.nn.softplus(scores.astype(jnp.float32))


def square_to_one(scores: Scores) -> Scores:
    """(score - 1)^2 / 2 (Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9)."""
    return 0.5 * jnp.square(scores.astype(jnp.float32) - 1.0)


def square_to_zero(scores: Scores) -> Scores:
    """score^2 / 2 (Mao et al. 2017, equation 9)."""
    return 0.5 * jnp.square(scores.astype(jnp.float32))


def score(scores: Scores) -> Scores:
    """The score itself: what a critic pushes down (Arjovsky et al. 2017)."""
    return scores.astype(jnp.float32)


def minus_score(scores: Scores) -> Scores:
    """Minus the score: what a critic pushes up, and a generator of pictures that it scores."""
    return -scores.astype(jnp.float32)


def hinge_real(scores: Scores) -> Scores:
    """max(0, 1 - score) (Lim & Ye 2017, https://arxiv.org/abs/1705.02894)."""
    return jax.nn.relu(1.0 - scores.astype(jnp.float32))


def hinge_fake(scores: Scores) -> Scores:
    """max(0, 1 + score)."""
    return jax.nn.relu(1.0 + scores.astype(jnp.float32))


LOSSES: dict[str, AdversarialLoss] = {
    # Goodfellow et al. 2014, equation 1, and the remedy that section 3 proposes.
    "minimax": AdversarialLoss(binary_real, binary_fake, minimax_generator),
    "non_saturating": AdversarialLoss(binary_real, binary_fake, binary_real),
    # Mao et al. 2017 with a = 0, b = c = 1.
    "least_squares": AdversarialLoss(square_to_one, square_to_zero, square_to_one),
    # Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875: the critic has to be Lipschitz, by
    # clipped weights (optim.groups' `clip_weights`), a gradient penalty or spectral norms.
    "wasserstein": AdversarialLoss(minus_score, score, minus_score),
    # Miyato et al. 2018, https://arxiv.org/abs/1802.05957, equations 16 and 17.
    "hinge": AdversarialLoss(hinge_real, hinge_fake, minus_score),
}


def gradient_penalty(
    critic: Callable[[Float[Array, "b ..."]], Float[Array, "b ..."]],
    key: Key[Array, ""],
    real: Float[Array, "b ..."],
    fake: Float[Array, "b ..."],
) -> Float[Array, " b"]:
    """(|grad_x critic(x)|_2 - 1)^2 of each example, at a point x between its real and fake.

    Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3 without its factor. x is
    u real + (1 - u) fake, with u from U(0, 1) by `fold_in(key, i)` for example i, so the result is
    the same on one device and on many. Scores of a map are summed. The critic must score each
    picture on its own: batch normalisation mixes them, and the penalty is then not this one.

    Raises:
        ValueError: if the two batches differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"gradient_penalty: real pictures are {real.shape}, made ones {fake.shape}; both "
            "batches need one shape. Set the model's image_size and channels to the data's."
        )
    shape = (-1,) + (1,) * (real.ndim - 1)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(real)))
    share = jax.vmap(jax.random.uniform)(keys).reshape(shape)
    between = share * real + (1 - share) * fake
    # The score of one picture depends on it alone, so the gradient of the sum is each one's own.
    slopes = jax.grad(lambda x: critic(x).astype(jnp.float32).sum())(between)
    squares = jnp.square(slopes.reshape(len(real), -1)).sum(axis=1)
    # The root's slope at 0 is infinite: a critic that is flat somewhere must not spoil the rest.
    flat = squares == 0
    lengths = jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squares)))
    return jnp.square(lengths - 1.0)
