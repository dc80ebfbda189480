"""RetinaNet with a ResNet-50 on COCO, with the paper's recipe.

Lin et al. 2017, "Focal loss for dense object detection", https://arxiv.org/abs/1708.02002: 16
images a step, 90,000 steps, learning rate 0.01, divided by 10 at 60,000 and 80,000, momentum 0.9,
weight decay 1e-4, horizontal flips, pictures of 800 pixels. Published: AP 35.7 (table 1e, ResNet-50
at 800); torchvision's reference recipe of 26 epochs gives 36.4 on val2017.

    python launch.py --config configs/detection/retinanet_coco.py --workdir runs/retinanet_coco \\
        --config.data.path=coco                  # annotations/, train2017/, val2017/
    ... --config configs/detection/retinanet_coco.py:backbone_from=runs/r50
    ... --config configs/detection/retinanet_coco.py:tfds    # as TFDS prepares coco/2017
    ... --config configs/detection/retinanet_coco.py:matching=atss

Differs from the paper: pictures are brought to a square of 800 pixels with their aspect kept, so
that shapes are static; its shorter side would be 800. `backbone_from` is the workdir of a ResNet-50
trained on ImageNet, as by `configs/classification/resnet50_imagenet.py`: stem and first stage are
frozen then, and all of the backbone's norms. Without it everything is learnt from scratch, for
which this schedule is too short (He et al. 2018, https://arxiv.org/abs/1811.08883).
Not run here: it takes days of one accelerator.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

# Of a backbone that has been trained: its early layers and all of its norms stay as they are.
FROZEN = "backbone/(stem_.*|stage1_.*|.*norm.*)"


def get_config(arg: str = "") -> ConfigDict:
    """`batch=16`, `backbone_from=WORKDIR`, `matching=max_iou|atss`, `tfds`, `dtype`, `smoke`."""
    options = parse_arg(
        arg,
        batch=16,
        backbone_from="",
        matching="max_iou",
        tfds=False,
        dtype="float32",
        smoke=False,
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="retinanet_resnet50_fpn", num_classes=80, dtype=options.dtype)
    config.task = dict(name="detection", matching=options.matching)
    if options.matching == "atss":
        config.task.atss_candidates = 9
    config.data = dict(
        name="coco",
        path="coco",
        train_split="train2017",
        image_size=800,
        channels=3,
        batch_size=options.batch,
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
        options=dict(max_objects=100),
    )
    config.optim = dict(
        name="momentum",
        lr=0.01 * options.batch / 16,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        # 60,000 and 80,000 of 90,000 steps, after 1000 to warm up.
        schedule=dict(
            name="piecewise", unit="fraction", milestones=(6 / 9, 8 / 9), factor=0.1, warmup=1 / 90
        ),
    )
    config.evals = dict(val=dict(split="val2017", every=10_000))
    config.train = dict(
        steps=90_000 * 16 // options.batch, log_every=100, checkpoint_every=5000, monitor="val/AP"
    )
    if options.tfds:
        config.data.update(name="tfds_boxes/coco/2017", path="", train_split="train")
        config.evals.val.split = "validation"
    if options.backbone_from:
        config.train.init_from = options.backbone_from
        config.train.init_rules = (("backbone/(.*)", r"\1"), (".*", None))
        config.optim.groups = ((FROZEN, None), (".*", {}))
    if options.smoke:
        config.model = dict(
            name="retinanet",
            backbone=dict(name="resnet18", width=8, stage_sizes=(1, 1, 1, 1)),
            width=8,
            octave_scales=1,
        )
        config.data = dict(name="scenes", image_size=64, batch_size=4, mean=0.5, std=0.25)
        config.data.options = dict(num_examples=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(val=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="val/AP")
    return config
