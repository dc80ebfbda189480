"""Tree crowns in another region, from some 570 boxes: what ImageNet's weights are worth.

The photographs are two of Weinstein et al. 2019 ("Individual tree-crown detection in RGB imagery
using semi-supervised deep learning neural networks", https://doi.org/10.3390/rs11111309), 15 km
apart: a RetinaNet learns from the windows of the one and is judged on those of the other. The last
evaluation counts, so that nothing is chosen on the test split.

    pip install --no-deps deepforest==2.1.0
    python -m experiments --run weinstein2019_tree_crowns
"""

from typing import Any

from experiments.claim import Claim, Row, Training, difference, last, training_minutes

CONFIG = "configs/detection/retinanet_deepforest.py"
SEEDS = (0,)
FRESH = ":backbone=efficientnet_lite0,steps=600"
TRAINED = f"{FRESH},trained"
_ap50 = last("test/AP50")


def _row(name: str, expected: float, measure: Any, *variants: str, **more: Any) -> Row:
    """One repetition a seed, each with a run of every variant."""
    repetitions = tuple(
        tuple(Training(f"{CONFIG}{variant}", (f"--config.seed={seed}",)) for variant in variants)
        for seed in SEEDS
    )
    fields = {"relation": "at least", "unit": "AP50", "repetitions": repetitions}
    return Row(name, expected, measure, **fields | more)


CLAIM = Claim(
    statement="ImageNet's weights help a detector of tree crowns that has 570 boxes to learn from",
    source="Weinstein et al. 2019's photographs; Girshick et al. 2014 for the claim",
    rows=(
        _row("EfficientNet-Lite0 with ImageNet's weights", 0.35, _ap50, TRAINED),
        _row("EfficientNet-Lite0 from scratch", 0.0, _ap50, FRESH, note="for comparison"),
        _row(
            "ImageNet's weights over random ones, EfficientNet-Lite0",
            0.05,
            difference("test/AP50"),
            TRAINED,
            FRESH,
        ),
        _row(
            "minutes of training with ImageNet's weights",
            20,
            training_minutes,
            TRAINED,
            relation="at most",
            unit="minutes",
            holds=False,
            note="on cores that a test suite used",
        ),
    ),
)
