"""Rules by path, and modules that act as in evaluation while they are frozen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models.classifiers.resnet import ResNet
from cvjax.nn.norm import BatchNorm
from cvjax.train.optim import OptimOptions, make_optimizer
from cvjax.train.partition import (
    first_matches,
    freeze_interceptor,
    frozen_lookup,
    matches_any,
    parameter_paths,
)


def match(patterns, paths, spare=""):
    return first_matches(patterns, paths, field="rules", advice="Add one.", spare=spare)


# ---- rules


def test_paths_are_the_keys_joined_by_slashes():
    tree = {"stage1_block1": {"conv1": {"kernel": 1, "bias": None}}, "head": [2, 3]}
    assert parameter_paths(tree) == ["head/0", "head/1", "stage1_block1/conv1/kernel"]


def test_the_first_match_wins():
    indices, problems = match(["a/.*", ".*"], ["a/x", "b/x"])
    assert (indices, problems) == ([0, 1], [])


def test_a_pattern_must_match_the_whole_path():
    indices, problems = match(["a"], ["a/x"])
    assert indices == [-1]
    assert len(problems) == 2  # a path without a pattern, a pattern without a path


def test_a_pattern_behind_its_superset_is_said_to_be_shadowed():
    _, problems = match([".*", "a/.*"], ["a/x"])
    assert len(problems) == 1
    assert "'a/.*' never applies" in problems[0]


def test_only_a_last_spare_pattern_may_be_left_over():
    assert match(["a/.*", ".*"], ["a/x"], spare=".*")[1] == []
    assert len(match(["a/.*", ".*"], ["a/x"])[1]) == 1
    assert len(match(["a/.*", ".*", "a/.*"], ["a/x"], spare=".*")[1]) == 2


def test_patterns_of_a_set_must_each_match_something():
    hits, problems = matches_any([".*/bias", "x", "("], ["a/bias", "a/kernel"], field="exempt")
    assert hits == [True, False]
    assert [problem.split(" ")[1] for problem in problems] == ["pattern", "'('"]


def test_a_module_is_frozen_when_all_its_parameters_are():
    is_frozen = frozen_lookup({"a/conv/kernel": True, "a/norm/scale": True, "b/w": False})
    assert is_frozen("a/conv/kernel")
    assert is_frozen("a/conv")
    assert is_frozen("a")
    assert not is_frozen("b")
    assert not is_frozen("")


def test_a_module_without_parameters_is_frozen_with_the_module_around_it():
    is_frozen = frozen_lookup({"a/conv/kernel": True, "b/w": False})
    assert is_frozen("a/dropout")
    assert is_frozen("a/wrapper/dropout")
    assert not is_frozen("dropout")
    assert not is_frozen("b/dropout")


def test_a_name_that_begins_alike_is_another_module():
    assert not frozen_lookup({"layer1/w": True, "layer10/w": False})("layer10")


# ---- modules


class Flags(nn.Module):
    """Statistics and dropout told by arguments, by fields, by position, and by `train`."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(8, name="dense")(x)
        x = nn.BatchNorm(name="norm_argument")(x, use_running_average=not train)
        x = nn.BatchNorm(name="norm_position")(x, not train)
        x = nn.BatchNorm(use_running_average=not train, name="norm_field")(x)
        x = BatchNorm(name="norm_ours")(x, use_running_average=not train)
        bare = nn.BatchNorm(use_scale=False, use_bias=False, name="norm_bare")
        x = bare(x, use_running_average=not train)
        x = nn.Dropout(0.5, name="drop_argument")(x, deterministic=not train)
        x = nn.Dropout(0.5, name="drop_position")(x, not train)
        x = nn.Dropout(0.5, deterministic=not train, name="drop_field")(x)
        return x + jax.random.normal(self.make_rng("dropout"), x.shape) if train else x


class InSetup(nn.Module):
    """The same through setup and a field `train`."""

    train: bool

    def setup(self):
        self.dense = nn.Dense(8)
        self.norm = nn.BatchNorm(use_running_average=not self.train)
        self.drop = nn.Dropout(0.5)

    def __call__(self, x):
        return self.drop(self.norm(self.dense(x)), deterministic=not self.train)


