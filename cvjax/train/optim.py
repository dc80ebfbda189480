"""Optimizers: a chain of Optax, a schedule, and what each group of parameters makes of them.

The transformation works on the trainable parameters alone. Frozen ones are taken out of the tree
(None in their place) before gradients are taken, so they cost no backward pass, no optimizer memory
and no share of the gradient norm:

    trainable = optimizer.trainable(params)
    grads = jax.grad(lambda trainable: loss(optimizer.merge(trainable, params)))(trainable)
    updates, opt_state = optimizer.tx.update(grads, opt_state, trainable)
    params = optimizer.merge(apply_updates(trainable, updates, grads), params)  # updates.py

Batch statistics and dropout of frozen modules are `partition.freeze_interceptor`'s.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvjax.train.layers import layers_from_top
from cvjax.train.lbfgs import Lbfgs, lbfgs
from cvjax.train.partition import first_matches, frozen_lookup, matches_any, parameter_paths
from cvjax.train.plateau import ReduceOnPlateau
from cvjax.train.schedule import make_schedule, option_problems, unknown
from cvjax.train.update_rules import NOT_OPTIONS, RULES, Rule

OPTIMIZERS: Mapping[str, Callable[..., Rule | Lbfgs]] = {**RULES, "lbfgs": Lbfgs}

GROUP_OPTIONS = ("lr", "lr_multiplier", "weight_decay", "every", "clip_weights")
ADAPTIVE = ("lars", "lamb")  # rules that scale a tensor's step by its norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """What a config's section `optim` says.

    `name` and its `options` are those of `update_rules`: PyTorch's optimizers, LARS, LAMB, Muon and
    Optax's others (lion, adafactor, adabelief, ...). `schedule` is `{"name": ..., **options}` as
    `make_schedule` takes them.

    `weight_decay` is L2 added to the gradient where PyTorch adds it (sgd, adam, ...) and decoupled
    in adamw, lamb and muon. Optax's others decay in their own way, or decoupled if they have none,
    and by nothing but this figure, whatever their default. `decay_exempt` are patterns of paths
    without decay. None by default, because ResNet's and VGG's recipes decay everything; later
    recipes exempt biases and normalisation: (".*/bias", ".*/scale"). `adapt_exempt`: paths whose
    steps LARS and LAMB do not scale.

    Gradients are clipped to [-clip_value, clip_value], then to the norm `clip_norm`, all trainable
    parameters together; 0 turns a clip off. `accumulate` is the number of micro-batches that make
    a step: the training step reads it, updates do not.

    `groups` are (pattern, options or None): the first pattern that matches a whole path wins, None
    freezes, and options override `lr` (the same schedule from another height), `lr_multiplier`,
    `weight_decay`, `every` (k: move at steps k, 2k, ... only, with nothing remembered of those
    between) and `clip_weights` (c: a step ends inside [-c, c], as a WGAN's critic's has to). A
    pattern left without a parameter is an error, but for a last (".*", {}).

    `layer_decay` multiplies every rate once for each layer between a parameter and the output: at
    0.5 the head has its whole rate, the block below it half, the next a quarter. Layers go by the
    modules' names (`layers.layers_from_top`), or by `layer_order`: patterns of whole paths, from
    the input to the output.
    """

    name: str = "sgd"
    lr: float
    schedule: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"name": "constant"})
    weight_decay: float = 0.0
    decay_exempt: tuple[str, ...] = ()
    adapt_exempt: tuple[str, ...] = ()
    clip_norm: float = 0.0
    clip_value: float = 0.0
    groups: tuple[tuple[str, Mapping[str, Any] | None], ...] = ((".*", {}),)
    layer_decay: float = 1.0
    layer_order: tuple[str, ...] = ()
    accumulate: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class TableRow(NamedTuple):
    """What the optimizer does with one parameter; `lr` is the schedule's height."""

    path: str
    shape: tuple[int, ...]
    group: str
    lr: float
    weight_decay: float
    frozen: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Optimizer:
    """What `make_optimizer` built.

    `tx.update(grads, state, trainable, lr_scale=..., value=..., grad=..., value_fn=...)`:
    `lr_scale` multiplies every learning rate (the plateau's scale); the others are needed where
    `needs_value_fn` (lbfgs): loss and gradient at `trainable`, and the loss as a function of it.
    `plateau` is the rule that gives `lr_scale`, if the schedule is "plateau".
    """

    options: OptimOptions
    tx: optax.GradientTransformationExtraArgs
    lr_fn: optax.Schedule
    plateau: ReduceOnPlateau | None
    needs_value_fn: bool
    rows: tuple[TableRow, ...]
    structure: Any
    frozen_at: Callable[[str], bool]

    def trainable(self, params: Any) -> Any:
        """`params` with None in place of its frozen leaves."""
        structure = jax.tree.structure(params)
        if structure != self.structure:
            raise ValueError(
                f"The parameters' tree is not the one that the optimizer was made for.\n"
                f"  Got {structure}, expected {self.structure}."
            )
        leaves = jax.tree.leaves(params)
        return jax.tree.unflatten(
            structure, [None if row.frozen else leaf for row, leaf in zip(self.rows, leaves)]
        )

    def merge(self, trainable: Any, params: Any) -> Any:
        """The whole tree: leaves of `trainable`, and those of `params` where it has None."""
        return jax.tree.map(
            lambda new, old: old if new is None else new,
            trainable,
            params,
            is_leaf=lambda x: x is None,
        )

    def is_frozen(self, path: str) -> bool:
        """Whether a parameter, or a module with all in it, is frozen; see `frozen_lookup`."""
        return self.frozen_at(path)

    def table(self) -> tuple[TableRow, ...]:
        """One row for each parameter, in the tree's order."""
        return self.rows


