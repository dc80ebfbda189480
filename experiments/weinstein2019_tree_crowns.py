"""A detector that has seen one picture finds trees in another.

Weinstein et al. 2019, "Individual tree-crown detection in RGB imagery using semi-supervised deep
learning neural networks", https://doi.org/10.3390/rs11111309, report that a RetinaNet finds tree
crowns from few boxes drawn by hand; theirs starts from millions of boxes made by a lidar's
algorithm, ours from nothing. The pictures are the two large ones of Yellowstone that their package
ships, split by region, see `configs/detection/retinanet_deepforest.py`.
"""

from experiments.claim import Claim, Row, Training, last, training_minutes

RUN = Training(config="configs/detection/retinanet_deepforest.py")

CLAIM = Claim(
    statement="A RetinaNet learnt from 574 hand-drawn boxes finds tree crowns in another region",
    source="Weinstein et al. 2019, on the pictures of DeepForest 2.1.0",
    rows=(
        Row("AP50 in the other region", 0.5, last("test/AP50"), training=RUN, relation="at least"),
        Row(
            "recall at IoU 0.5",
            0.6,
            last("test/recall50"),
            training=RUN,
            relation="at least",
        ),
        Row("training time", 15.0, training_minutes, training=RUN, relation="at most", unit="min"),
    ),
)
