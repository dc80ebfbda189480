"""Starting from another run: what goes where, and everything that does not fit, by name."""

import dataclasses
import json
import random
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_files import arrays_of, checkpoints_in, host_of, last_checkpoint, lines_of
from tiny_run import CLASSES, tiny_experiment

from cvjax.train.checkpoint import CheckpointError, Checkpoints
from cvjax.train.restore import SAME_PATHS, initialise_from, make_plan
from cvjax.train.setup import prepare
from cvjax.train.trials import starting_state

# ---- the plan

FLOAT, INT = np.dtype("float32"), np.dtype("int32")


def backbone(prefix: str = "") -> dict:
    shapes = {}
    for stage in range(3):
        for block in range(2):
            at = f"{prefix}stage{stage}/block{block}"
            shapes[f"params/{at}/conv/kernel"] = ((3, 3, 4, 4 + stage), FLOAT)
            shapes[f"params/{at}/norm/scale"] = ((4 + stage,), FLOAT)
            shapes[f"batch_stats/{at}/norm/mean"] = ((4 + stage,), FLOAT)
    return shapes


def test_without_rules_everything_comes_from_the_same_path():
    plan = make_plan(backbone(), backbone(), SAME_PATHS)
    assert plan.load == {path: path for path in backbone()}
    assert plan.keep == plan.ignored == plan.problems == []


def test_rules_rename_by_groups_keep_fresh_and_leave_out():
    target = {**backbone("trunk/"), "params/head/kernel": ((7, 3), FLOAT)}
    source = {**backbone("model/"), "params/fc/kernel": ((7, 1000), FLOAT)}
    rules = [(r"trunk/stage(\d)/(.*)", r"model/stage\g<1>/\2"), ("head/.*", None)]
    plan = make_plan(target, source, rules)
    assert plan.load == {path: path.replace("trunk", "model") for path in target if "trunk" in path}
    assert plan.keep == ["params/head/kernel"]
    assert plan.ignored == ["params/fc/kernel"]
    assert plan.problems == []


def test_first_rule_that_matches_wins_and_must_match_the_whole_path():
    target = {"params/a/kernel": ((1,), FLOAT), "params/ab/kernel": ((1,), FLOAT)}
    plan = make_plan(target, target, [("a/.*", None), ("a.*", r"\g<0>")])
    assert plan.keep == ["params/a/kernel"]
    assert plan.load == {"params/ab/kernel": "params/ab/kernel"}


def test_two_targets_may_load_from_one_source():
    target = {"params/left/w": ((2,), FLOAT), "params/right/w": ((2,), FLOAT)}
    plan = make_plan(target, {"params/w": ((2,), FLOAT)}, [("(left|right)/w", "w")])
    assert plan.load == dict.fromkeys(target, "params/w")
    assert plan.problems == []


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([("stage(.*", None), (".*", r"\g<0>")], "'stage(.*' is not a regular expression"),
        ([("nowhere", None), (".*", r"\g<0>")], "rule 'nowhere' applies to no parameter"),
        ([(".*", r"\g<0>"), ("stage.*", None)], "rule 'stage.*' applies to no parameter"),
        ([("(.*)", r"\2")], "params/stage0/block0/conv/kernel: '\\\\2' does not expand"),
    ],
)
def test_rule_that_cannot_be_meant_is_named(rules, problem):
    plan = make_plan(backbone(), backbone(), rules)
    assert any(problem in line for line in plan.problems), plan.problems


