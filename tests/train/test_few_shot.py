"""The few-shot recipe: which pictures it gets, what it restores, and what of the model moves."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

from cvjax import build
from cvjax.config import load
from cvjax.train.restore import initialise_from
from cvjax.train.setup import batch_of_step, first_example, prepare

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/detection/retinanet_few_shot.py")
FRESH = {"params/class_output/kernel", "params/class_output/bias"}
TRAINED = {
    "recipe": ("class_tower", "class_output"),
    "head": ("class_output",),
}


def flat(variables: Any) -> dict[str, np.ndarray]:
    return traverse_util.flatten_dict(jax.device_get(variables), sep="/")


def base_variables() -> dict[str, Any]:
    """Random variables of the smallest base, which knows eight classes."""
    experiment = build.experiment(load(f"{CONFIG}:variant=base,smoke"))
    batch = experiment.eval_transform(dict(first_example(experiment)))
    shapes = jax.eval_shape(lambda: experiment.task.init(jax.random.key(0), batch))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.uniform(0.1, 0.2, x.shape).astype(x.dtype), shapes)


def test_the_new_class_gets_exactly_20_pictures_that_each_hold_it_and_the_base_never_saw_it():
    stages = build.experiments(load(f"{CONFIG}:new=9"))
    base, few = (stages[name].train_source for name in ("stage1_base", "stage2_new_class"))
    assert base.info.class_names == tuple("01234567")
    assert not {"8", "9"} & set(base.classes)
    assert few.info.class_names == ("9",)
    assert few.classes == (*"01234567", "9")
    assert len(few) == 20
    examples = [few[i] for i in range(20)]
    assert all(example["box_valid"].any() for example in examples)
    assert all((example["box_label"] == 0).all() for example in examples)
    test = stages["stage2_new_class"].evals["test"].source
    assert test.classes == few.classes
    assert {bool(test[i]["box_valid"].any()) for i in range(20)} == {True, False}


def test_a_new_class_that_the_base_knows_is_refused():
    with pytest.raises(ValueError, match="new='7' must be one digit that is not in known"):
        load(f"{CONFIG}:new=7")
    with pytest.raises(ValueError, match="variant='heads'; one of"):
        load(f"{CONFIG}:variant=heads")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["recipe", "head"])
def test_the_class_output_is_fresh_and_what_is_frozen_keeps_every_bit(variant, tmp_path):
    config = load(f"{CONFIG}:variant={variant},base=there,smoke")
    config.data.update(image_size=32, batch_size=2, augment={})
    config.optim.schedule = dict(name="constant")
    experiment = build.experiment(config)
    setup = prepare(experiment)
    base, fresh = base_variables(), setup.init()
    random = flat(fresh.params)
    with jax.numpy_rank_promotion("allow"):
        state = initialise_from(
            "there",
            experiment.train.init_rules,
            fresh,
            report_path=tmp_path / "restore.json",
            other_weights=lambda origin: base,
        )
        before = flat({"params": state.params, **state.mutable})
        for step in range(2):
            state, _ = setup.train_step(state, batch_of_step(experiment, setup.rows, step))
    after = flat({"params": state.params, **state.mutable})

    report = json.loads((tmp_path / "restore.json").read_text())
    assert set(report["kept"]) == set(report["ignored"]) == FRESH
    assert report["loaded"] == {path: path for path in before if path not in FRESH}
    for path, array in before.items():
        if path in FRESH:
            np.testing.assert_array_equal(array, random[path.removeprefix("params/")])
        else:
            np.testing.assert_array_equal(array, flat(base)[path])
    moved = {path for path in before if before[path].tobytes() != after[path].tobytes()}
    assert moved == {
        path for path in before if path.split("/")[1] in TRAINED[variant] and "params/" in path
    }
