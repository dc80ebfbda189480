"""Compiler options that the jitted steps of training and evaluation need to run fast."""

from functools import cache

import jax

# By default XLA's CPU backend hands convolutions to a library that runs them on one thread here:
# ResNet-18's training step takes 1.6 times as long. Matrix products and sums gain from the library.
_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


@cache
def compiler_options() -> dict[str, str]:
    """For `jax.jit(..., compiler_options=...)` on the default backend; docs/performance.md.

    Empty on accelerators, and where this release of JAX does not know the options.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(_CPU)
