"""Any source of small images, decoded once into memory, so that it hands over whole batches."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cvjax.data.decode import resize_images, set_channels
from cvjax.data.source import InMemory, InMemoryData, Source, in_memory_data


@dataclasses.dataclass(frozen=True)
class Loaded(InMemory):
    """All examples of `source`: CIFAR-10 from TFDS or from PNG files becomes as fast as arrays.

    Every image is resized to `image_size` (square) where given; without it all must have one
    shape. A bad example raises: what is read once need not be skipped.
    """

    source: Source
    _: dataclasses.KW_ONLY
    image_size: int | None = None
    channels: int | None = None
    threads: int = 4

    def _load(self) -> InMemoryData:
        info = self.source.info
        with ThreadPoolExecutor(self.threads) as pool:
            examples = list(pool.map(self._example, range(len(self.source))))
        shapes = sorted({image.shape for image, _ in examples})
        if len(shapes) > 1:
            raise ValueError(
                f"{info.name}: images of {len(shapes)} shapes, such as {shapes[:3]}; give "
                "image_size and channels to bring them to one."
            )
        return in_memory_data(
            info.name,
            np.stack([image for image, _ in examples]),
            np.array([label for _, label in examples], np.int32),
            class_names=info.class_names,
            num_classes=info.num_classes,
        )

    def _example(self, index: int) -> tuple[np.ndarray, int]:
        example = self.source[index]
        image = example["image"]
        if self.channels is not None:
            image = set_channels(image, self.channels)
        if self.image_size is not None:
            image = resize_images(image[None], self.image_size)[0]
        return image, int(example["label"])

    def describe(self, index: int) -> str:
        return self.source.describe(index)
