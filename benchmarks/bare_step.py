"""The training step alone, compiled and fed from the device: what the other benchmarks compare."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cvjax.data.pipeline import Reading, train_batches
from cvjax.train.experiment import Experiment
from cvjax.train.setup import prepare
from cvjax.train.sharding import place_batch

_IMAGES = 1024
_CLASSES = 10


def config_on_random_pictures(
    folder: Path, model: dict[str, Any], *, size: int, channels: int, batch: int, train: dict
) -> ConfigDict:
    """A run of momentum SGD on random uint8 pictures, never evaluated."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(_IMAGES, batch), size, size, channels), np.uint8)
    labels = np.arange(len(images)) % _CLASSES
    path = folder / f"{model['name']}_{size}_{batch}.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    return ConfigDict(
        dict(
            model=model,
            task=dict(name="classification"),
            data=dict(name="arrays", path=str(path), batch_size=batch),
            optim=dict(name="momentum", lr=0.01),
            train=dict(monitor="", **train),
        )
    )


class BareStep:
    """`prepare`d and compiled; `run(n)` does n steps on batches that lie on the device."""

    def __init__(self, experiment: Experiment) -> None:
        setup = prepare(experiment)
        reading = Reading(batch_size=experiment.batch_size, rows=setup.rows)
        batches = train_batches(experiment.train_source, reading, seed=0)
        place = partial(place_batch, mesh=setup.mesh, batch_size=experiment.batch_size)
        self._batches = [place(next(batches)) for _ in range(4)]
        self._state = setup.init()
        self._step = setup.train_step
        self.run(2)  # compiles

    def run(self, steps: int, *, wait_every: int = 25) -> None:
        """Returns when the last step is done; dispatch runs `wait_every` steps ahead at most."""
        for index in range(steps):
            batch = self._batches[index % len(self._batches)]
            self._state, report = self._step(self._state, batch)
            if index % wait_every == wait_every - 1:
                jax.block_until_ready(report)
        jax.block_until_ready(report)
