"""Checks that hold for every test: shapes and types of signatures, no silent broadcasting."""

import os

# A test must see the same machine everywhere: CPU, and no memory of compiled programs.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jaxtyping

# Signatures in jaxtyping are checked at run time in tests (and only there).
jaxtyping.install_import_hook(
    ["cvjax.ops", "cvjax.image", "cvjax.losses", "cvjax.metrics"], "beartype.beartype"
)
jax.config.update("jax_numpy_rank_promotion", "raise")