class Trunk(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = Flags(name="block1")(x, train=train)
        return InSetup(train=train, name="block2")(x)


class Whole(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = Trunk(name="trunk")(x, train=train)
        self.sow("seen", "trunk_output", x)
        x = nn.Dropout(0.5, name="drop")(x, deterministic=not train)
        x = Flags(name="top")(x, train=train)
        return nn.Dense(2, name="head")(x)


@pytest.fixture(scope="module")
def image():
    return jax.random.normal(jax.random.key(1), (6, 8))


@pytest.fixture(scope="module")
def variables(image):
    return Whole().init(jax.random.key(0), image, train=False)


def train_once(model, variables, image, groups, seed=0):
    """Output of the trunk in training, the model's output, its new statistics."""
    optimizer = make_optimizer(
        OptimOptions(lr=0.1, groups=groups), variables["params"], total_steps=1, steps_per_epoch=1
    )
    with nn.intercept_methods(freeze_interceptor(optimizer.is_frozen)):
        output, mutated = model.apply(
            variables,
            image,
            train=True,
            rngs={"dropout": jax.random.key(seed)},
            mutable=["batch_stats", "seen"],
        )
    return mutated["seen"]["trunk_output"][0], output, mutated["batch_stats"]


def leaf_bytes(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


FREEZE_TRUNK = (("trunk/.*", None), (".*", {}))


def test_a_frozen_trunk_keeps_its_statistics_and_acts_as_in_evaluation(variables, image):
    model = Whole()
    trunk, output, stats = train_once(model, variables, image, FREEZE_TRUNK)
    assert leaf_bytes(stats["trunk"]) == leaf_bytes(variables["batch_stats"]["trunk"])

    _, seen = model.apply(variables, image, train=False, mutable=["seen"])
    np.testing.assert_array_equal(trunk, seen["seen"]["trunk_output"][0])

    # what is not frozen trains on: statistics move, dropout depends on the key
    before = leaf_bytes(variables["batch_stats"]["top"])
    assert all(a != b for a, b in zip(leaf_bytes(stats["top"]), before))
    trunk_again, output_again, _ = train_once(model, variables, image, FREEZE_TRUNK, seed=1)
    np.testing.assert_array_equal(trunk, trunk_again)
    assert (output != output_again).any()


def test_without_frozen_parameters_nothing_changes(variables, image):
    rngs = {"dropout": jax.random.key(0)}
    _, output, stats = train_once(Whole(), variables, image, ((".*", {}),))
    plain, mutated = Whole().apply(
        variables, image, train=True, rngs=rngs, mutable=["batch_stats", "seen"]
    )
    np.testing.assert_array_equal(output, plain)
    assert leaf_bytes(stats) == leaf_bytes(mutated["batch_stats"])


def test_a_module_with_one_trainable_parameter_trains(variables, image):
    groups = (("trunk/block1/norm_field/bias", {}), ("trunk/.*", None), (".*", {}))
    _, _, stats = train_once(Whole(), variables, image, groups)
    trunk, before = stats["trunk"], variables["batch_stats"]["trunk"]
    moved = {
        name
        for name in before["block1"]
        if leaf_bytes(trunk["block1"][name]) != leaf_bytes(before["block1"][name])
    }
    # norm_bare has no parameter of its own, so it does as block1, which is not all frozen
    assert moved == {"norm_field", "norm_bare"}
    assert leaf_bytes(trunk["block2"]) == leaf_bytes(before["block2"])


def test_the_first_stage_of_a_residual_network_freezes_inside_remat():
    model = ResNet(
        num_classes=2, stage_sizes=(1, 1), block="basic", width=4, stem="cifar", remat=True
    )
    image = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(1), image, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.uniform(0.5, 1.5, x.shape).astype(x.dtype), shapes)
    optimizer = make_optimizer(
        OptimOptions(lr=0.1, groups=(("(stem|stage1).*", None), (".*", {}))),
        variables["params"],
        total_steps=1,
        steps_per_epoch=1,
    )

    @jax.jit
    def statistics(variables):
        with nn.intercept_methods(freeze_interceptor(optimizer.is_frozen)):
            return model.apply(variables, image, train=True, mutable=["batch_stats"])[1]

    after, before = statistics(variables)["batch_stats"], variables["batch_stats"]
    unmoved = {name for name in before if leaf_bytes(after[name]) == leaf_bytes(before[name])}
    assert unmoved == {name for name in before if name.startswith(("stem", "stage1"))}


class NextLayer(nn.Module):
    """A layer to be scanned: statistics and dropout in a loop over layers."""

    @nn.compact
    def __call__(self, x, _):
        x = nn.BatchNorm(name="norm")(nn.Dense(4, name="dense")(x), use_running_average=False)
        return nn.Dropout(0.5, name="drop")(x, deterministic=False), None


def test_layers_inside_a_scan_freeze_too():
    stack = nn.scan(
        NextLayer,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True, "dropout": True},
        length=3,
    )(name="layers")
    x = jnp.ones((5, 4))
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = stack.init(rngs, x, None)
    with nn.intercept_methods(freeze_interceptor(lambda path: True)):
        (a, _), mutated = stack.apply(
            variables, x, None, rngs={"dropout": jax.random.key(2)}, mutable=["batch_stats"]
        )
        (b, _), _ = stack.apply(
            variables, x, None, rngs={"dropout": jax.random.key(3)}, mutable=["batch_stats"]
        )
    assert leaf_bytes(mutated["batch_stats"]) == leaf_bytes(variables["batch_stats"])
    np.testing.assert_array_equal(a, b)


class Fails(nn.Module):
    train: bool

    @nn.compact
    def __call__(self):
        raise RuntimeError(f"train={self.train}")


def test_a_field_is_as_before_after_a_call_that_failed():
    def attempt(module):
        with pytest.raises(RuntimeError, match="train=False"):
            module()
        return module.train

    with nn.intercept_methods(freeze_interceptor(lambda path: True)):
        assert nn.apply(attempt, Fails(train=True))({}) is True
