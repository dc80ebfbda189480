"""Bounds on the log-likelihood by a latent variable: closed-form KL, ELBO's terms, IWAE.

Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Burda et al. 2016,
https://arxiv.org/abs/1509.00519. Nats, one value an example; Gaussians have diagonal covariance.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gaussian_kl(
    mean: Float[Array, "*b d"], log_variance: Float[Array, "*b d"]
) -> Float[Array, "*b"]:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) (Kingma and Welling, appendix B); >= 0."""
    return gaussian_kl_by_dimension(mean, log_variance).sum(axis=-1)


def gaussian_kl_by_dimension(
    mean: Float[Array, "*b d"], log_variance: Float[Array, "*b d"]
) -> Float[Array, "*b d"]:
    """As `gaussian_kl`, of each dimension: what the latent tells about the image."""
    return 0.5 * (jnp.square(mean) + jnp.expm1(log_variance) - log_variance)


def gaussian_log_density(
    x: Float[Array, "*b d"], mean: Float[Array, "*b d"], log_variance: Float[Array, "*b d"]
) -> Float[Array, "*b"]:
    """log N(x; mean, exp(log_variance)), summed over dimensions."""
    scaled = jnp.square(x - mean) * jnp.exp(-log_variance)
    return -0.5 * (scaled + log_variance + math.log(2 * math.pi)).sum(axis=-1)


def importance_bound(log_weights: Float[Array, "s *b"]) -> Float[Array, "*b"]:
    """log mean_s exp(log_weights): the bound on log p(x) from S samples (Burda et al., eq. 8).

    `log_weights` are log p(x, z_s) - log q(z_s | x). One sample is the ELBO's estimate, more are a
    tighter bound on average.
    """
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))
