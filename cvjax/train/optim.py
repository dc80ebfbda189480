"""Optimizers: an update rule, a schedule, and what each group of parameters makes of them.

The transformation works on the trainable parameters alone. Frozen ones are taken out of the tree
(None in their place) before gradients are taken, so they cost no backward pass, no optimizer memory
and no share of the gradient norm:

    trainable = optimizer.trainable(params)
    grads = jax.grad(lambda trainable: loss(optimizer.merge(trainable, params)))(trainable)
    updates, opt_state = optimizer.tx.update(grads, opt_state, trainable)
    params = optimizer.merge(optax.apply_updates(trainable, updates), params)

Batch statistics and dropout of frozen modules are `partition.freeze_interceptor`'s.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from cvjax.train.lbfgs import Lbfgs, LbfgsState, initial_state, minimize
from cvjax.train.partition import first_matches, frozen_lookup, matches_any, parameter_paths
from cvjax.train.plateau import ReduceOnPlateau
from cvjax.train.schedule import make_schedule, option_problems, unknown
from cvjax.train.update_rules import RULES, Rule, Situation

OPTIMIZERS: Mapping[str, Callable[..., Rule | Lbfgs]] = {**RULES, "lbfgs": Lbfgs}

GROUP_OPTIONS = ("lr", "lr_multiplier", "weight_decay", "every")
ADAPTIVE = ("lars", "lamb")  # rules that scale a tensor's step by its norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """What a config's section `optim` says.

    `options` are the rule's own (see update_rules). `schedule` is `{"name": ..., **options}` as
    `make_schedule` takes them.

    `weight_decay` is L2 added to the gradient where PyTorch adds it (sgd, adam, ...) and decoupled
    in adamw and lamb. `decay_exempt` are patterns of paths without decay. None by default, because
    ResNet's and VGG's recipes decay everything; later recipes exempt biases and normalisation:
    (".*/bias", ".*/scale"). `adapt_exempt`: paths whose steps LARS and LAMB do not scale.

    Gradients are clipped to [-clip_value, clip_value], then to the norm `clip_norm`, all trainable
    parameters together; 0 turns a clip off. `accumulate` is the number of micro-batches that make
    a step: the training step reads it, updates do not.

    `groups` are (pattern, options or None): the first pattern that matches a whole path wins, None
    freezes, and options override `lr` (the same schedule from another height), `lr_multiplier`,
    `weight_decay` and `every` (k: move at steps k, 2k, ... only, with nothing remembered of those
    between). A pattern left without a parameter is an error, but for a last (".*", {}).
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


class RuleState(NamedTuple):
    """What the rule remembers of the parameters that move at the same steps."""

    count: jax.Array  # updates so far
    slots: dict[str, Any]  # name -> tree like the trainable parameters
    scalars: dict[str, jax.Array]


class FullBatchState(NamedTuple):
    """`step` counts calls of update; `vector` is L-BFGS's state over all parameters as one."""

    step: jax.Array
    vector: LbfgsState


class OptimizerState(NamedTuple):
    """`step` counts calls of update; `moving` maps "every_<k>" to what moves each k-th step."""

    step: jax.Array
    moving: dict[str, RuleState]


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


class _Leaf(NamedTuple):
    """Settings of one trainable tensor."""

    lr: float
    weight_decay: float
    every: int
    adapt: bool


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
    rows, leaves, group_problems = _assign(options, params)
    problems += rule_problems + schedule_problems + group_problems
    if problems:
        raise ValueError("\n".join(problems))

    plateau = None
    if options.schedule["name"] == "plateau":
        reserved = ("name", "warmup", "unit")
        plateau = ReduceOnPlateau(
            **{key: value for key, value in options.schedule.items() if key not in reserved}
        )
    full_batch = isinstance(rule, Lbfgs)
    transformation = _full_batch if full_batch else _tensorwise
    return Optimizer(
        options=options,
        tx=transformation(rule, leaves, curve, options),
        lr_fn=lambda step: options.lr * curve(step),
        plateau=plateau,
        needs_value_fn=full_batch,
        rows=rows,
        structure=jax.tree.structure(params),
        frozen_at=frozen_lookup({row.path: row.frozen for row in rows}),
    )


def clip_by_norm(grads: Sequence[jax.Array], max_norm: float) -> list[jax.Array]:
    """`grads` scaled so that their common norm is at most `max_norm` (torch's clip_grad_norm_)."""
    norm = jnp.sqrt(sum(jnp.sum(grad**2) for grad in grads))
    scale = jnp.minimum(max_norm / (norm + 1e-6), 1.0)
    return [grad * scale.astype(grad.dtype) for grad in grads]


