"""The optimizers by name, as Optax chains.

A name's function takes the optimizer's options and returns what makes its chain for a part of the
parameters. Names, defaults and arithmetic are PyTorch's (torch.optim), with betas called b1 and b2,
so that a recipe carries over with its numbers; LARS and LAMB are their papers'. What PyTorch does
not have comes from Optax as it is (FROM_OPTAX), with Optax's options and defaults.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from cvjax.train.scalings import (
    scale_by_adam,
    scale_by_amsgrad,
    scale_by_lars,
    scale_by_radam,
    scale_by_root_of_sum,
    scale_by_trust_ratio,
    scale_by_warm_nadam,
)

# (learning rate, weight decay, whether LARS and LAMB scale by the norm) -> chain
Rule = Callable[[jax.Array | float, float, bool], optax.GradientTransformation]


def sgd(*, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False) -> Rule:
    """Gradient descent, with PyTorch's momentum: the learning rate stays out of the buffer."""
    if nesterov and (momentum <= 0 or dampening != 0):
        raise ValueError("nesterov: it needs momentum above 0 and dampening 0.")
    _check_range(momentum=momentum)
    pieces = [optax.trace(momentum, nesterov)] if momentum else []
    if momentum and dampening:  # the first gradient counts whole
        damped = optax.scale_by_schedule(lambda count: jnp.where(count == 0, 1.0, 1.0 - dampening))
        pieces.insert(0, damped)
    return _coupled(*pieces)


def momentum(*, momentum: float = 0.9, dampening: float = 0.0, nesterov: bool = False) -> Rule:
    """SGD with momentum (Polyak 1964)."""
    return sgd(momentum=momentum, dampening=dampening, nesterov=nesterov)


def nesterov(*, momentum: float = 0.9) -> Rule:
    """SGD with Nesterov's momentum (Sutskever et al. 2013, ICML)."""
    return sgd(momentum=momentum, nesterov=True)


def adagrad(
    *, lr_decay: float = 0.0, initial_accumulator_value: float = 0.0, eps: float = 1e-10
) -> Rule:
    """Adagrad (Duchi et al. 2011, JMLR 12): steps shrink with the sum of squared gradients."""
    return _coupled(
        scale_by_root_of_sum(initial_accumulator_value, eps),
        optax.scale_by_schedule(lambda count: 1.0 / (1.0 + count * lr_decay)),
    )


def adadelta(*, rho: float = 0.9, eps: float = 1e-6) -> Rule:
    """Adadelta (Zeiler 2012, https://arxiv.org/abs/1212.5701); the paper's step is lr = 1."""
    _check_range(rho=rho)
    return _coupled(optax.scale_by_adadelta(rho, eps))


def rmsprop(
    *, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, centered: bool = False
) -> Rule:
    """RMSProp (Hinton 2012, lecture 6e), `eps` outside the root; `centered` as Graves 2013.

    TensorFlow's has eps inside the root and the learning rate inside the momentum.
    """
    _check_range(alpha=alpha, momentum=momentum)
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms
    buffer = [optax.trace(momentum)] if momentum else []
    return _coupled(scale(alpha, eps, eps_in_sqrt=False), *buffer)


