"""RetinaNet on scenes of handwritten digits: made as they are asked for, nothing to download.

Lin et al. 2017, "Focal loss for dense object detection", https://arxiv.org/abs/1708.02002. A
narrow ResNet-18 without its last stage, from scratch, a pyramid of strides 4, 8 and 16; pictures of
96 pixels with 1 to 12 digits of 10 classes.

    python launch.py --config configs/detection/retinanet_scenes.py --workdir runs/retinanet_scenes

519,028 parameters. Measured, seed 0, 2 CPU cores (AMD EPYC): AP50 0.802 on the 500 test scenes (AP
0.524, recall at IoU 0.5 0.91), 30 min 19 s beside other work; at the pace of the fastest tenth of
the log's lines the 64,000 pictures would have taken 9.7 minutes. AP50 was 0.26 after 1000 steps,
0.59 after 2000, 0.73 after 4000, 0.80 after 7000.

Nearly all that is wrong is the digit: of the best detections 76% are right, 21% are boxes with
another digit, 3% are badly placed, 0.03% are background. An 8 is found worst (AP50 0.68), a 6 best
(0.88). `:size=128,alpha=0.5,gamma=1 --config.model.backbone.width=16` has larger pictures, as
Faster R-CNN's config has, and attends less to the background (docs/detection.md): AP50 0.867, 38
min 8 s beside other work, 13.7 minutes at the pace of the fastest tenth.
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
