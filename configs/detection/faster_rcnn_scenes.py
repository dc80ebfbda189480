"""Faster R-CNN on scenes of handwritten digits: made as they are asked for, nothing to download.

Ren et al. 2015, "Faster R-CNN", https://arxiv.org/abs/1506.01497, on a feature pyramid (Lin et al.
2016, https://arxiv.org/abs/1612.03144). A narrow ResNet-18 from scratch, a pyramid of strides 4, 8
and 16, regions read at stride 4; pictures of 128 pixels with digits of 10 classes, 12 to 24 of them
in training and 1 to 12 in the test split.

    python launch.py --config configs/detection/faster_rcnn_scenes.py --workdir runs/faster_rcnn

590,465 parameters. Measured, seed 0, 2 CPU cores (AMD EPYC): AP50 0.923 on the 500 test scenes (AP
0.647, recall at IoU 0.5 0.97), 17 minutes. Of the best detections 88% are right, 9% are boxes with
another digit, 2% are background, 1% are badly placed. With 1 to 12 digits in training, too, AP50
was 0.908.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`backbone=resnet18` (any with maps of strides 4 to 16), `steps`, `batch`, `lr`, `smoke`."""
    options = parse_arg(arg, backbone="resnet18", steps=4000, batch=16, lr=2e-3, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="fasterrcnn",
        backbone=dict(name=options.backbone),
        strides=(4, 8, 16),
        # Digits are 8 to 44 pixels large, the root of their area, and 1.5 times as tall as wide.
        anchor_sizes=((12, 17), (24, 34), (48, 68), (96, 136)),
        aspects=(1.5,),
        width=48,
        hidden=128,
        roi_size=7,
        roi_samples=1,
        roi_aligned=True,
    )
    if options.backbone == "resnet18":
        config.model.backbone.update(width=16, stage_sizes=(2, 2, 2))
    config.task = dict(
        name="two_stage_detection",
        rpn_high=0.5,
        rpn_samples=128,
        train_candidates=200,
        candidates=200,
        train_proposals=64,
        proposals=64,
        roi_samples=32,
        roi_positive_share=0.5,
        max_detections=30,
    )
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
        clip_norm=10.0,
        schedule=dict(name="cosine", warmup=0.1),
    )
    config.evals = dict(test=dict(split="test", every=1000))
    config.train = dict(
        steps=options.steps, log_every=20, checkpoint_every=1000, monitor="test/AP50"
    )
    if options.smoke:
        config.model.backbone.update(width=8, stage_sizes=(1, 1, 1))
        config.model.update(width=8, hidden=8, roi_size=3)
        config.task.update(candidates=20, train_candidates=20, proposals=8, train_proposals=8)
        config.task.update(roi_samples=8)
        config.data.update(image_size=64, batch_size=4)
        config.data.options = dict(num_examples=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