def test_every_one_of_many_random_misfits_is_named_and_nothing_else_is():
    """Hundreds of trees, each spoilt in several ways; what was done is known, so the oracle is."""
    rng = random.Random(0)
    for _ in range(400):
        target, source = backbone(), backbone()
        rules = [(".*", r"\g<0>")]
        paths = rng.sample(sorted(target), rng.randint(0, 6))
        expected = {}
        for path in paths:
            shape, dtype = source[path]
            spoil = rng.choice(["missing", "shape", "rank", "dtype", "uncovered", "renamed"])
            if spoil == "missing":
                del source[path]
                expected[path] = f"the source has no {path}"
            elif spoil == "shape":
                axis = rng.randrange(len(shape))
                other = (*shape[:axis], shape[axis] + rng.choice([-1, 1]), *shape[axis + 1 :])
                source[path] = (other, dtype)
                expected[path] = str(other)
            elif spoil == "rank":
                source[path] = ((*shape, 1), dtype)
                expected[path] = str((*shape, 1))
            elif spoil == "dtype":
                source[path] = (shape, INT)
                expected[path] = "int32"
            else:
                name = path.partition("/")[2]
                others = [p for p in target if p != path and p.partition("/")[2] == name]
                assert others == []
                rules[-1] = (f"(?!{re.escape(name)}$){rules[-1][0]}", rules[-1][1])
                expected[path] = "no rule matches"
                if spoil == "renamed":
                    rules.insert(0, (re.escape(name), "elsewhere"))
                    expected[path] = "the source has no "
        plan = make_plan(target, source, rules)
        assert len(plan.problems) == len(expected)
        for path, text in expected.items():
            (line,) = (line for line in plan.problems if re.search(rf"{path}(\s|:|$)", line))
            assert text in line
        assert set(plan.load) == set(target) - set(expected)
        assert set(plan.ignored) == set(source) - set(plan.load.values())


# ---- converters


class Widened:
    """Stands in for a converter: a longer or shorter last axis, of zeros."""

    @staticmethod
    def problem(source, target) -> str:
        return "" if source[:-1] == target[:-1] else "only the last axis may differ"

    @staticmethod
    def convert(array, target):
        new = np.zeros(target, array.dtype)
        count = min(array.shape[-1], target[-1])
        new[..., :count] = array[..., :count]
        return new


def test_only_a_rule_that_names_a_converter_changes_a_shape():
    """Hundreds of trees with shapes edited at random, some under a rule that may convert."""
    rng = random.Random(1)
    rules = [("stage0/.*", r"\g<0>", "widened"), (".*", r"\g<0>")]
    for _ in range(300):
        target, source = backbone(), backbone()
        converted, misfits = set(), set()
        for path in rng.sample(sorted(target), 4):
            shape, dtype = source[path]
            axis = rng.randrange(len(shape))
            source[path] = ((*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]), dtype)
            fits = "/stage0/" in path and axis == len(shape) - 1
            (converted if fits else misfits).add(path)
        plan = make_plan(target, source, rules, {"widened": Widened})
        assert plan.converted == dict.fromkeys(converted, "widened")
        assert {line.split(" has shape")[0] for line in plan.problems} == misfits
        for line in plan.problems:
            assert ("only the last axis" in line) == ("/stage0/" in line)


def test_a_converter_that_does_not_exist_is_named():
    plan = make_plan(backbone(), backbone(), [(".*", r"\g<0>", "shrink")], {"widened": Widened})
    assert "names ['shrink']; one of ['widened']" in plan.problems[0]


# ---- arrays


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A workdir whose best checkpoint, of step 3, has 1 in each average and 2 in each parameter."""
    workdir = tmp_path_factory.mktemp("source")
    state = filled(tiny_experiment(), params=2.0, ema=1.0)
    with Checkpoints(workdir / "checkpoints", keep=5) as checkpoints:
        for step in (3, 5):
            checkpoints.save(state, step, {"best_step": 3})
            state = jax.tree.map(lambda x: x + 10, state)
    return workdir


def filled(experiment, *, params: float, ema: float | None):
    """The experiment's state with one value everywhere, which takes no compiling."""
    shapes = prepare(experiment).state_shapes
    state = jax.tree.map(lambda s: jax.device_put(jnp.zeros(s.shape, s.dtype), s.sharding), shapes)
    fill = {"params": state.params, "mutable": state.mutable}
    state = state.replace(**jax.tree.map(lambda x: x + params, fill))
    return state.replace(ema=jax.tree.map(lambda x: x + ema, fill) if ema is not None else None)


