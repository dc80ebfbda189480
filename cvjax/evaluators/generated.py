"""Generated pictures beside real ones, through the eyes of a finished network, the judge.

    evaluator = Generated(task=task, transform=transform, judge=judge, count=5000)
    results = evaluator.run(variables, batches)
    results.scalars["frechet_distance"], results.scalars["confidence"]

Every figure is the judge's: distances of its features (a small classifier's, EfficientNet-Lite0's)
are no FID or KID of the literature, which are Inception-v3's, and compare with nothing but
themselves.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import clu.metrics
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from cvjax.evaluators.batches import Batch, Batches, Results
from cvjax.metrics import generation
from cvjax.ops.compiling import compiler_options

FEATURE_SCALARS = (
    "frechet_distance", "kernel_distance", "kernel_distance_std",
    "precision", "recall", "density", "coverage",
)  # fmt: skip
CLASS_SCALARS = ("confidence", "class_score", "class_entropy", "smallest_class", "largest_class")
SHOWN_PER_CLASS = 10


@dataclass(frozen=True)
class Judge:
    """A finished network that looks at pictures.

    Attributes:
        name: what it is, for messages and records.
        variables: its own.
        look: (variables, images [B, H, W, C] in [0, 1]) -> {"features": [B, D], "logits": [B, K]};
            preprocessing inside. No logits where it has none.
        names_classes: whether its classes are those of the data that is evaluated.
    """

    name: str
    variables: Any
    look: Callable[[Any, jax.Array], Mapping[str, jax.Array]]
    names_classes: bool


@dataclass(frozen=True)
class Generated:
    """Draws pictures by a fixed key and compares what the judge sees with the split's.

    Scalars: `frechet_distance` (FID's formula), `kernel_distance` and its standard deviation over
    subsets (KID's), `precision`, `recall`, `density`, `coverage`; and where the judge names the
    data's classes `confidence` (mean probability of the likeliest class), `class_score` (the
    Inception score's formula), `class_entropy` (1 where all classes come equally often),
    `smallest_class` and `largest_class` (shares). Array: `class_shares` [K]. Pictures: those that
    are named each class, a row a class. See `cvjax.metrics.generation`.

    Attributes:
        task: has `sample(variables, key, count)` -> {"image": [N, H, W, C] in [0, 1], ...}.
        transform: preprocessing, which the judge does not want: it has its own.
        count: pictures drawn.
        real_count: examples of the split that they are compared with, its first ones.
        batch_size: pictures drawn at a time.
        neighbours: k of precision, recall, density and coverage.
        subset_size: of the kernel distance.
        seed: of the key.
    """

    task: Any
    transform: Callable[[Batch], Batch]
    judge: Judge
    count: int = 5000
    real_count: int = 5000
    batch_size: int = 250
    neighbours: int = 5
    subset_size: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        fields = ("count", "real_count", "batch_size", "neighbours", "subset_size")
        problems = [
            f"{name}={getattr(self, name)}: it has to be at least 1."
            for name in fields
            if getattr(self, name) < 1
        ]
        if min(self.count, self.real_count) <= self.neighbours:
            problems.append(
                f"neighbours={self.neighbours} needs more pictures than count={self.count} and "
                f"real_count={self.real_count}."
            )
        if self.subset_size < 2:
            problems.append("subset_size: a kernel distance needs two examples and more.")
        if problems:
            raise ValueError("\n".join(f"generated: {problem}" for problem in problems))

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """Raises ValueError if the split has too few examples, or features are not finite."""
        del num_examples
        real = self._reader.run(self.judge.variables, self._first(batches)).predictions
        made = self.drawn(variables)
        scalars = self._feature_figures(
            real["features"].astype(np.float64), made["features"].astype(np.float64)
        )
        arrays, pictures = {}, {}
        if self.judge.names_classes:
            found = generation.class_figures(made["logits"])
            scalars |= {
                "confidence": found.confidence,
                "class_score": found.score,
                "class_entropy": found.entropy,
                "smallest_class": float(found.shares.min()),
                "largest_class": float(found.shares.max()),
            }
            arrays["class_shares"] = found.shares
            pictures["image"] = _by_class(made["image"], made["logits"])
        return Results(scalars, arrays, len(made["features"]), pictures=pictures)

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """The names that `run` will find scalars for, after a look at shapes."""
        jax.eval_shape(
            self._draw, variables, self.judge.variables, jax.eval_shape(lambda: jax.random.key(0))
        )
        jax.eval_shape(self._look, self.judge.variables, dict(batch))
        return FEATURE_SCALARS + (CLASS_SCALARS if self.judge.names_classes else ())

    def drawn(self, variables: Any) -> dict[str, np.ndarray]:
        """`count` pictures on the host: `image`, and the judge's `features` and `logits`."""
        program, key, chunks = self._program(variables), jax.random.key(self.seed), []
        for i in range(-(-self.count // self.batch_size)):
            chunk = program(variables, self.judge.variables, jax.random.fold_in(key, i))
            chunks.append(jax.device_get(chunk))
        return {
            name: np.concatenate([chunk[name] for chunk in chunks])[: self.count]
            for name in chunks[0]
        }

    def _feature_figures(self, real: np.ndarray, made: np.ndarray) -> dict[str, float]:
        kernel, spread = generation.kernel_distance(real, made, subset_size=self.subset_size)
        manifold = generation.manifold_figures(real, made, k=self.neighbours)
        return {
            "frechet_distance": generation.frechet_distance(
                generation.fitted_gaussian(real), generation.fitted_gaussian(made)
            ),
            "kernel_distance": kernel,
            "kernel_distance_std": spread,
            **manifold._asdict(),
        }

    def _first(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """As many batches as hold `real_count` valid examples; what is more is marked invalid."""
        left = self.real_count
        for batch in batches:
            valid = batch.get("valid", np.ones(len(batch["image"]), bool))
            before = jnp.cumsum(valid) - valid
            yield {**batch, "valid": valid & (before < left)}
            left -= int(jnp.sum(valid))
            if left <= 0:
                return

    def _draw(self, variables: Any, judge: Any, key: Any) -> dict[str, jax.Array]:
        image = self.task.sample(variables, key, self.batch_size)["image"]
        return {"image": image, **self.judge.look(judge, image)}

    def _look(self, judge: Any, batch: Batch) -> dict[str, jax.Array]:
        image = batch["image"]
        if image.dtype == jnp.uint8:
            image = image.astype(jnp.float32) / 255.0
        return {"features": self.judge.look(judge, image)["features"]}

    @cached_property
    def _reader(self) -> Batches:
        return Batches(self._look, clu.metrics.Collection.create(), keep=("features",))

    def _program(self, variables: Any) -> Callable[..., dict[str, jax.Array]]:
        """Compiled once a mesh; each process gets all rows."""
        shardings = [x.sharding for x in jax.tree.leaves(variables) if isinstance(x, jax.Array)]
        mesh = next((s.mesh for s in shardings if isinstance(s, NamedSharding)), None)
        if mesh not in self._programs:
            layout = {} if mesh is None else {"out_shardings": NamedSharding(mesh, PartitionSpec())}
            self._programs[mesh] = jax.jit(
                self._draw, compiler_options=compiler_options(), **layout
            )
        return self._programs[mesh]

    @cached_property
    def _programs(self) -> dict[Any, Callable[..., dict[str, jax.Array]]]:
        return {}


def _by_class(images: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """[K, 10, H, W, C]: the first pictures that are named each class; grey where there are none."""
    named = logits.argmax(axis=1)
    rows = np.full((logits.shape[1], SHOWN_PER_CLASS, *images.shape[1:]), 0.5, images.dtype)
    for label, row in enumerate(rows):
        first = np.flatnonzero(named == label)[:SHOWN_PER_CLASS]
        row[: len(first)] = images[first]
    return rows
