"""A store of earlier pictures, so that a discriminator does not forget what it has seen through.

Shrivastava et al. 2017 (https://arxiv.org/abs/1612.07828, section 2.3); Zhu et al. 2017 keep 50.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Pool = dict[str, Array]


def empty_pool(size: int, shape: tuple[int, int, int]) -> Pool:
    """A pool of `size` pictures of `shape` (h, w, c), none of them filled: `images`, `filled`."""
    return {
        "images": jnp.zeros((size, *shape), jnp.float32),
        "filled": jnp.zeros((), jnp.int32),
    }


def exchange(
    pool: Pool, key: Key[Array, ""], images: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h w c"], Pool]:
    """(pictures to show, the pool after them): one picture after the other, as the paper has it.

    While the pool fills up every picture is stored and shown. Then each, by a fair coin, is shown
    itself, or takes the place of a stored one, which is shown.
    """
    size = len(pool["images"])

    def one(pool: Pool, inputs: tuple[Array, Array]) -> tuple[Pool, Array]:
        key, image = inputs
        coin_key, place_key = jax.random.split(key)
        filling = pool["filled"] < size
        swap = jax.random.bernoulli(coin_key) & ~filling
        place = jnp.where(filling, pool["filled"], jax.random.randint(place_key, (), 0, size))
        old = pool["images"][place]
        images = pool["images"].at[place].set(jnp.where(filling | swap, image, old))
        filled = jnp.minimum(pool["filled"] + 1, size)
        return {"images": images, "filled": filled}, jnp.where(swap, old, image)

    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(images)))
    pool, shown = jax.lax.scan(one, pool, (keys, images))
    return shown, pool
