"""A frozen network run over a source once, for what keeps its features (`data.features`)."""

import time
from functools import cached_property, partial

import jax
import numpy as np

from cvjax.data.pipeline import Prefetch, eval_batches
from cvjax.data.source import Source
from cvjax.evaluators.features import FeatureReader
from cvjax.train.experiment import Experiment
from cvjax.train.progress import log
from cvjax.train.restore import initial_state
from cvjax.train.setup import Setup, prepare, whole_reading
from cvjax.train.sharding import place_batch


class FeatureExtractor:
    """Source -> (features float32 [N, D], labels int32 [N]) by the network of `experiment`.

    The network starts as a run of that experiment would (`train.init_from`, its rules) and sees
    images as evaluation does. Made and compiled when it is first needed, once for all sources.

    Raises:
        ValueError: when called, as `initial_state` and `FeatureReader.read`.
    """

    def __init__(self, experiment: Experiment, feature: str, *, average: bool = False) -> None:
        self.experiment = experiment
        task, transform = experiment.task, experiment.eval_transform
        self._reader = FeatureReader(
            lambda variables, batch: task.features(variables, transform(batch)), feature, average
        )

    @cached_property
    def width(self) -> int:
        """D, from shapes alone."""
        return self._reader.width(self._setup.state_shapes.evaluation_variables, self._example)

    def __call__(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        experiment, started = self.experiment, time.monotonic()
        reading = whole_reading(experiment, self._setup.rows, experiment.eval_view)
        place = partial(place_batch, mesh=self._setup.mesh, batch_size=experiment.batch_size)
        with Prefetch(eval_batches(source, reading), place) as batches:
            rows = self._reader.read(self._variables, batches, num_examples=len(source))
        seconds = time.monotonic() - started
        log.info("features [%d, %d] in %.1f s", *rows.features.shape, seconds)
        return rows.features, rows.labels.astype(np.int32)

    @cached_property
    def _setup(self) -> Setup:
        return prepare(self.experiment)

    @property
    def _example(self) -> dict[str, np.ndarray]:
        return dict(self._setup.example)

    @cached_property
    def _variables(self) -> dict[str, jax.Array]:
        return initial_state(self.experiment, self._setup.init()).evaluation_variables
