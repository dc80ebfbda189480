"""Distributions of a pixel, from what a network says of it: probability, draw and mean.

    distribution = pixel_distribution("logistic_mixture", channels=3, levels=256, components=10)
    nats = -distribution.log_prob(parameters, image).sum(axis=(1, 2))   # [B]

`parameters` [..., P] are raw outputs of a network, `P = distribution.parameters`, and pixels
[..., C] lie in [0, 1]. All three are exact: the probabilities of all values of a pixel sum to 1.
Arithmetic in float32 whatever the parameters' type.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Kind = Literal["bernoulli", "categorical", "logistic_mixture"]


@dataclass(frozen=True)
class Bernoulli:
    """Each channel is 1 with a probability of its own, else 0; parameters are logits [..., C].

    Any value x in [0, 1] is taken for a share: log_prob is x log p + (1 - x) log(1 - p), which for
    a pixel that is drawn with probability x is the mean over the draws.
    """

    channels: int = 1

    @property
    def parameters(self) -> int:
        return self.channels

    @property
    def groups(self) -> int:
        """Channels whose parameters stand apart, in order: each may depend on those before it."""
        return self.channels

    def log_prob(
        self, parameters: Float[Array, "*b p"], pixel: Float[Array, "*b c"]
    ) -> Float[Array, "*b"]:
        """In nats, summed over channels."""
        logits = parameters.astype(jnp.float32)
        return (pixel * logits - jax.nn.softplus(logits)).sum(axis=-1)

    def sample(self, key: Key[Array, ""], parameters: Float[Array, "*b p"]) -> Float[Array, "*b c"]:
        """0 or 1."""
        probability = jax.nn.sigmoid(parameters.astype(jnp.float32))
        return jax.random.bernoulli(key, probability).astype(jnp.float32)

    def mean(self, parameters: Float[Array, "*b p"]) -> Float[Array, "*b c"]:
        """The probability of a 1."""
        return jax.nn.sigmoid(parameters.astype(jnp.float32))


@dataclass(frozen=True)
class Categorical:
    """Each channel has one of `levels` equally spaced values, with probabilities by a softmax.

    Parameters are logits [..., C * levels], channel by channel. van den Oord et al. 2016,
    https://arxiv.org/abs/1601.06759, section 3 (256 levels). Values in between are rounded.
    """

    channels: int = 1
    levels: int = 256

    @property
    def parameters(self) -> int:
        return self.channels * self.levels

    @property
    def groups(self) -> int:
        """As `Bernoulli.groups`."""
        return self.channels

    def log_prob(
        self, parameters: Float[Array, "*b p"], pixel: Float[Array, "*b c"]
    ) -> Float[Array, "*b"]:
        """In nats, summed over channels."""
        log_p = jax.nn.log_softmax(self._logits(parameters), axis=-1)
        level = jnp.rint(pixel * (self.levels - 1)).astype(jnp.int32)
        return jnp.take_along_axis(log_p, level[..., None], axis=-1)[..., 0].sum(axis=-1)

    def sample(self, key: Key[Array, ""], parameters: Float[Array, "*b p"]) -> Float[Array, "*b c"]:
        """One of 0, 1 / (levels - 1), ..., 1."""
        level = jax.random.categorical(key, self._logits(parameters), axis=-1)
        return level.astype(jnp.float32) / (self.levels - 1)

    def mean(self, parameters: Float[Array, "*b p"]) -> Float[Array, "*b c"]:
        """The expected value."""
        value = jnp.arange(self.levels, dtype=jnp.float32) / (self.levels - 1)
        return jax.nn.softmax(self._logits(parameters), axis=-1) @ value

    def _logits(self, parameters: Array) -> Array:
        shape = (*parameters.shape[:-1], self.channels, self.levels)
        return parameters.astype(jnp.float32).reshape(shape)


@dataclass(frozen=True)
class LogisticMixture:
    """A mixture of `components` logistic distributions, cut into `levels` bins, all channels at
    once.

    Salimans et al. 2017 (PixelCNN++), https://arxiv.org/abs/1701.05517, section 2.1 and 2.2: the
    mean of a channel is shifted linearly by the channels before it, and the lowest and highest bin
    reach to infinity. Parameters: K mixture logits, K C means and K C log scales in units of
    [-1, 1], and K C (C - 1) / 2 coefficients, through tanh. Values in between are rounded.
    """

    channels: int = 1
    levels: int = 256
    components: int = 10

    # exp(-7): a narrower logistic than a bin of 256 levels can tell, section 2.1's code
    MIN_LOG_SCALE = -7.0

    @property
    def parameters(self) -> int:
        return self.components * (1 + 2 * self.channels + self._couplings)

    @property
    def groups(self) -> int:
        """1: the channels of a pixel are drawn together."""
        return 1

    def log_prob(
        self, parameters: Float[Array, "*b p"], pixel: Float[Array, "*b c"]
    ) -> Float[Array, "*b"]:
        """In nats, of the whole pixel."""
        logits, means, log_scales, couplings = self._parts(parameters)
        top = self.levels - 1
        level = jnp.rint(pixel * top)
        x = (2 * level / top - 1)[..., None, :]  # [..., 1, C]
        means = self._shifted(means, couplings, jnp.broadcast_to(x, means.shape))
        inverse = jnp.exp(-log_scales)
        upper, lower = (x - means + 1 / top) * inverse, (x - means - 1 / top) * inverse
        # log(sigmoid(u) - sigmoid(l)), without the difference of two numbers near 1
        inside = (
            jax.nn.log_sigmoid(upper)
            + jax.nn.log_sigmoid(-lower)
            + jnp.log(-jnp.expm1(-2 * inverse / top))
        )
        level = jnp.broadcast_to(level[..., None, :], means.shape)
        log_p = jnp.where(
            level == 0,
            jax.nn.log_sigmoid(upper),
            jnp.where(level == top, jax.nn.log_sigmoid(-lower), inside),
        ).sum(axis=-1)  # [..., K]
        return jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1) + log_p, axis=-1)

    def sample(self, key: Key[Array, ""], parameters: Float[Array, "*b p"]) -> Float[Array, "*b c"]:
        """One of 0, 1 / (levels - 1), ..., 1 in each channel."""
        which_key, key = jax.random.split(key)
        logits, means, log_scales, couplings = self._parts(parameters)
        which = jax.random.categorical(which_key, logits, axis=-1)[..., None, None]
        means, log_scales, couplings = (
            jnp.take_along_axis(part, which, axis=-2)[..., 0, :]
            for part in (means, log_scales, couplings)
        )
        noise = jax.random.logistic(key, means.shape)
        top = self.levels - 1
        x = jnp.zeros_like(means)
        for channel in range(self.channels):
            mean = self._shifted(means, couplings, x)[..., channel]
            value = mean + jnp.exp(log_scales[..., channel]) * noise[..., channel]
            level = jnp.rint((jnp.clip(value, -1, 1) + 1) / 2 * top)
            x = x.at[..., channel].set(2 * level / top - 1)
        return jnp.rint((x + 1) / 2 * top) / top

    def mean(self, parameters: Float[Array, "*b p"]) -> Float[Array, "*b c"]:
        """The mean of the components' locations, cut to [0, 1]: of the logistics before binning."""
        logits, means, _, couplings = self._parts(parameters)
        weight = jax.nn.softmax(logits, axis=-1)[..., None]
        x = jnp.zeros_like(means)
        for channel in range(self.channels):
            shifted = jnp.clip(self._shifted(means, couplings, x)[..., channel], -1, 1)
            x = x.at[..., channel].set(shifted)
        return (weight * (x + 1) / 2).sum(axis=-2)

    @property
    def _couplings(self) -> int:
        return self.channels * (self.channels - 1) // 2

    def _parts(self, parameters: Array) -> tuple[Array, Array, Array, Array]:
        """Mixture logits [..., K]; means, log scales [..., K, C]; couplings [..., K, ?]."""
        k, c = self.components, self.channels
        parameters = parameters.astype(jnp.float32)
        logits, rest = parameters[..., :k], parameters[..., k:]
        rest = rest.reshape(*rest.shape[:-1], k, 2 * c + self._couplings)
        log_scales = jnp.maximum(rest[..., c : 2 * c], self.MIN_LOG_SCALE)
        return logits, rest[..., :c], log_scales, jnp.tanh(rest[..., 2 * c :])

    def _shifted(self, means: Array, couplings: Array, x: Array) -> Array:
        """The means, given the channels before each; x [..., C] in [-1, 1]."""
        shifted, start = [], 0
        for channel in range(self.channels):
            use = couplings[..., start : start + channel] * x[..., :channel]
            shifted.append(means[..., channel] + use.sum(axis=-1))
            start += channel
        return jnp.stack(shifted, axis=-1)


PixelDistribution = Bernoulli | Categorical | LogisticMixture


def pixel_distribution(
    kind: str, *, channels: int, levels: int = 256, components: int = 10
) -> PixelDistribution:
    """The distribution of that kind; "bernoulli" has no levels and only mixtures components.

    Raises:
        ValueError: for an unknown kind, or fewer than two levels or one component.
    """
    if levels < 2 or components < 1:
        raise ValueError(f"levels={levels}, components={components}: at least 2 and 1.")
    if kind == "bernoulli":
        return Bernoulli(channels)
    if kind == "categorical":
        return Categorical(channels, levels)
    if kind == "logistic_mixture":
        return LogisticMixture(channels, levels, components)
    raise ValueError(f"likelihood={kind!r}: bernoulli, categorical or logistic_mixture.")


def bits_per_dim(nats: Float[Array, "*b"], dims: int) -> Float[Array, "*b"]:
    """Nats an image as bits a value, of which an image has `dims` (H W C)."""
    return nats / (dims * math.log(2))
