import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cvjax.ops import window_conv as module
from cvjax.ops.window_conv import window_conv

GEOMETRIES = {
    "same": ((3, 3), (1, 1), "SAME", (1, 1)),
    "strided": ((3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1)),
    "dilated": ((3, 3), (1, 1), "VALID", (2, 1)),
    "one axis": ((3,), (2,), ((1, 0),), (1,)),
}


def reference(x, kernel, stride, padding, dilation):
    letters = "WH"[-len(stride) :]
    numbers = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    return lax.conv_general_dilated(
        x, kernel, stride, padding, rhs_dilation=dilation, dimension_numbers=numbers
    )


@pytest.fixture
def all_large(monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 0)


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_value_and_gradients_of_large_maps(name):
    geometry = GEOMETRIES[name]
    assert_agrees((8, 7)[: len(geometry[0])], geometry)


TINY = {
    "3x3 on 2x2": ((2, 2), ((3, 3), (1, 1), "SAME", (1, 1))),
    "3x3 on one place": ((1, 1), ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))),
    "to 2x2": ((4, 4), ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))),
    "to 2x2, the last row unseen": ((5, 6), ((3, 3), (2, 2), ((0, 0), (0, 0)), (1, 1))),
    "to one place, stride 3": ((4, 5), ((3, 3), (3, 3), "VALID", (1, 1))),
    "dilated": ((3, 2), ((3, 3), (1, 1), ((2, 2), (2, 3)), (2, 2))),
    "padding that cuts off": ((5, 4), ((3, 3), (1, 1), ((0, -1), (0, 0)), (1, 1))),
    "one axis": ((2,), ((3,), (1,), ((1, 1),), (1,))),
}


@pytest.mark.parametrize("name", TINY)
def test_value_and_gradients_of_tiny_maps(name):
    space, geometry = TINY[name]
    x, kernel = jnp.ones((1, *space, 2)), jnp.ones((*geometry[0], 2, 1))
    named = dict(zip(("stride", "padding", "dilation"), geometry[1:]))
    with pytest.raises(TypeError, match="forward-mode"):  # so it is the tiny maps' own convolution
        jax.jvp(lambda x: window_conv(x, kernel, **named), (x,), (x,))
    assert_agrees(space, geometry)


ONE_IMAGE = {
    "strips of equal height": ((12, 7), GEOMETRIES["same"]),
    "a row short": ((11, 7), GEOMETRIES["same"]),
    "strided, the last row unseen": ((20, 7), ((3, 3), (2, 2), ((0, 0), (1, 1)), (1, 1))),
    "strided by more than the window": ((25, 5), ((2, 2), (3, 3), ((1, 0), (0, 0)), (1, 1))),
    "dilated": ((14, 9), GEOMETRIES["dilated"]),
    "padding that cuts off": ((13, 7), ((3, 3), (1, 1), ((1, -2), (0, 0)), (1, 1))),
    "to 8x1, which is tiny": ((8, 3), ((3, 3), (1, 1), ((1, 1), (0, 0)), (1, 1))),
    "one axis": ((17,), ((3,), (2,), ((1, 0),), (1,))),
}


@pytest.mark.parametrize("name", ONE_IMAGE)
def test_value_and_gradients_of_one_image(name, monkeypatch):
    calls = []
    cut = module._sum_over_strips
    monkeypatch.setattr(module, "_sum_over_strips", lambda *a: calls.append(1) or cut(*a))
    assert_agrees(*ONE_IMAGE[name], images=1)
    assert calls


def assert_agrees(space, geometry, images=2):
    window, stride, padding, dilation = geometry
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (images, *space, 3))
    kernel = jax.random.normal(keys[1], (*window, 3, 4))

    def ours(x, kernel):
        return window_conv(x, kernel, stride=stride, padding=padding, dilation=dilation)

    got, pull = jax.jit(lambda *a: jax.vjp(ours, *a))(x, kernel)
    want, pull_reference = jax.vjp(lambda *a: reference(*a, stride, padding, dilation), x, kernel)
    np.testing.assert_allclose(got, want, atol=1e-5)
    dy = jax.random.normal(keys[2], want.shape)
    for mine, theirs in zip(jax.jit(pull)(dy), pull_reference(dy)):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.usefixtures("all_large")
def test_gradients_have_gradients():
    x, kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 2)), jnp.full((3, 3, 2, 1), 0.1)

    def penalty(conv):
        def slope(kernel):
            return jax.grad(lambda x: (conv(x, kernel) ** 2).sum())(x)

        return jax.grad(lambda kernel: (slope(kernel) ** 2).sum())(kernel)

    geometry = (1, 1), "SAME", (1, 1)
    names = "stride", "padding", "dilation"
    got = penalty(lambda x, k: window_conv(x, k, **dict(zip(names, geometry))))
    want = penalty(lambda x, k: reference(x, k, *geometry))
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_smaller_maps_keep_forward_mode():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 1))

    def conv(x):
        return window_conv(x, kernel, stride=(1, 1), padding="SAME", dilation=(1, 1))

    np.testing.assert_allclose(jax.jvp(conv, (x,), (x,))[1], conv(x))