def values_in(tree) -> set[float]:
    return {float(value) for leaf in jax.tree.leaves(tree) for value in np.ravel(leaf)}


def test_best_checkpoints_averages_become_parameters_statistics_and_averages(source, tmp_path):
    fresh = filled(tiny_experiment(), params=7.0, ema=7.0)
    state = initialise_from(str(source), (), fresh, report_path=tmp_path / "restore.json")
    assert values_in((state.params, state.mutable, state.ema)) == {1.0}
    assert values_in((state.opt_state, state.step)) == {0.0}
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
    assert len(set(buffers)) == len(buffers)  # else the first step donates one twice
    report = json.loads((tmp_path / "restore.json").read_text())
    assert report["source"] == str(source / "checkpoints" / "3")
    assert report["loaded"]["params/head/kernel"] == "params/head/kernel"
    assert len(report["loaded"]) == 8
    assert report["kept"] == report["ignored"] == []


def test_rules_choose_what_is_loaded_and_the_rest_stays_fresh(source, tmp_path, caplog):
    changes = {"data": {"options": {"num_classes": 5}}, "ema": {"decay": None}}
    fresh = filled(tiny_experiment(changes), params=7.0, ema=None)
    rules = (("head/.*", None), (".*", r"\g<0>"))
    newest = str(source / "checkpoints" / "5")  # a checkpoint's folder, instead of the workdir
    state = initialise_from(newest, rules, fresh, report_path=tmp_path / "restore.json")
    assert values_in(state.params["head"]) == {7.0}
    assert values_in((state.params["conv"], state.params["norm"], state.mutable)) == {11.0}
    assert state.ema is None
    report = json.loads((tmp_path / "restore.json").read_text())
    assert report["kept"] == ["params/head/bias", "params/head/kernel"]
    assert report["ignored"] == ["params/head/bias", "params/head/kernel"]


def test_a_converted_array_is_the_sources_in_its_new_shape(source, tmp_path):
    changes = {"data": {"options": {"num_classes": CLASSES + 2}}, "ema": {"decay": None}}
    fresh = filled(tiny_experiment(changes), params=7.0, ema=None)
    rules = (("head/.*", r"\g<0>", "widened"), (".*", r"\g<0>"))
    newest = str(source / "checkpoints" / "5")
    path = tmp_path / "restore.json"
    widened = {"widened": Widened}
    state = initialise_from(newest, rules, fresh, report_path=path, converters=widened)
    for leaf in state.params["head"].values():
        assert values_in(leaf[..., :CLASSES]) == {11.0}
        assert values_in(leaf[..., CLASSES:]) == {0.0}
    assert values_in(state.params["conv"]) == {11.0}
    report = json.loads(path.read_text())
    assert set(report["converted"]) == {"params/head/bias", "params/head/kernel"}


def test_a_trial_starts_as_training_does_converters_included(source):
    changes = {"data": {"options": {"num_classes": CLASSES + 2}}, "ema": {"decay": None}}
    experiment = tiny_experiment(changes)
    train = dataclasses.replace(
        experiment.train,
        init_from=str(source / "checkpoints" / "5"),
        init_rules=(("head/.*", r"\g<0>", "widened"), (".*", r"\g<0>")),
    )
    experiment = dataclasses.replace(experiment, train=train, converters={"widened": Widened})
    fresh = SimpleNamespace(init=lambda: filled(experiment, params=7.0, ema=None))
    state = starting_state(experiment, fresh)
    assert values_in(state.params["head"]["kernel"][..., :CLASSES]) == {11.0}
    assert values_in(state.params["conv"]) == {11.0}


