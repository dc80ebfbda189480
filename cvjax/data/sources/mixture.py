"""Points of the plane from a mixture of Gaussians: modes that can be counted.

Eight on a ring or twenty-five on a grid are where generators are seen to leave modes out (Metz et
al. 2017, "Unrolled generative adversarial networks", https://arxiv.org/abs/1611.02163, section
3.1; Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, figure 2).
"""

import dataclasses

import numpy as np

from cvjax.data.source import InMemory, InMemoryData, SourceInfo

SPLIT_SIZES = {"train": 50_000, "validation": 5_000, "test": 5_000}
LAYOUTS = ("ring", "grid")
# Of the ring, and half the side of the grid, around the middle of the unit square.
RADIUS = 0.35


@dataclasses.dataclass(frozen=True)
class Mixture(InMemory):
    """Points as pictures of one pixel: `image` float32 [1, 1, 2], x and y; `label`, the mode.

    All lie in the unit square (further than `RADIUS` from its middle only by their noise), so
    that they pass for values of a picture. Every split is drawn with its own numbers.

    Attributes:
        layout: "ring" around the middle, or "grid", which needs a square number of modes.
        modes: how many, all equally likely.
        std: standard deviation of each mode, in both directions, in sides of the square.
        num_examples: None for 50,000 of "train", 5,000 of the others.
    """

    split: str
    _: dataclasses.KW_ONLY
    layout: str = "ring"
    modes: int = 8
    std: float = 0.01
    num_examples: int | None = None
    seed: int = 0

    def _load(self) -> InMemoryData:
        problems = []
        if self.split not in SPLIT_SIZES:
            problems.append(f"unknown split {self.split!r}; known: {list(SPLIT_SIZES)}.")
        if self.layout not in LAYOUTS:
            problems.append(f"layout={self.layout!r}: use one of {LAYOUTS}.")
        if self.modes < 1 or (self.layout == "grid" and round(self.modes**0.5) ** 2 != self.modes):
            problems.append(f"modes={self.modes}: use 1 or more, for a grid a square number.")
        if not 0 < self.std <= 0.05:
            problems.append(f"std={self.std}: use more than 0 and at most 0.05 of the square.")
        if self.num_examples is not None and self.num_examples < 1:
            problems.append(f"num_examples={self.num_examples} must be at least 1.")
        if problems:
            raise ValueError("\n".join(f"mixture: {problem}" for problem in problems))
        count = self.num_examples or SPLIT_SIZES[self.split]
        rng = np.random.default_rng([self.seed, list(SPLIT_SIZES).index(self.split)])
        labels = rng.integers(self.modes, size=count).astype(np.int32)
        noise = self.std * rng.standard_normal((count, 2))
        points = np.clip(self.centres()[labels] + noise, 0.0, 1.0).astype(np.float32)
        names = tuple(f"mode {i}" for i in range(self.modes))
        info = SourceInfo(f"mixture[{self.split}]", names, self.modes, (1, 1, 2))
        return InMemoryData(points.reshape(-1, 1, 1, 2), labels, info)

    def centres(self) -> np.ndarray:
        """float64 [modes, 2], in the order of the labels."""
        if self.layout == "ring":
            angle = 2 * np.pi * np.arange(self.modes) / self.modes
            return 0.5 + RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        side = round(self.modes**0.5)
        ticks = np.linspace(-RADIUS, RADIUS, side) if side > 1 else np.zeros(1)
        return 0.5 + np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
