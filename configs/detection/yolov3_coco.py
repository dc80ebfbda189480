"""YOLOv3 with Darknet-53 on COCO, with the authors' recipe.

Redmon & Farhadi 2018, "YOLOv3: an incremental improvement", https://arxiv.org/abs/1804.02767, and
its yolov3.cfg: 64 images a step, 500,200 steps, learning rate 1e-3 after 1000 steps to warm up,
divided by 10 at 400,000 and 450,000, momentum 0.9, weight decay 5e-4; scaling and translation,
exposure and saturation by up to 1.5, hue by up to 0.1. Published: AP50 55.3 at 416 pixels (fig. 3).

    python launch.py --config configs/detection/yolov3_coco.py --workdir runs/yolov3_coco \
        --config.data.path=coco                  # annotations/, train2017/, val2017/
    ... --config configs/detection/yolov3_coco.py:backbone_from=runs/darknet53
    ... --config configs/detection/yolov3_coco.py:tfds    # as TFDS prepares coco/2017

`backbone_from` is the workdir of a Darknet-53 trained on ImageNet, as by
`configs/classification/darknet_imagenet.py`. Differs from the authors': pictures keep one size,
which they change every 10 steps. Boxes that overlap an object by 0.7 (the cfg; the paper says 0.5)
are not taught to be empty. Not run here: it takes days of several accelerators.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`size=416`, `batch=64`, `backbone_from=WORKDIR`, `tfds`, `dtype=...`, `smoke`."""
    options = parse_arg(
        arg, size=416, batch=64, backbone_from="", tfds=False, dtype="float32", smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="yolo_v3", num_classes=80, dtype=options.dtype)
    config.task = dict(name="yolo", ignore_iou=0.7)
    config.data = dict(
        name="coco",
        path="coco",
        train_split="train2017",
        image_size=options.size,
        channels=3,
        batch_size=options.batch,
        augment=dict(
            scale_jitter=dict(scale=(0.7, 1.3)),
            horizontal_flip=dict(p=0.5),
            color_jitter=dict(brightness=(2 / 3, 1.5), saturation=(2 / 3, 1.5), hue=0.1),
            resample=dict(value=0.5),
        ),
        workers=8,
        options=dict(max_objects=100),
    )
    config.optim = dict(
        name="momentum",
        lr=1e-3 * options.batch / 64,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(
            name="piecewise", unit="fraction", milestones=(0.8, 0.9), warmup=1000 / 500_200
        ),
    )
    config.evals = dict(val=dict(split="val2017", every=10_000))
    config.train = dict(
        steps=500_200 * 64 // options.batch,
        log_every=100,
        checkpoint_every=5000,
        monitor="val/AP50",
    )
    if options.tfds:
        config.data.update(name="tfds_boxes/coco/2017", path="", train_split="train")
        config.evals.val.split = "validation"
    if options.backbone_from:
        config.train.init_from = options.backbone_from
        config.train.init_rules = (("backbone/(.*)", r"\1"), (".*", None))
    if options.smoke:
        config.model.update(num_classes=10, width=8)
        config.model.backbone = dict(name="darknet53", width=4, stage_sizes=(1, 1, 1, 1, 1))
        config.data = dict(name="scenes", image_size=64, batch_size=4)
        config.data.options = dict(num_examples=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(val=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="val/AP50")
    return config
