"""Sums of latent vectors: "smiling woman" - "woman" + "man" (Radford et al. 2016,
https://arxiv.org/abs/1511.06434, section 6.3.2), with a classifier to choose the examples.

    evaluator = LatentArithmetic(task=task, transform=transform, judge=judge,
                                 plus=(0, 3), minus=(1,))
    results = evaluator.run(variables, batches)
    results.pictures["image"]  # a row for each class of the sum, and one for its result
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvjax.evaluators.batches import Batch, Results
from cvjax.evaluators.generated import Judge
from cvjax.ops.compiling import compiler_options
from cvjax.ops.latent import draw_latent


@dataclass(frozen=True)
class LatentArithmetic:
    """Averages latent vectors of a class, adds and subtracts averages, and shows what comes out.

    For each class the `exemplars` vectors whose pictures the judge is surest of are averaged, as
    single vectors are unstable. A row of the picture shows them and, last, their average's picture;
    the last row the result and neighbours of it, shifted by U(-jitter, jitter) in every value.

    Scalars: `confidence`, the judge's mean probability of the result's likeliest class. Array:
    `class_shares` [K] of 100 shifted results.

    Attributes:
        task: has `model.latent_dim`, `prior` and `generate(variables, latent)`.
        transform: preprocessing, which the judge does not want: it has its own.
        plus, minus: classes, by number.
        exemplars: vectors averaged for each class; the paper's are 3.
        candidates: vectors to choose them from.
        jitter: the paper's 0.25.
        seed: of the key.
    """

    task: Any
    transform: Callable[[Batch], Batch]
    judge: Judge
    plus: tuple[int, ...] = (0,)
    minus: tuple[int, ...] = ()
    exemplars: int = 3
    candidates: int = 1000
    jitter: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not self.judge.names_classes:
            problems.append(f"the judge {self.judge.name!r} has other classes than the data.")
        if not self.plus:
            problems.append("plus: at least one class is needed.")
        if not 1 <= self.exemplars <= self.candidates:
            problems.append(
                f"exemplars={self.exemplars}: use 1 to candidates={self.candidates} of them."
            )
        if self.jitter < 0:
            problems.append(f"jitter={self.jitter}: it can't be negative.")
        if problems:
            raise ValueError("\n".join(f"latent_arithmetic: {problem}" for problem in problems))

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """Raises ValueError if no candidate's picture is named a class of the sum."""
        del batches, num_examples
        key, jitter_key = jax.random.split(jax.random.key(self.seed))
        dim, prior = self.task.model.latent_dim, self.task.prior
        latent = np.asarray(draw_latent(key, self.candidates, dim, prior=prior))
        _, logits = self._seen(variables, latent)
        p = np.asarray(jax.nn.softmax(logits, axis=-1))
        rows, result = [], np.zeros(dim, np.float32)
        for sign, label in [*((1, i) for i in self.plus), *((-1, i) for i in self.minus)]:
            named = np.flatnonzero(p.argmax(axis=1) == label)
            if not len(named):
                raise ValueError(
                    f"latent_arithmetic: none of {self.candidates} pictures is named class {label}."
                )
            best = named[np.argsort(-p[named, label], kind="stable")][: self.exemplars]
            mean = latent[best].mean(axis=0)
            result += sign * mean
            padded = np.concatenate([best, best[:1].repeat(self.exemplars - len(best))])
            rows.append(np.concatenate([latent[padded], mean[None]]))
        shifts = self.jitter * np.asarray(draw_latent(jitter_key, 100, dim, prior="uniform"))
        around = result[None] + shifts
        rows.append(np.concatenate([result[None], around[: self.exemplars]]))
        images, _ = self._seen(variables, np.concatenate(rows))
        _, logits = self._seen(variables, around)
        p = np.asarray(jax.nn.softmax(logits, axis=-1))
        shares = np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)
        return Results(
            scalars={"confidence": float(p.max(axis=1).mean())},
            arrays={"class_shares": shares},
            num_examples=len(around),
            pictures={"image": images.reshape(len(rows), self.exemplars + 1, *images.shape[1:])},
        )

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """The names that `run` will find scalars for, after a look at shapes."""
        del batch
        shape = (1, self.task.model.latent_dim)
        latent = jax.ShapeDtypeStruct(shape, jnp.float32)
        logits = jax.eval_shape(self._look, variables, self.judge.variables, latent)[1]
        outside = [i for i in (*self.plus, *self.minus) if not 0 <= i < logits.shape[-1]]
        if outside:
            raise ValueError(
                f"latent_arithmetic: classes {outside} do not exist; there are {logits.shape[-1]}."
            )
        return ("confidence",)

    def _seen(self, variables: Any, latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return jax.device_get(self._program(variables, self.judge.variables, latent))

    def _look(self, variables: Any, judge: Any, latent: jax.Array) -> tuple[jax.Array, jax.Array]:
        image = self.task.generate(variables, latent)["image"]
        return image, self.judge.look(judge, image)["logits"]

    @cached_property
    def _program(self) -> Callable[..., Any]:
        return jax.jit(self._look, compiler_options=compiler_options())
