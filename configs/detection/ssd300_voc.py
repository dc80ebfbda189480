"""SSD300 and SSD512 with VGG-16 on PASCAL VOC 2007 and 2012, with the paper's recipe.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", https://arxiv.org/abs/1512.02325, sections
2.2 and 3.1, and its code: trained on both years' trainval, tested on 2007's test; 32 images a step,
learning rate 1e-3, divided by 10 at 80,000 and 100,000 of 120,000 steps (with the augmentation that
zooms out; half as many without), momentum 0.9, weight decay 5e-4; photometric distortion, zooming
out, crops by IoU, flips. Published: VOC 2007 mAP 74.3 (SSD300) and 76.8 (SSD512), with zooming out
77.2 and 79.8.

    python launch.py --config configs/detection/ssd300_voc.py --workdir runs/ssd300_voc
    ... --config configs/detection/ssd300_voc.py:size=512
    ... --config configs/detection/ssd300_voc.py:backbone_from=runs/vgg16

`data.path` names the years' folders, VOCdevkit/VOC2007 with the test set unpacked into it;
docs/detection_data.md says how TFDS's `voc` is read instead.
`backbone_from` is the workdir of a VGG-16 trained on ImageNet, as by
`configs/classification/vgg_imagenet.py`, whose convolutions are taken and all learnt further. Not
run here: it takes about a day of one accelerator.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`size=300|512`, `batch=32`, `backbone_from=WORKDIR`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, size=300, batch=32, backbone_from="", dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=f"ssd{options.size}_vgg16", num_classes=20, dtype=options.dtype)
    config.task = dict(name="multibox_detection", min_score=0.01, nms_iou=0.45, max_detections=200)
    config.data = dict(
        name="voc",
        path=("VOCdevkit/VOC2007", "VOCdevkit/VOC2012"),
        train_split="trainval",
        image_size=options.size,
        channels=3,
        batch_size=options.batch,
        augment=dict(
            zoom_out=dict(p=0.5),
            iou_crop={},
            horizontal_flip=dict(p=0.5),
            color_jitter=dict(brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05),
            resample=dict(value=0.5),
        ),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
        # The paper's resize to the square changes the aspect.
        options=dict(fit="stretch", max_objects=64),
    )
    config.optim = dict(
        name="momentum",
        lr=1e-3 * options.batch / 32,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(
            name="piecewise", unit="fraction", milestones=(8 / 12, 10 / 12), warmup=1 / 120
        ),
    )
    config.evals = dict(test=dict(split="test", every=10_000))
    config.train = dict(
        steps=120_000 * 32 // options.batch,
        log_every=100,
        checkpoint_every=5000,
        monitor="test/voc2007_AP50",
    )
    if options.backbone_from:
        config.train.init_from = options.backbone_from
        config.train.init_rules = (("backbone/(.*)", r"\1"), (".*", None))
    if options.smoke:
        config.model = dict(
            name="ssd",
            backbone=dict(name="resnet18", width=8, stage_sizes=(1, 1, 1)),
            scales=(0.1, 0.3, 0.6),
            aspects=((2,), (2, 3)),
        )
        config.data.update(name="scenes", path=(), image_size=64, batch_size=4, workers=0)
        config.data.options = dict(num_examples=8)
        del config.data.train_split
        config.optim.schedule = dict(name="constant")
        config.evals = dict(test=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
