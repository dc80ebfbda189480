import jax
import jax.numpy as jnp
import pytest

from cvjax.ops import compiling


@pytest.fixture(autouse=True)
def asked_anew():
    compiling.compiler_options.cache_clear()
    yield
    compiling.compiler_options.cache_clear()


def test_this_jax_takes_the_options():
    options = compiling.compiler_options()
    assert options
    assert jax.jit(lambda x: x + 1, compiler_options=options)(jnp.ones(())) == 2


@pytest.mark.parametrize(
    "options", [{"xla_no_such_option": "1"}, {next(iter(compiling._CPU)): "?"}]
)
def test_options_that_this_jax_does_not_know_are_left_out(monkeypatch, options):
    monkeypatch.setattr(compiling, "_CPU", options)
    assert compiling.compiler_options() == {}


def test_accelerators_keep_their_defaults(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compiling.compiler_options() == {}
