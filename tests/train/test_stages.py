"""Stages: what each changes of the config, and that one starts where the one before ended."""

import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_run import get_config, register

from cvjax import build
from cvjax.config import ConfigError, stage_configs
from cvjax.train import stages
from cvjax.train.checkpoint import Checkpoints
from cvjax.train.setup import prepare

HEAD = {
    "optim": {"groups": [["head/.*", {}], [".*", None]]},
    "train": {"steps": 3, "init_from": ""},
}
STILL = {"optim": {"lr": 0.0, "weight_decay": 0.0}, "train": {"steps": 2}}


def config(**sections) -> ConfigDict:
    plain = {
        "model": {"name": "lenet5"},
        "task": {"name": "classification"},
        "data": {"name": "digits"},
        "optim": {"name": "sgd", "lr": 0.1, "options": {"momentum": 0.9}},
        "train": {"steps": 9, "init_from": "somewhere", "init_rules": ((".*", "x"),)},
    }
    return ConfigDict({**plain, **sections})


def test_a_config_without_stages_is_its_own_only_stage():
    plain = config()
    assert stage_configs(plain) == {"": plain}


def test_stages_come_by_number_and_change_only_what_they_name():
    changes = {f"stage{n}_x": {"train": {"steps": n}} for n in (10, 9, 2, 1, 3, 4, 5, 6, 7, 8)}
    found = stage_configs(config(stages=changes))
    assert [stage.train.steps for stage in found.values()] == list(range(1, 11))
    assert all(stage.optim.to_dict() == config().optim.to_dict() for stage in found.values())
    assert not any("stages" in stage for stage in found.values())


def test_later_stages_start_from_the_one_before_unless_they_say_otherwise():
    elsewhere = {"train": {"init_from": "elsewhere"}}
    changes = {"stage1_a": {}, "stage2_b": {}, "stage3_c": elsewhere}
    found = stage_configs(config(stages=changes)).values()
    assert [stage.train.init_from for stage in found] == ["somewhere", "", "elsewhere"]
    assert [len(stage.train.init_rules) for stage in found] == [1, 0, 0]


def test_another_optimizer_begins_without_the_old_ones_options():
    changes = {"stage1_a": {"optim": {"name": "rmsprop"}}, "stage2_b": {"optim": {"lr": 0.5}}}
    first, second = stage_configs(config(stages=changes)).values()
    assert (first.optim.name, first.optim.options.to_dict()) == ("rmsprop", {})
    assert second.optim.options.to_dict() == {"momentum": 0.9}


def test_another_model_or_task_begins_without_the_old_ones_fields():
    plain = config(model={"name": "lenet5", "dtype": "bfloat16"})
    changes = {
        "stage1_a": {"model": {"name": "lenet5", "num_classes": 10}},
        "stage2_b": {"model": {"name": "mlp"}, "task": {"name": "vae", "beta": 2.0}},
    }
    first, second = stage_configs(ConfigDict({**plain, "stages": changes})).values()
    kept = {"name": "lenet5", "dtype": "bfloat16", "num_classes": 10}
    assert first.model.to_dict() == kept
    assert second.model.to_dict() == {"name": "mlp"}
    assert second.task.to_dict() == {"name": "vae", "beta": 2.0}


def test_rules_need_something_to_start_from():
    train = {"steps": 1, "init_rules": ((".*", r"\g<0>"),)}
    with pytest.raises(ConfigError, match="init_from is empty, and there is no stage before"):
        build.experiments(config(train=train))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": {}}, "a stage is called stage1_head"),
        ({"stage1_a": {}, "stage3_b": {}}, "are not 1, 2, 3"),
        ({"stage1_a": {"optin": {}}}, "Did you mean 'optim'"),
        ({"stage1_a": {"seed": {}}}, "stages.stage1_a.seed: there is no such section"),
    ],
)
def test_stages_that_cannot_be_meant_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        stage_configs(config(stages=changes))


def test_a_wrong_field_names_its_stage_before_anything_runs():
    changes = {"stage1_a": {}, "stage2_b": {"optim": {"lrr": 1}}}
    plain = config(stages=changes, train={"steps": 1})
    with pytest.raises(ConfigError, match=r"stage 'stage2_b': optim.lrr: there is no such field"):
        build.experiments(plain)


def params_at(experiment, folder, step: int):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore(step, prepare(experiment).state_shapes).state.params


@pytest.mark.slow
def test_a_stage_goes_on_from_the_state_before_and_a_finished_one_is_not_run_again(tmp_path):
    register()
    changes = {
        "optim": {"accumulate": 1, "schedule": {"name": "constant"}},
        "ema": {"decay": None},
        "evals": {},
        "train": {"early_stop": None, "log_every": 1},
        "stages": {"stage1_head": HEAD, "stage2_still": STILL},
    }
    experiments = build.experiments(get_config(json.dumps(changes)))
    with jax.numpy_rank_promotion("allow"):
        outcome = stages.run(experiments, tmp_path)
        first, second = stages.stage_folders(experiments, tmp_path).values()
        before = params_at(experiments["stage1_head"], first, 3)
        after = params_at(experiments["stage2_still"], second, 2)
        jax.tree.map(np.testing.assert_array_equal, before, after)
        record = json.loads((tmp_path / stages.STAGES).read_text())["stages"]
        assert [(each["stage"], each["step"]) for each in record] == [
            ("stage1_head", 3),
            ("stage2_still", 2),
        ]
        lines = (first / "metrics.jsonl").read_bytes()
        shutil.rmtree(second)
        again = stages.run(experiments, tmp_path)
    assert again == outcome
    assert (first / "metrics.jsonl").read_bytes() == lines
    jax.tree.map(
        np.testing.assert_array_equal, after, params_at(experiments["stage2_still"], second, 2)
    )
    loaded = json.loads((second / "restore.json").read_text())
    assert loaded["source"] == str(first / "checkpoints" / "3")