def _tensorwise(
    rule: Rule, leaves: Sequence[_Leaf], curve: optax.Schedule, options: OptimOptions
) -> optax.GradientTransformationExtraArgs:
    """The rule over all trainable tensors, each with its own settings."""
    moving = {
        every: [i for i, leaf in enumerate(leaves) if leaf.every == every]
        for every in sorted({leaf.every for leaf in leaves})
    }

    def init(params: Any) -> OptimizerState:
        tensors, structure = jax.tree.flatten(params)

        def filled(indices: Sequence[int], value: float) -> Any:
            chosen = set(indices)
            return jax.tree.unflatten(
                structure,
                [jnp.full_like(x, value) if i in chosen else None for i, x in enumerate(tensors)],
            )

        states = {
            f"every_{every}": RuleState(
                count=jnp.zeros((), jnp.int32),
                slots={name: filled(indices, value) for name, value in rule.slots.items()},
                scalars={name: jnp.asarray(value, float) for name, value in rule.scalars.items()},
            )
            for every, indices in moving.items()
        }
        return OptimizerState(jnp.zeros((), jnp.int32), states)

    def update(
        grads: Any,
        state: OptimizerState,
        params: Any = None,
        *,
        lr_scale: jax.Array | float = 1.0,
        **_: Any,  # what other transformations take
    ) -> tuple[Any, OptimizerState]:
        tensors, structure = jax.tree.flatten(params)
        if structure != jax.tree.structure(grads) or len(tensors) != len(leaves):
            raise ValueError(
                "Gradients and parameters must be those of optimizer.trainable(params).\n"
                f"  Got {jax.tree.structure(grads)} and {structure}."
            )
        active = {every: (state.step + 1) % every == 0 for every in moving}
        grads = jax.tree.leaves(grads)
        if options.clip_value > 0:
            grads = [jnp.clip(g, -options.clip_value, options.clip_value) for g in grads]
        if options.clip_norm > 0:
            # Who does not move at this step has no share of the norm.
            counted = [
                g if leaf.every == 1 else jnp.where(active[leaf.every], g, 0.0)
                for g, leaf in zip(grads, leaves)
            ]
            grads = clip_by_norm(counted, options.clip_norm)

        curve_now = curve(state.step) * lr_scale
        updates: list[Any] = [None] * len(leaves)
        states = {}
        for every, indices in moving.items():
            old = state.moving[f"every_{every}"]
            deltas, new = _apply_rule(
                rule,
                old,
                [(leaves[i], grads[i], tensors[i]) for i in indices],
                curve_now,
                jax.tree.unflatten(
                    structure, [i if i in set(indices) else None for i in range(len(leaves))]
                ),
            )
            if every > 1:
                moves = active[every]
                new = jax.tree.map(lambda a, b, moves=moves: jnp.where(moves, a, b), new, old)
                # x + -0.0 is x, bit for bit, also where x is -0.0
                deltas = [jnp.where(moves, d, jnp.zeros_like(d)) for d in deltas]
            states[f"every_{every}"] = new
            for i, delta in zip(indices, deltas):
                updates[i] = -delta
        return jax.tree.unflatten(structure, updates), OptimizerState(state.step + 1, states)

    return optax.GradientTransformationExtraArgs(init, update)


def _apply_rule(
    rule: Rule,
    state: RuleState,
    tensors: Sequence[tuple[_Leaf, jax.Array, jax.Array]],
    curve_now: jax.Array,
    places: Any,
) -> tuple[list[jax.Array], RuleState]:
    """What to subtract from each tensor, and the new state; `places` is the slots' tree."""
    count = state.count + 1
    now = count.astype(float)
    scalars = rule.advance(state.scalars, now)
    old_slots = {name: jax.tree.leaves(tree) for name, tree in state.slots.items()}
    new_slots: dict[str, list[jax.Array]] = {name: [] for name in old_slots}
    deltas = []
    for i, (leaf, grad, param) in enumerate(tensors):
        lr = leaf.lr * curve_now
        if rule.decay == "coupled" and leaf.weight_decay:
            grad = grad + leaf.weight_decay * param
        own_decay = leaf.weight_decay if rule.decay == "own" else 0.0
        situation = Situation(lr, own_decay, leaf.adapt, now, scalars)
        slots = {name: values[i] for name, values in old_slots.items()}
        delta, slots = rule.step(grad, slots, param, situation)
        if rule.decay == "decoupled" and leaf.weight_decay:
            delta = delta + lr * leaf.weight_decay * param
        deltas.append(delta.astype(param.dtype))
        for name, value in slots.items():
            new_slots[name].append(value.astype(old_slots[name][i].dtype))
    structure = jax.tree.structure(places)
    trees = {name: jax.tree.unflatten(structure, values) for name, values in new_slots.items()}
    return deltas, RuleState(count, trees, scalars)


