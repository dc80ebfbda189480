"""What the dry run says of freezing, against figures worked out by hand."""

import re

from ml_collections import ConfigDict

from cvjax import build
from cvjax.train import dry_run, stages

HIDDEN, HEAD = 64 * 64 + 64, 64 * 10 + 10  # parameters on 8x8 digits
BATCH = 32


def config(**sections) -> ConfigDict:
    plain = {
        "model": {"name": "mlp", "hidden": (64,)},
        "task": {"name": "classification"},
        "data": {"name": "digits", "batch_size": BATCH},
        "optim": {
            "name": "momentum",
            "lr": 0.25,
            "weight_decay": 0.5,
            "groups": (("hidden1/.*", None), (".*", {})),
        },
        "train": {"steps": 2},
    }
    return ConfigDict({**plain, **sections})


def test_freezing_is_described_with_what_it_saves():
    text = dry_run.describe(build.experiment(config()))
    assert re.search(r"hidden1/kernel +64x64 +4,096 +frozen", text)
    assert re.search(r"head/kernel +64x10 +640 +0.25 +0.5$", text, re.MULTILINE)
    total = HIDDEN + HEAD
    assert f"{total:,} parameters, {HEAD:,} of them trained ({HEAD / total:.1%})" in text
    # Saved are the hidden weights' gradient and the head's towards its input, each a product.
    whole, saved = 2 * 64 * 64 + 3 * 640, 64 * 64 + 640
    found = re.search(r"freezing saves +([\d.]+)% of the step's FLOPs, ([\d.]+) kB of the", text)
    assert abs(float(found[1]) / 100 - saved / whole) < 0.03
    assert abs(float(found[2]) - HIDDEN * 4 / 1000) < 0.1  # momentum: a float32 each


def test_nothing_frozen_saves_nothing_and_stages_are_named():
    free = {"optim": {"groups": ((".*", {}),)}}
    text = stages.describe(build.experiments(config(stages={"stage1_all": free})))
    assert text.startswith("stage1_all\n==========\n")
    assert "freezing saves" not in text
    assert "0 frozen" in text
