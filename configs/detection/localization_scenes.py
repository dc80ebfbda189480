"""Classification with localisation, or landmarks too, on scenes with at most one digit.

The course's first detectors: y = (p_c, b_x, b_y, b_w, b_h, c_1, c_2, c_3), of which p_c alone
counts where there is nothing, and further (x, y) for each of five points of the digit (top, bottom,
left, right, middle). "squared" is the course's squared error for all numbers; the multi-task loss
takes logarithms for p_c and softmax for the classes (Sermanet et al. 2013, "OverFeat",
https://arxiv.org/abs/1312.6229, section 4, regresses boxes beside classes likewise).

    python launch.py --config configs/detection/localization_scenes.py --workdir runs/localization
    ... --config configs/detection/localization_scenes.py:landmarks
    ... --config configs/detection/localization_scenes.py:squared

Measured, 3000 steps each on 2 cores (Intel Xeon), 500 test scenes, one seed:

| variant | time | AP50 | digit or none right | points off, of the box's diagonal |
| --- | ---: | ---: | ---: | ---: |
| default | 2:40 | 0.919 | 99.8% | |
| landmarks | 2:45 | 0.918 | 100% | 0.090 |
| squared | 2:16 | 0.949 | 99.8% | |

The width and `place_weight` matter: with 16 channels in place of 32, AP50 was 0.729, and with 16, a
weight of 1 and 1200 steps 0.307, most misses being boxes of the right class below an IoU of 0.5.
The weight is of the squared error of shares, small beside the classes' loss; with 10, 16 channels
and 1200 steps classes were not learnt at all (0.215, with landmarks).
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`landmarks`, `squared`, `steps=3000`, `smoke`."""
    options = parse_arg(arg, landmarks=False, squared=False, steps=3000, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="localizer",
        backbone=dict(name="resnet18", width=32, stage_sizes=(1, 1, 1)),
        stride=16,
        num_points=5 if options.landmarks else 0,
    )
    config.task = dict(
        name="localization", loss_name="squared" if options.squared else "mixed", place_weight=5.0
    )
    config.data = dict(
        name="scenes",
        image_size=64,
        channels=3,
        batch_size=32,
        mean=0.5,
        std=0.25,
        options=dict(
            classes=("0", "1", "2"),
            min_objects=0,
            max_objects=1,
            size=(0.3, 0.6),
            num_examples={"train": 20000},
        ),
    )
    if options.landmarks:
        config.data.options.targets = ("keypoints",)
    config.optim = dict(
        name="adamw",
        lr=2e-3,
        weight_decay=1e-4,
        clip_norm=10.0,
        schedule=dict(name="cosine", warmup=0.1),
    )
    config.evals = dict(test=dict(split="test", every=600))
    config.train = dict(
        steps=options.steps, log_every=50, checkpoint_every=600, monitor="test/AP50"
    )
    if options.smoke:
        config.model.backbone.update(width=8, stage_sizes=(1, 1))
        config.model.update(stride=8, hidden=8)
        config.data.update(image_size=32, batch_size=4)
        config.data.options.num_examples.update(train=8, test=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