class _Settings(NamedTuple):
    """What the optimizer is to do with a trainable tensor."""

    lr: float
    weight_decay: float
    every: int
    adapt: bool
    clip_weights: float = 0.0  # 0: not clipped


def make_optimizer(
    options: OptimOptions, params: Any, *, total_steps: int, steps_per_epoch: float
) -> Optimizer:
    """The optimizer for parameters of this tree, which may hold arrays or ShapeDtypeStructs.

    Raises:
        ValueError: listing everything that is wrong with the options.
    """
    problems = _number_problems(options)
    rule, rule_problems = _rule(options)
    curve, schedule_problems = _curve(options, total_steps, steps_per_epoch)
    rows, settings, group_problems = _assign(options, params)
    problems += rule_problems + schedule_problems + group_problems
    if problems:
        raise ValueError("\n".join(problems))

    plateau = None
    if options.schedule["name"] == "plateau":
        reserved = ("name", "warmup", "unit")
        plateau = ReduceOnPlateau(
            **{key: value for key, value in options.schedule.items() if key not in reserved}
        )
    structure = jax.tree.structure(params)
    full_batch = isinstance(rule, Lbfgs)
    transformation = _full_batch if full_batch else _partitioned
    return Optimizer(
        options=options,
        tx=transformation(rule, options, curve, structure, settings),
        lr_fn=lambda step: options.lr * curve(step),
        plateau=plateau,
        needs_value_fn=full_batch,
        rows=rows,
        structure=structure,
        frozen_at=frozen_lookup({row.path: row.frozen for row in rows}),
    )


@dataclasses.dataclass(frozen=True)
class _LearningRate(optax.schedules.StatefulSchedule):
    """The learning rate to inject: the schedule's, times the `lr_scale` that update was given."""

    lr: float
    curve: optax.Schedule

    def init(self) -> jax.Array:
        return jnp.zeros((), jnp.int32)

    def update(self, state: jax.Array, **_: Any) -> jax.Array:
        return state + 1

    def __call__(
        self, state: jax.Array, *, lr_scale: jax.Array | float = 1.0, **_: Any
    ) -> jax.Array:
        return self.lr * self.curve(state) * lr_scale


def _partitioned(
    rule: Rule,
    options: OptimOptions,
    curve: optax.Schedule,
    structure: Any,
    settings: Sequence[_Settings | None],
) -> optax.GradientTransformationExtraArgs:
    """Clipping over all tensors, then one chain for those of equal settings (None: frozen)."""

    def tree(value_of: Callable[[_Settings], Any]) -> Any:
        return jax.tree.unflatten(structure, [s if s is None else value_of(s) for s in settings])

    distinct = list(dict.fromkeys(s for s in settings if s is not None))
    labels = {s: f"part{i}" for i, s in enumerate(distinct)}
    pieces = [_same_tree(jax.tree.structure(tree(labels.get)))]
    if options.clip_value > 0:
        pieces.append(optax.clip(options.clip_value))
    if options.clip_norm > 0:
        # Who does not move at this step has no share of the norm.
        for every in sorted({s.every for s in distinct} - {1}):
            zeroed = optax.conditionally_mask(optax.identity(), _due(every))
            pieces.append(optax.masked(zeroed, tree(lambda s, every=every: s.every == every)))
        pieces.append(optax.clip_by_global_norm(options.clip_norm))
    parts = {label: _part(rule, s, curve) for s, label in labels.items()}
    return optax.chain(*pieces, optax.partition(parts, tree(labels.get)))


