"""A new class from 20 pictures, for a RetinaNet that knows eight others: transfer in detection.

RetinaNet is Lin et al. 2017, https://arxiv.org/abs/1708.02002; the recipe is that of TensorFlow's
Object Detection API for few pictures: the trained backbone, pyramid, box head and class tower are
kept, the class output is dropped and begins afresh, and of all variables only some train.

    python launch.py --config configs/detection/retinanet_few_shot.py --workdir runs/few_shot

Two stages. The first trains a small RetinaNet on scenes of the digits 0 to 7. The second gets
exactly 20 scenes, each of which holds the new digit, and learns to detect that class and no other.
With `:alone` these pictures, and the 500 of the test, show the new digit alone, as few pictures of
a new thing do; without it, it is among the eight others, which are background now: harder, because
"some digit" is no answer. `restore.json` of the second stage lists what was loaded, kept fresh and
ignored; `--mode=dry_run` what trains.

    ...:new=9                                 # another new class
    ...:alone                                 # no other digits in the pictures of the new one
    ...:base=runs/few_shot/stage1_base,new=9  # the second stage alone, from a base that is there
    ...:variant=base                          # the first stage alone
    ...:variant=head,base=...                 # only the fresh class output trains
    ...:variant=all,base=...                  # everything trains
    ...:variant=scratch                       # everything trains, from random weights

Measured, one seed, 2 CPU cores (AMD EPYC) beside other work. The base: 48,000 pictures in 5.4
minutes, AP50 0.80 on its eight digits. AP50 of the new class, 8 and 9, each learnt in a minute:

    variant                      alone          among the others
    recipe                       0.917, 0.930   0.216, 0.374
    head                         0.918, 0.929   0.188, 0.366
    all                          0.886, 0.896   0.203, 0.346
    scratch                      0.671, 0.732   0.097, 0.097

26 examples do not tell an 8 from other digits, whatever is trained: of the recipe's best detections
26% are right and 73% on something else. See docs/transfer.md.
"""

from pathlib import Path

from ml_collections import ConfigDict

from cvjax.config import load, parse_arg

PICTURES = 20
# What trains, by variant; everything else is frozen.
TRAINED = {
    "recipe": "(class_tower|class_output)/.*",
    "head": "class_output/.*",
    "all": ".*",
}
VARIANTS = (*TRAINED, "scratch", "base")


def get_config(arg: str = "") -> ConfigDict:
    """`variant=recipe|head|all|scratch|base`, `new=8` and `known=01234567` (digits), `alone`,
    `base` (a workdir: no first stage), `base_steps=3000`, `steps=1000`, `lr`, `batch`, `seed` (of
    the scenes, too), `smoke`."""
    options = parse_arg(
        arg, variant="recipe", new="8", known="01234567", alone=False, base="", base_steps=3000,
        steps=1000, batch=8, lr=2e-3, seed=0, smoke=False,
    )  # fmt: skip
    if options.variant not in VARIANTS:
        raise ValueError(f"--config: variant={options.variant!r}; one of {[*VARIANTS]}.")
    if options.new in options.known or len(options.new) != 1:
        raise ValueError(
            f"--config: new={options.new!r} must be one digit that is not in "
            f"known={options.known!r}."
        )
    scenes = Path(__file__).with_name("retinanet_scenes.py")
    config = load(f"{scenes}:width=24,steps={options.base_steps}{',smoke' * options.smoke}")
    config.seed = options.seed
    # Digits of 12 to 30 pixels, the root of their area: large enough for strides 8 and 16.
    config.model.update(strides=(8, 16), anchor_sizes=(14, 28))
    known = tuple(options.known)
    shown = dict(size=(0.3, 0.6), max_objects=4, seed=options.seed)
    config.data.update(image_size=64, batch_size=16)
    config.data.options = dict(**shown, classes=known, num_examples={"train": 20000})
    # What goes wrong in scenes is the digit, not the background: the focal loss attends to that
    # less, and more to which class it is, than with the paper's 0.25 and 2.
    config.task.update(alpha=0.5, gamma=1.0)
    config.optim.lr = 3e-3
    if options.smoke:
        config.data.batch_size = 4
        config.data.options.num_examples.update(train=8, test=8)
    if options.variant == "base":
        return config

    data = dict(
        options=dict(
            **shown,
            classes=(options.new,) if options.alone else (*known, options.new),
            annotated=(options.new,),
            always={"train": (options.new,)},
            num_examples={"train": PICTURES, "test": 8 if options.smoke else 500},
        ),
        augment=dict(
            zoom=dict(scale=(0.8, 1.25)),
            stretch=dict(),
            translate=dict(fraction=0.15),
            resample=dict(fill="nearest"),
            color_jitter=dict(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.5),
        ),
        batch_size=options.batch,
    )
    steps = 2 if options.smoke else options.steps
    train = dict(steps=steps, checkpoint_every=steps)
    optim = dict(lr=options.lr)
    evals = dict(test=dict(split="test", every=steps))
    if options.variant != "scratch":
        train["init_rules"] = (("class_output/.*", None), (".*", r"\g<0>"))
        rest = () if options.variant == "all" else ((".*", None),)
        optim["groups"] = ((TRAINED[options.variant], {}), *rest)
    if options.variant == "scratch" or options.base:
        train["init_from"] = "" if options.variant == "scratch" else options.base
        for section, fields in dict(data=data, train=train, optim=optim).items():
            for name, value in fields.items():
                if name in config[section]:  # else a mapping would be merged with the old one
                    del config[section][name]
                config[section][name] = value
        config.evals = evals
    else:
        config.stages = dict(
            stage1_base={},
            stage2_new_class=dict(data=data, train=train, optim=optim, evals=evals),
        )
    return config