def test_parameters_serve_where_the_source_kept_no_averages(tmp_path):
    experiment = tiny_experiment({"ema": {"decay": None}})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(filled(experiment, params=2.0, ema=None), 1, {})
    state = initialise_from(str(tmp_path), (), filled(tiny_experiment(), params=7.0, ema=7.0))
    assert values_in((state.params, state.mutable, state.ema)) == {2.0}


def test_everything_that_does_not_fit_is_in_one_error_before_an_array_is_read(source, monkeypatch):
    monkeypatch.setattr("cvjax.train.restore._read", None)
    changes = {"model": {"width": 9}, "data": {"options": {"num_classes": 5}}}
    fresh = filled(tiny_experiment(changes), params=7.0, ema=None)
    with pytest.raises(ValueError, match="does not fit the model") as error:
        initialise_from(str(source), (), fresh)
    text = str(error.value)
    assert "params/conv/kernel has shape (3, 3, 1, 9), the source's params/conv/kernel" in text
    paths = {"conv/kernel", "conv/bias", "norm/scale", "norm/bias", "head/kernel", "head/bias"}
    for path in {f"params/{path}" for path in paths} | {f"batch_stats/norm/{x}" for x in
                                                        ("mean", "var")}:  # fmt: skip
        assert f"\n  {path} has shape" in text
    assert "train.init_rules" in text


def test_source_that_is_missing_or_damaged_is_an_error(source, tmp_path):
    fresh = filled(tiny_experiment(), params=7.0, ema=7.0)
    with pytest.raises(CheckpointError, match="there is no such workdir"):
        initialise_from(str(tmp_path / "nowhere"), (), fresh)
    with pytest.raises(CheckpointError, match=r"is no sound checkpoint: .*seal.json is missing"):
        initialise_from(str(tmp_path), (), fresh)
    damaged = Path(shutil.copytree(source, tmp_path / "damaged"))
    (damaged / "checkpoints" / "3" / "_METADATA").write_text("{}")
    with pytest.raises(CheckpointError, match=r"step 3 .* is damaged: _METADATA has 2 bytes"):
        initialise_from(str(damaged), (), fresh)


# ---- whole runs


def test_run_resumed_from_another_workdir_goes_on_bit_for_bit(nursery, tmp_path):
    whole, first, second = tmp_path / "whole", tmp_path / "first", tmp_path / "second"
    nursery.train(whole)
    nursery.train(first, {"train": {"steps": 18}})  # where the whole run evaluates, too
    longer = {"train": {"resume": str(first)}}
    # Killed and started again it goes on from its own checkpoint, not from the other's.
    child = nursery.launch(second, longer, kill_at=("os.mkdir.*/25.orbax", 0))
    assert child.wait() == -signal.SIGKILL, child.output
    child = nursery.train(second, longer)
    assert "resuming from the checkpoint of step 24" in child.output
    found, expected = arrays_of(last_checkpoint(second)), arrays_of(last_checkpoint(whole))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert [line for line in lines_of(whole) if line["step"] > 18] == lines_of(second)
    assert host_of(last_checkpoint(second))["best_step"] in checkpoints_in(second)


def test_resuming_where_the_other_run_is_further_is_an_error(nursery, source, tmp_path):
    changes = {"train": {"steps": 5, "resume": str(source)}}
    child = nursery.launch(tmp_path / "run", changes)
    assert child.wait() == 1
    assert "is at step 5, but this run has only 5" in child.output


def test_run_starts_from_another_runs_weights(nursery, source, tmp_path):
    rules = [["head/.*", None], [".*", r"\g<0>"]]
    changes = {"train": {"steps": 2, "init_from": str(source), "init_rules": rules}}
    child = nursery.train(tmp_path / "run", changes)
    assert "6 arrays loaded, 2 kept fresh, 2 of the source ignored" in child.output
    assert json.loads((tmp_path / "run" / "restore.json").read_text())["kept"]
