"""Small images through an upsampling layer into a network that was trained on large ones.

The course feeds CIFAR's 32x32 pixels to a network of 224 through an upsampling layer. Here it is
scikit-learn's digits, 8x8 pixels, and EfficientNet-Lite0 with ImageNet's weights, frozen; a linear
classifier learns from its features. Enlarged to 32 pixels, the network's last map has one place.

    python -m experiments --run course_upsampling
"""

from typing import Any

from experiments.claim import Claim, Training, difference, gain, last

CONFIG = "configs/transfer/features.py:data=digits,epochs=30"
SEEDS = range(2)
_accuracy, _gain = last("test/accuracy"), difference("test/accuracy")


def _run(seed: int, *, size: int = 224, random: bool = False) -> Training:
    return Training(f"{CONFIG},size={size},seed={seed}{',random' * random}")


LARGE, SMALL, RANDOM = (
    tuple((_run(seed, **options),) for seed in SEEDS)
    for options in ({}, {"size": 32}, {"random": True})
)


def _over(one: Any, other: Any) -> Any:
    return tuple(a + b for a, b in zip(one, other))


CLAIM = Claim(
    statement="Enlarged to 224 pixels, 8x8 digits are read by a frozen network of ImageNet's",
    source="The course's list of transfer recipes",
    rows=(
        gain("digits enlarged to 224 pixels", LARGE, _accuracy, expected=0.9),
        gain("224 pixels over 32", _over(LARGE, SMALL), _gain),
        gain(
            "ImageNet's weights over random ones, 224 pixels",
            _over(LARGE, RANDOM),
            _gain,
        ),
    ),
)