def adam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, amsgrad: bool = False) -> Rule:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980); decay is part of the gradient.

    `amsgrad`: the second moment never falls (Reddi et al. 2018, https://arxiv.org/abs/1904.09237).
    """
    _check_range(b1=b1, b2=b2)
    return _coupled((scale_by_amsgrad if amsgrad else scale_by_adam)(b1, b2, eps))


def adamw(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, amsgrad: bool = False) -> Rule:
    """Adam with decoupled decay (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101).

    As everywhere in practice, the decay is multiplied by the learning rate, schedule included.
    """
    _check_range(b1=b1, b2=b2)
    scale = (scale_by_amsgrad if amsgrad else scale_by_adam)(b1, b2, eps)
    return lambda lr, decay, _: optax.chain(
        scale, optax.add_decayed_weights(decay), optax.scale_by_learning_rate(lr)
    )


def nadam(
    *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> Rule:
    """Adam with Nesterov's momentum, whose b1 warms up (Dozat 2016, ICLR workshop)."""
    _check_range(b1=b1, b2=b2)
    return _coupled(scale_by_warm_nadam(b1, b2, eps, momentum_decay))


def radam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Rectified Adam (Liu et al. 2020, https://arxiv.org/abs/1908.03265)."""
    _check_range(b1=b1, b2=b2)
    return _coupled(scale_by_radam(b1, b2, eps))


def adamax(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Adam with the infinity norm (Kingma & Ba 2015, section 7.1)."""
    _check_range(b1=b1, b2=b2)
    return _coupled(optax.scale_by_adamax(b1, b2, eps))


def lars(*, momentum: float = 0.9, trust_coefficient: float = 0.001, eps: float = 0.0) -> Rule:
    """LARS (You et al. 2017, https://arxiv.org/abs/1708.03888, algorithm 1).

    The learning rate is inside the momentum.
    """
    _check_range(momentum=momentum)
    return lambda lr, decay, adapt: optax.chain(
        scale_by_lars(decay, trust_coefficient, eps) if adapt else optax.add_decayed_weights(decay),
        optax.scale_by_learning_rate(lr),
        optax.trace(momentum),
    )


def lamb(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6) -> Rule:
    """LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962, algorithm 2, phi(z) = z)."""
    _check_range(b1=b1, b2=b2)
    return lambda lr, decay, adapt: optax.chain(
        scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(decay),
        scale_by_trust_ratio() if adapt else optax.identity(),
        optax.scale_by_learning_rate(lr),
    )


def muon(
    *,
    beta: float = 0.95,
    ns_steps: int = 5,
    nesterov: bool = True,
    consistent_rms: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> Rule:
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), by Optax.

    Kernels are matrices from all their other axes to the output channels, the last axis; biases and
    scales take AdamW's step with b1 and b2, `nesterov` too. `consistent_rms=0.2` makes the steps of
    kernels about as large as AdamW's, so that its learning rate does for both (Liu et al. 2025,
    https://arxiv.org/abs/2502.16982).
    """
    _check_range(beta=beta, b1=b1, b2=b2)

    def matrix(x: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        axes = tuple(range(x.ndim))
        return optax.contrib.MuonDimensionNumbers(axes[:-1], axes[-1]) if x.ndim > 1 else None

    return lambda lr, decay, _: optax.contrib.muon(
        lr,
        beta=beta,
        ns_steps=ns_steps,
        nesterov=nesterov,
        consistent_rms=consistent_rms,
        eps=eps,
        weight_decay=decay,
        adam_b1=b1,
        adam_b2=b2,
        adam_weight_decay=decay,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(matrix, params),
    )


# Optax's optimizers that need nothing but gradients and parameters, and have no twin above. Left
# out: those that want the loss or a random key (momo, polyak_sgd, sophia, noisy_sgd, dpsgd), that
# evaluate at other parameters than they train (schedule_free), that a schedule does not reach
# (rprop) or that must be told which axes of each tensor make a matrix (galore).
FROM_OPTAX = (
    *("acprop", "adabelief", "adafactor", "adamaxw", "adan", "ademamix", "adopt", "cocob"),
    *("dadapt_adamw", "dog", "dowg", "fromage", "lion", "madgrad", "novograd"),
    *("optimistic_adam_v2", "optimistic_gradient_descent", "prodigy", "sign_sgd", "signum"),
    *("simplified_ademamix", "sm3", "yogi"),
)
# Arguments of theirs that are not options: other fields decide them.
NOT_OPTIONS = ("learning_rate", "weight_decay", "weight_decay_rate", "mask", "weight_decay_mask")


def _from_optax(name: str) -> Callable[..., Rule]:
    """Optax's alias of that name; its own weight decay if it has one, else a decoupled one."""
    alias = getattr(optax, name, None) or getattr(optax.contrib, name)
    decays = "weight_decay" in inspect.signature(alias).parameters

    @functools.wraps(alias)
    def build(**options: Any) -> Rule:
        if decays:
            return lambda lr, decay, _: alias(lr, weight_decay=decay, **options)
        return lambda lr, decay, _: optax.chain(
            alias(lr, **options),
            optax.add_decayed_weights(-lr * decay) if decay else optax.identity(),
        )

    return build


RULES: Mapping[str, Callable[..., Rule]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "radam": radam,
    "adamax": adamax,
    "lars": lars,
    "lamb": lamb,
    "muon": muon,
    **{name: _from_optax(name) for name in FROM_OPTAX},
}


def _coupled(*pieces: optax.GradientTransformation) -> Rule:
    """Weight decay as part of the gradient, the pieces, the learning rate."""
    return lambda lr, decay, _: optax.chain(
        optax.add_decayed_weights(decay), *pieces, optax.scale_by_learning_rate(lr)
    )


def _check_range(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}: a number from 0 to below 1 is needed, got {value!r}.")
