"""RetinaNet on scenes of handwritten digits: made as they are asked for, nothing to download.

Lin et al. 2017, "Focal loss for dense object detection", https://arxiv.org/abs/1708.02002. A
narrow ResNet-18 from scratch, a pyramid of three levels (strides 8, 16, 32), anchors of 16 to 102
pixels, pictures of 128 pixels with 1 to 12 digits of 10 classes.

    python launch.py --config configs/detection/retinanet_scenes.py --workdir runs/retinanet_scenes
    ... --config configs/detection/retinanet_scenes.py:steps=600

1,040,078 parameters. Measured so far, of the second command, stopped before its end: on the 500
test scenes AP50 0.048 after 200 steps and 0.077 after 400 of 600 (6,400 pictures; AP 0.037, recall
at IoU 0.5 0.42 with the right class), the loss still falling from 1.6 to 0.61; 11 minutes at 8 to
20 pictures a second on 2 CPU cores that others were using. Far from trained: most errors are boxes
with the wrong digit. Neither a whole run nor the default 800 steps has been measured.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`backbone=resnet18` (any with maps of strides 8 and 16), `steps=800`, `batch=16`, `smoke`."""
    options = parse_arg(arg, backbone="resnet18", steps=800, batch=16, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="retinanet",
        backbone=dict(name=options.backbone),
        strides=(8, 16),
        extra_levels=1,
        anchor_sizes=(16, 32, 64),
        width=64,
        tower_depth=2,
        tower_norm="group",
    )
    if options.backbone == "resnet18":
        config.model.backbone.width = 16
    config.task = dict(name="detection", candidates=300, max_detections=30)
    config.data = dict(
        name="scenes",
        image_size=128,
        channels=3,
        batch_size=options.batch,
        mean=0.5,
        std=0.25,
    )
    config.optim = dict(
        name="adamw",
        lr=2e-3,
        weight_decay=1e-4,
        clip_norm=10.0,
        schedule=dict(name="cosine", warmup=0.3),
    )
    config.evals = dict(test=dict(split="test", every=400))
    config.train = dict(
        steps=options.steps, log_every=20, checkpoint_every=400, monitor="test/AP50"
    )
    if options.smoke:
        config.model.backbone.update(width=8, stage_sizes=(1, 1, 1))
        config.model.update(width=8, tower_depth=1, tower_norm="none", octave_scales=1)
        config.data.update(image_size=64, batch_size=4, options=dict(num_examples=8))
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
