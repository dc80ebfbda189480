"""SSD on scenes of handwritten digits: made as they are asked for, nothing to download.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", https://arxiv.org/abs/1512.02325. A narrow
ResNet-18 without its last stage, from scratch, default boxes on its maps of strides 4, 8 and 16;
pictures of 128 pixels with digits of 10 classes, 12 to 24 of them in training and 1 to 12 in the
test split.

    python launch.py --config configs/detection/ssd_scenes.py --workdir runs/ssd_scenes

537,612 parameters. Measured, seed 0, 2 CPU cores (AMD EPYC): AP50 0.928 on the 500 test scenes (AP
0.652, recall at IoU 0.5 0.97), 19 minutes. AP50 was 0.45 after 1000 steps, 0.84 after 2000, 0.915
after 4000, 0.927 after 6000. Of the best detections 88% are right, 10% are boxes with another
digit, 1% are badly placed, 0.1% are background.

With 1 to 12 digits in training, too, 96 pixels and 8000 steps AP50 was 0.825; docs/detection.md
says what each change is worth.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`backbone=resnet18` (any with maps of strides 4 to 16), `width=24` (of resnet18), `size=128`
    (pixels), `steps`, `batch`, `lr`, `smoke`."""
    options = parse_arg(
        arg, backbone="resnet18", width=24, size=128, steps=7000, batch=8, lr=1.5e-3, smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    # In 96 pixels squares of 10 to 41 and boxes twice as tall or as wide: 98% of the digits overlap
    # one of them by an IoU of 0.5.
    config.model = dict(
        name="ssd",
        backbone=dict(name=options.backbone),
        strides=(4, 8, 16),
        scales=(0.1, 0.2, 0.36, 0.5),
        aspects=((2,), (2,), (2,)),
    )
    if options.backbone == "resnet18":
        # A place of stride 4 sees 59 pixels, as large as the largest digit.
        config.model.backbone.update(width=options.width, stage_sizes=(3, 3, 2))
    config.task = dict(name="multibox_detection", candidates=50, max_detections=30)
    config.data = dict(
        name="scenes",
        image_size=options.size,
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
        config.data.update(image_size=64, batch_size=4)
        config.data.options = dict(num_examples=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
