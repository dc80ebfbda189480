"""YOLOv3 on scenes of handwritten digits: made as they are asked for, nothing to download.

Redmon & Farhadi 2018, "YOLOv3", https://arxiv.org/abs/1804.02767. A narrow and shallow Darknet-53
from scratch, grids of strides 8 and 16 with three anchors each, which are clusters of the training
scenes' boxes (`cvjax.ops.anchor_clusters`, mean IoU with the best 0.85); pictures of 128 pixels
with digits of 10 classes, 12 to 24 of them in training and 1 to 12 in the test split.

    python launch.py --config configs/detection/yolov3_scenes.py --workdir runs/yolov3_scenes

1,024,446 parameters. Measured, seed 0, 2 CPU cores (AMD EPYC): AP50 0.928 on the 500 test scenes
(AP 0.558, recall at IoU 0.5 0.97), 19 minutes. AP50 was 0.11 after 1000 steps, 0.68 after 2000,
0.896 after 4000, 0.927 after 6000. Of the best detections 89% are right, 10% are boxes with another
digit, 1% are badly placed, none is background; boxes are looser than the other detectors' (AP75
0.63, Faster R-CNN's 0.81).

With 1 to 12 digits in training, too, and 2500 steps of 16 pictures AP50 was 0.826.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

ANCHORS = (((9.6, 16.0), (12.1, 19.3), (15.2, 22.9)), ((18.7, 28.0), (22.1, 35.2), (28.3, 41.0)))


def get_config(arg: str = "") -> ConfigDict:
    """`backbone=darknet53` (any with maps of strides 8 and 16), `steps`, `batch`, `lr`, `smoke`."""
    options = parse_arg(arg, backbone="darknet53", steps=7000, batch=8, lr=1.5e-3, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="yolo_v3",
        backbone=dict(name=options.backbone),
        strides=(8, 16),
        anchors=ANCHORS,
        width=128,
    )
    if options.backbone == "darknet53":
        config.model.backbone.update(width=12, stage_sizes=(1, 1, 2, 2))
    config.task = dict(name="yolo", candidates=300, max_detections=30)
    config.data = dict(
        name="scenes",
        image_size=128,
        channels=3,
        batch_size=options.batch,
        mean=0.5,
        std=0.25,
        # Training pictures are crowded: 17.6 digits teach more than the test pictures' 6.8.
        options=dict(
            num_examples={"train": 100000},
            min_objects={"train": 12},
            max_objects={"train": 24},
        ),
    )
    config.optim = dict(
        name="adamw",
        lr=options.lr,
        weight_decay=1e-4,
        clip_norm=50.0,
        schedule=dict(name="cosine", warmup=0.1),
    )
    config.evals = dict(test=dict(split="test", every=1000))
    config.train = dict(
        steps=options.steps, log_every=20, checkpoint_every=1000, monitor="test/AP50"
    )
    if options.smoke:
        config.model.backbone.update(width=4, stage_sizes=(1, 1, 1, 1))
        config.model.width = 8
        config.data.update(image_size=64, batch_size=4)
        config.data.options = dict(num_examples=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