def _part(
    rule: Rule, settings: _Settings, curve: optax.Schedule
) -> optax.GradientTransformationExtraArgs:
    """The rule's chain with the settings of one part of the parameters."""

    def chain(learning_rate: jax.Array) -> optax.GradientTransformation:
        plain = rule(learning_rate, settings.weight_decay, settings.adapt)
        if settings.clip_weights:
            plain = optax.chain(plain, clip_weights(settings.clip_weights))
        if settings.every == 1:
            return plain
        # Turned twice, so that its zeros are -0.0: x + -0.0 is x, bit for bit, also where x is -0.0
        turned = optax.chain(plain, optax.scale(-1.0))
        held = optax.conditionally_mask(turned, _due(settings.every))
        return optax.chain(held, optax.scale(-1.0))

    return optax.inject_hyperparams(chain)(learning_rate=_LearningRate(settings.lr, curve))


def clip_weights(limit: float) -> optax.GradientTransformation:
    """Updates after which parameters lie in [-limit, limit], up to rounding; last in a chain.

    What Arjovsky et al. 2017 (https://arxiv.org/abs/1701.07875, algorithm 1, line 7) do after each
    step of the critic.
    """

    def within(update: jax.Array, param: jax.Array) -> jax.Array:
        return jnp.clip(param + update, -limit, limit) - param

    return optax.stateless(lambda updates, params: jax.tree.map(within, updates, params))


def _due(every: int) -> Callable[[jax.Array], jax.Array]:
    """Whether the update after `step` others is a multiple of `every`."""
    return lambda step: (step + 1) % every == 0


def _full_batch(
    rule: Lbfgs,
    options: OptimOptions,
    curve: optax.Schedule,
    structure: Any,
    settings: Sequence[_Settings | None],
) -> optax.GradientTransformationExtraArgs:
    """L-BFGS over all trainable tensors as one vector."""
    decays = [s.weight_decay for s in settings if s is not None]

    def whole(learning_rate: jax.Array) -> optax.GradientTransformation:
        return lbfgs(rule, learning_rate, decays)

    return optax.inject_hyperparams(whole)(learning_rate=_LearningRate(options.lr, curve))


def _same_tree(structure: Any) -> optax.GradientTransformation:
    """Nothing but an error where the gradients are not those of the trainable parameters."""

    def check(grads: Any, params: Any) -> Any:
        for got in (jax.tree.structure(grads), jax.tree.structure(params)):
            if got != structure:
                raise ValueError(
                    "Gradients and parameters must be those of optimizer.trainable(params).\n"
                    f"  Got {got}, expected {structure}."
                )
        return grads

    return optax.stateless(check)


def _number_problems(options: OptimOptions) -> list[str]:
    problems = []
    for name in ("lr", "weight_decay", "clip_norm", "clip_value"):
        value = getattr(options, name)
        if not value >= 0 or math.isinf(value):
            problems.append(f"optim.{name}: a finite number >= 0 is needed, got {value!r}.")
    if not 0 < options.layer_decay <= 1:
        problems.append(
            f"optim.layer_decay: a factor above 0 and at most 1 is needed, got "
            f"{options.layer_decay!r}."
        )
    if options.layer_order and options.layer_decay == 1.0:
        problems.append("optim.layer_order: there is no optim.layer_decay that it would order.")
    if options.accumulate < 1:
        problems.append(
            f"optim.accumulate: at least 1 micro-batch is needed, got {options.accumulate!r}."
        )
    if options.adapt_exempt and options.name not in ADAPTIVE:
        problems.append(
            f"optim.adapt_exempt: only {' and '.join(ADAPTIVE)} adapt, not {options.name!r}."
        )
    return problems


def _rule(options: OptimOptions) -> tuple[Rule | Lbfgs | None, list[str]]:
    if options.name not in OPTIMIZERS:
        return None, [unknown("optim.name", options.name, OPTIMIZERS)]
    build = OPTIMIZERS[options.name]
    problems = option_problems(
        f"optim.options: {options.name!r}", build, options.options, given=NOT_OPTIONS
    )
    if options.name == "lbfgs":
        problems += _full_batch_problems(options)
    if problems:
        return None, problems
    try:
        rule = build(**options.options)
        if not isinstance(rule, Lbfgs):
            rule(0.0, 0.0, True)  # Optax looks at some options only now
    except ValueError as error:
        return None, [f"optim.options: {error}"]
    return rule, []


