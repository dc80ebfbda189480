"""Handwritten digits, 1,797 real 8x8 scans bundled with scikit-learn: nothing to download.

Source: UCI ML hand-written digits (Alpaydin and Kaynak 1998),
https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits
"""

import dataclasses

from cvjax.data.source import InMemory, InMemoryData, in_memory_data, select_part


@dataclasses.dataclass(frozen=True)
class Digits(InMemory):
    """The digits' `split` ("train", "test" or "validation"), 8x8 unless `image_size` is given.

    A seeded split by class: `test_fraction` and `validation_fraction` of each class, rounded. The
    scans count ink from 0 to 16; a pixel is ink * 255 / 16 rounded to nearest (halves up).
    """

    split: str
    _: dataclasses.KW_ONLY
    image_size: int | None = None
    channels: int = 1
    test_fraction: float = 0.2
    validation_fraction: float = 0.0
    seed: int = 0

    def _load(self) -> InMemoryData:
        from sklearn.datasets import load_digits  # here: importing it takes a second

        scans, labels = load_digits(return_X_y=True)
        indices = select_part(
            "digits",
            labels,
            self.split,
            test_fraction=self.test_fraction,
            validation_fraction=self.validation_fraction,
            seed=self.seed,
        )
        ink = scans[indices].astype("uint16")
        images = ((ink * 255 + 8) // 16).astype("uint8").reshape(-1, 8, 8, 1)
        return in_memory_data(
            f"digits[{self.split}]",
            images,
            labels[indices],
            class_names=tuple("0123456789"),
            image_size=self.image_size,
            channels=self.channels,
        )