def _full_batch(
    rule: Lbfgs, leaves: Sequence[_Leaf], curve: optax.Schedule, options: OptimOptions
) -> optax.GradientTransformationExtraArgs:
    """L-BFGS over all trainable tensors as one vector; weight decay is part of the loss."""

    def init(params: Any) -> FullBatchState:
        vector, _ = ravel_pytree(params)
        return FullBatchState(jnp.zeros((), jnp.int32), initial_state(rule, vector))

    def update(
        grads: Any,
        state: FullBatchState,
        params: Any = None,
        *,
        value: jax.Array,
        value_fn: Callable[[Any], jax.Array],
        lr_scale: jax.Array | float = 1.0,
        **_: Any,  # what other transformations take
    ) -> tuple[Any, FullBatchState]:
        x, unravel = ravel_pytree(params)
        gradient, _ = ravel_pytree(grads)

        def penalty(x: jax.Array) -> jax.Array:
            tensors = zip(leaves, jax.tree.leaves(unravel(x)))
            terms = (0.5 * leaf.weight_decay * jnp.sum(p**2) for leaf, p in tensors)
            return sum(terms, start=jnp.zeros((), x.dtype))

        def loss(x: jax.Array) -> jax.Array:
            return value_fn(unravel(x)) + penalty(x)

        extra_value, extra_gradient = jax.value_and_grad(penalty)(x)
        value, gradient = value + extra_value, gradient + extra_gradient
        lr = options.lr * curve(state.step) * lr_scale
        new_x, vector = minimize(
            rule, jax.value_and_grad(loss), x, value, gradient, state.vector, lr
        )
        return unravel(new_x - x), FullBatchState(state.step + 1, vector)

    return optax.GradientTransformationExtraArgs(init, update)


def _number_problems(options: OptimOptions) -> list[str]:
    problems = []
    for name in ("lr", "weight_decay", "clip_norm", "clip_value"):
        value = getattr(options, name)
        if not value >= 0 or math.isinf(value):
            problems.append(f"optim.{name}: a finite number >= 0 is needed, got {value!r}.")
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
    problems = option_problems(f"optim.options: {options.name!r}", build, options.options)
    if options.name == "lbfgs":
        problems += _full_batch_problems(options)
    if problems:
        return None, problems
    try:
        return build(**options.options), []
    except ValueError as error:
        return None, [f"optim.options: {error}"]


def _full_batch_problems(options: OptimOptions) -> list[str]:
    """What L-BFGS cannot honour: it moves all parameters as one vector along a line."""
    problems = [
        f"optim.{name}: a clipped gradient breaks the line search of 'lbfgs'; set it to 0."
        for name in ("clip_norm", "clip_value")
        if getattr(options, name)
    ]
    for pattern, settings in options.groups:
        names = [name for name in ("lr", "lr_multiplier", "every") if name in (settings or {})]
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
) -> tuple[tuple[TableRow, ...], list[_Leaf], list[str]]:
    """Rows of all parameters, settings of the trainable ones, problems."""
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
    for pattern, settings in groups:
        problems += _group_problems(pattern, settings)
    if paths and not problems and all(groups[index][1] is None for index in indices):
        problems.append("optim.groups: every parameter is frozen, so there is nothing to train.")
    if problems:
        return (), [], problems

    rows, leaves = [], []
    for path, shape, index, no_decay, no_adapt in zip(paths, shapes, indices, exempt, plain):
        pattern, settings = groups[index]
        if settings is None:
            rows.append(TableRow(path, shape, pattern, 0.0, 0.0, True))
            continue
        lr = settings.get("lr", options.lr) * settings.get("lr_multiplier", 1.0)
        decay = 0.0 if no_decay else settings.get("weight_decay", options.weight_decay)
        rows.append(TableRow(path, shape, pattern, lr, decay, False))
        leaves.append(_Leaf(lr, decay, settings.get("every", 1), not no_adapt))
    return tuple(rows), leaves, problems


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
    every = settings.get("every", 1)
    if not isinstance(every, int) or every < 1:
        problems.append(
            f"optim.groups: {pattern!r}: every: a whole number of steps is needed, got {every!r}."
        )
    return problems
