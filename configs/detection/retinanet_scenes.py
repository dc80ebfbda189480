"""RetinaNet on scenes of handwritten digits: made as they are asked for, nothing to download.

Lin et al. 2017, "Focal loss for dense object detection", https://arxiv.org/abs/1708.02002. A
narrow ResNet-18 without its last stage, from scratch, a pyramid of strides 4, 8 and 16; pictures of
128 pixels with digits of 10 classes, 12 to 24 of them in training and 1 to 12 in the test split.

    python launch.py --config configs/detection/retinanet_scenes.py --workdir runs/retinanet_scenes

298,284 parameters. Measured, seed 0, 2 CPU cores (AMD EPYC): AP50 0.901 on the 500 test scenes (AP
0.595, recall at IoU 0.5 0.97), 18 minutes. AP50 was 0.54 after 1000 steps, 0.80 after 2000, 0.88
after 4000, 0.90 after 5000. Of the best detections 86% are right, 12% are boxes with another digit,
2% are badly placed, none is background.

What made the difference is how many digits a picture teaches: with 1 to 12 in training, too, 8000
steps of the same network gave AP50 0.867; on 96 pixels (`size=96,width=24`) 2000 steps gave 0.52
and 0.72. Alpha and gamma attend less to the background than the paper's 0.25 and 2.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`backbone=resnet18` (any with maps of strides 4 to 16), `width=16` (of resnet18), `size=128`
    (pixels), `alpha=0.5` and `gamma=1` of the focal loss, `steps`, `batch`, `lr`, `smoke`."""
    options = parse_arg(
        arg, backbone="resnet18", width=16, size=128, alpha=0.5, gamma=1.0, steps=7000, batch=8,
        lr=1.5e-3, smoke=False,
    )  # fmt: skip
    config = ConfigDict()
    config.seed = 0
    # In 96 pixels digits are 6 to 33 large (the root of their area; half of them below 15) and 1.5
    # times as tall as wide. Strides 8 to 32 with anchors from 16 pixels on, three aspects and sizes
    # each, overlap 67% of them by an IoU of 0.5; these, of one aspect and two sizes, 98%.
    config.model = dict(
        name="retinanet",
        backbone=dict(name=options.backbone),
        strides=(4, 8, 16),
        extra_levels=0,
        anchor_sizes=tuple(share * options.size for share in (3 / 32, 3 / 16, 3 / 8)),
        octave_scales=2,
        aspects=(1.5,),
        width=48,
        tower_depth=1,
        tower_norm="group",
    )
    if options.backbone == "resnet18":
        config.model.backbone.update(width=options.width, stage_sizes=(2, 2, 2))
    config.task = dict(
        name="detection",
        alpha=options.alpha,
        gamma=options.gamma,
        candidates=300,
        max_detections=30,
    )
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
        config.model.update(width=8, octave_scales=1)
        config.data.update(image_size=64, batch_size=4)
        config.data.options = dict(num_examples=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