def _full_batch_problems(options: OptimOptions) -> list[str]:
    """What L-BFGS cannot honour: it moves all parameters as one vector along a line."""
    problems = [
        f"optim.{name}: a clipped gradient breaks the line search of 'lbfgs'; set it to 0."
        for name in ("clip_norm", "clip_value")
        if getattr(options, name)
    ]
    if options.layer_decay != 1.0:
        problems.append(
            "optim.layer_decay: 'lbfgs' moves all parameters as one vector; leave it at 1."
        )
    for pattern, settings in options.groups:
        own = ("lr", "lr_multiplier", "every", "clip_weights")
        names = [name for name in own if name in (settings or {})]
        if names:
            problems.append(
                f"optim.groups: {pattern!r}: 'lbfgs' moves all parameters as one vector, so"
                f" {', '.join(names)} of a group cannot be honoured; remove it."
            )
    return problems


def _curve(
    options: OptimOptions, total_steps: int, steps_per_epoch: float
) -> tuple[optax.Schedule | None, list[str]]:
    """The schedule of height 1."""
    taken = {"lr": "optim.lr", "total_steps": "the run", "steps_per_epoch": "the data"}
    problems = [
        f"optim.schedule: {key!r} comes from {origin}; remove it."
        for key, origin in taken.items()
        if key in options.schedule
    ]
    if "name" not in options.schedule:
        problems.append("optim.schedule: 'name' is missing, such as dict(name='cosine').")
    if problems:
        return None, problems
    try:
        curve = make_schedule(
            **options.schedule, lr=1.0, total_steps=total_steps, steps_per_epoch=steps_per_epoch
        )
    except ValueError as error:
        return None, [f"optim.schedule: {error}"]
    return curve, []


def _assign(
    options: OptimOptions, params: Any
) -> tuple[tuple[TableRow, ...], list[_Settings | None], list[str]]:
    """Rows of all parameters, their settings (None: frozen), problems."""
    paths = parameter_paths(params)
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(params)]
    groups = [tuple(group) for group in options.groups]
    patterns = [group[0] for group in groups]
    spare = ".*" if groups and groups[-1][1] is not None and not groups[-1][1] else ""
    indices, problems = first_matches(
        patterns,
        paths,
        field="optim.groups",
        advice="End the list with ('.*', {}) or add a rule for it.",
        spare=spare,
    )
    exempt, exempt_problems = matches_any(options.decay_exempt, paths, field="optim.decay_exempt")
    plain, plain_problems = matches_any(options.adapt_exempt, paths, field="optim.adapt_exempt")
    problems += exempt_problems + plain_problems
    factors = [1.0] * len(paths)
    if options.layer_decay != 1.0:
        above, layer_problems = layers_from_top(paths, options.layer_order)
        problems += layer_problems
        factors = [options.layer_decay**count for count in above]
    for pattern, settings in groups:
        problems += _group_problems(pattern, settings)
    if paths and not problems and all(groups[index][1] is None for index in indices):
        problems.append("optim.groups: every parameter is frozen, so there is nothing to train.")
    if problems:
        return (), [], problems

    rows, all_settings = [], []
    for path, shape, index, no_decay, no_adapt, factor in zip(
        paths, shapes, indices, exempt, plain, factors
    ):
        pattern, group = groups[index]
        if group is None:
            rows.append(TableRow(path, shape, pattern, 0.0, 0.0, True))
            all_settings.append(None)
            continue
        lr = group.get("lr", options.lr) * group.get("lr_multiplier", 1.0) * factor
        decay = 0.0 if no_decay else group.get("weight_decay", options.weight_decay)
        rows.append(TableRow(path, shape, pattern, lr, decay, False))
        limit = float(group.get("clip_weights", 0.0))
        all_settings.append(_Settings(lr, decay, group.get("every", 1), not no_adapt, limit))
    return tuple(rows), all_settings, problems


def _group_problems(pattern: str, settings: Mapping[str, Any] | None) -> list[str]:
    if settings is None:
        return []
    problems = [
        unknown(f"optim.groups: {pattern!r}", name, GROUP_OPTIONS)
        for name in settings
        if name not in GROUP_OPTIONS
    ]
    for name in ("lr", "lr_multiplier", "weight_decay"):
        value = settings.get(name, 0.0)
        if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
            problems.append(
                f"optim.groups: {pattern!r}: {name}: a finite number >= 0 is needed, got {value!r}."
            )
    limit = settings.get("clip_weights", 1.0)
    if not (isinstance(limit, (int, float)) and 0 < limit < math.inf):
        problems.append(
            f"optim.groups: {pattern!r}: clip_weights: a finite number > 0 is needed, "
            f"got {limit!r}."
        )
    every = settings.get("every", 1)
    if not isinstance(every, int) or every < 1:
        problems.append(
            f"optim.groups: {pattern!r}: every: a whole number of steps is needed, got {every!r}."
        )
    return problems
