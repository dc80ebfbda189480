"""L-BFGS over the whole training set (Liu & Nocedal 1989), as torch.optim.LBFGS does it.

One update makes up to `max_iter` iterations, each of which may evaluate the loss several times. All
parameters are one vector. optax.lbfgs has another first step, another line search and one iteration
an update, so its trajectories are not PyTorch's.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

ARMIJO, CURVATURE = 1e-4, 0.9  # strong Wolfe conditions: enough descent, flat enough
SMALLEST_BRACKET = 1e-9
SEARCHING, BRACKETED, FOUND = 0, 1, 2  # what a line search's first phase says of a point
LINE_SEARCHES = (None, "strong_wolfe")

Objective = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # x -> loss, gradient


@dataclasses.dataclass(frozen=True)
class Lbfgs:
    """Options, named as PyTorch's.

    Without a line search every step is the learning rate (the first: times min(1, 1 / |g|_1)).
    `history_size` pairs of vectors are kept: 2 * history_size times the parameters' memory.
    """

    max_iter: int = 20
    max_eval: int | None = None  # None: 5/4 of max_iter
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    history_size: int = 100
    line_search_fn: str | None = None

    def __post_init__(self) -> None:
        if self.line_search_fn not in LINE_SEARCHES:
            raise ValueError(
                f"line_search_fn: one of {LINE_SEARCHES} is needed, got {self.line_search_fn!r}."
            )
        for name in ("max_iter", "history_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1 is needed, got {getattr(self, name)!r}.")

    @property
    def evaluations(self) -> int:
        """How often one update may evaluate the loss; the last line search may end above it."""
        return self.max_iter * 5 // 4 if self.max_eval is None else self.max_eval


class LbfgsState(NamedTuple):
    """What one iteration leaves for the next; the pairs' newest is last, empty places are 0."""

    iterations: jax.Array
    gradient: jax.Array  # [N] where the last iteration began
    direction: jax.Array  # [N]
    length: jax.Array  # of the last step along the direction
    steps: jax.Array  # [M, N]
    changes: jax.Array  # [M, N] of the gradient along `steps`
    curvatures: jax.Array  # [M] 1 / (step . change)
    scale: jax.Array  # of the first guess at the inverse Hessian


def initial_state(options: Lbfgs, x: jax.Array) -> LbfgsState:
    """The state before the first iteration."""
    pairs = jnp.zeros((options.history_size, *x.shape), x.dtype)
    return LbfgsState(
        iterations=jnp.zeros((), jnp.int32),
        gradient=jnp.zeros_like(x),
        direction=jnp.zeros_like(x),
        length=jnp.zeros((), x.dtype),
        steps=pairs,
        changes=jnp.zeros_like(pairs),
        curvatures=jnp.zeros(options.history_size, x.dtype),
        scale=jnp.ones((), x.dtype),
    )


def lbfgs(
    options: Lbfgs, learning_rate: jax.Array | float, decays: Sequence[float]
) -> optax.GradientTransformationExtraArgs:
    """`minimize` over all tensors as one vector, as a transformation whose state is LbfgsState.

    `decays`: each tensor's weight decay, which is part of the loss.
    """

    def init(params: Any) -> LbfgsState:
        return initial_state(options, ravel_pytree(params)[0])

    def update(
        grads: Any,
        state: LbfgsState,
        params: Any = None,
        *,
        value: jax.Array,
        value_fn: Callable[[Any], jax.Array],
        **_: Any,  # what other transformations take
    ) -> tuple[Any, LbfgsState]:
        x, unravel = ravel_pytree(params)

        def penalty(x: jax.Array) -> jax.Array:
            tensors = zip(decays, jax.tree.leaves(unravel(x)))
            terms = (0.5 * decay * jnp.sum(p**2) for decay, p in tensors)
            return sum(terms, start=jnp.zeros((), x.dtype))

        def loss(x: jax.Array) -> jax.Array:
            return value_fn(unravel(x)) + penalty(x)

        more, more_gradient = jax.value_and_grad(penalty)(x)
        new_x, state = minimize(
            options,
            jax.value_and_grad(loss),
            x,
            value + more,
            ravel_pytree(grads)[0] + more_gradient,
            state,
            learning_rate,
        )
        return unravel(new_x - x), state

    return optax.GradientTransformationExtraArgs(init, update)


class _Point(NamedTuple):
    """A place on a line: its distance along it, loss, gradient, slope along the line."""

    t: jax.Array
    value: jax.Array
    gradient: jax.Array
    slope: jax.Array


class _Iteration(NamedTuple):
    x: jax.Array
    value: jax.Array
    gradient: jax.Array
    state: LbfgsState
    count: jax.Array  # iterations in this update
    evaluations: jax.Array
    done: jax.Array


def minimize(
    options: Lbfgs,
    objective: Objective,
    x: jax.Array,
    value: jax.Array,
    gradient: jax.Array,
    state: LbfgsState,
    lr: jax.Array,
) -> tuple[jax.Array, LbfgsState]:
    """The next x and state, from x with its loss and gradient: one `step` of torch's LBFGS."""

    def iterate(now: _Iteration) -> _Iteration:
        state = _remember(now.state, now.gradient)
        direction = _descent_direction(state, now.gradient)
        first = jnp.minimum(1.0, 1.0 / jnp.abs(now.gradient).sum()) * lr
        length = jnp.where(state.iterations == 0, first, lr).astype(x.dtype)
        state = state._replace(
            iterations=state.iterations + 1,
            gradient=now.gradient,
            direction=direction,
            length=length,
        )
        count = now.count + 1
        start = _Point(
            jnp.zeros((), x.dtype), now.value, now.gradient, jnp.dot(now.gradient, direction)
        )

        def evaluate(t: jax.Array) -> _Point:
            value, gradient = objective(now.x + t * direction)
            return _Point(t, value, gradient, jnp.dot(gradient, direction))

        def move() -> _Iteration:
            if options.line_search_fn is not None:
                budget = options.evaluations - now.evaluations
                end, used = _strong_wolfe(evaluate, start, length, direction, budget)
            elif options.max_iter == 1:
                end, used = start._replace(t=length), 0
            else:  # the last iteration needs no loss at its end
                used = (count < options.max_iter).astype(jnp.int32)
                end = jax.lax.cond(
                    used > 0,
                    lambda: evaluate(length),
                    lambda: start._replace(t=length),
                )
            evaluations = now.evaluations + used
            done = (
                (evaluations >= options.evaluations)
                | (jnp.abs(end.gradient).max() <= options.tolerance_grad)
                | (jnp.abs(end.t * direction).max() <= options.tolerance_change)
                | (jnp.abs(end.value - now.value) < options.tolerance_change)
            )
            return _Iteration(
                x=now.x + end.t * direction,
                value=end.value,
                gradient=end.gradient,
                state=state._replace(length=end.t),
                count=count,
                evaluations=evaluations,
                done=done,
            )

        def stay() -> _Iteration:
            return now._replace(state=state, count=count, done=jnp.array(True))

        return jax.lax.cond(start.slope > -options.tolerance_change, stay, move)

    end = jax.lax.while_loop(
        lambda now: (now.count < options.max_iter) & ~now.done,
        iterate,
        _Iteration(
            x=x,
            value=value,
            gradient=gradient,
            state=state,
            count=jnp.zeros((), jnp.int32),
            evaluations=jnp.ones((), jnp.int32),
            done=jnp.abs(gradient).max() <= options.tolerance_grad,
        ),
    )
    return end.x, end.state


def _remember(state: LbfgsState, gradient: jax.Array) -> LbfgsState:
    """The state with the last step's pair, if the curvature along it was positive."""
    change = gradient - state.gradient
    step = state.direction * state.length
    product = jnp.dot(change, step)

    def push(kept: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.concatenate([kept[1:], new[None]])

    useful = (state.iterations > 0) & (product > 1e-10)
    pushed = state._replace(
        steps=push(state.steps, step),
        changes=push(state.changes, change),
        curvatures=push(state.curvatures, 1.0 / product),
        scale=product / jnp.dot(change, change),
    )
    return jax.tree.map(lambda new, old: jnp.where(useful, new, old), pushed, state)


def _descent_direction(state: LbfgsState, gradient: jax.Array) -> jax.Array:
    """Minus the inverse Hessian's guess times `gradient` (the two-loop recursion)."""

    def newest_first(
        q: jax.Array, pair: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        step, change, curvature = pair
        alpha = jnp.dot(step, q) * curvature
        return q - alpha * change, alpha

    def oldest_first(
        r: jax.Array, pair: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, None]:
        step, change, curvature, alpha = pair
        beta = jnp.dot(change, r) * curvature
        return r + (alpha - beta) * step, None

    pairs = (state.steps, state.changes, state.curvatures)
    q, alphas = jax.lax.scan(newest_first, -gradient, pairs, reverse=True)
    direction, _ = jax.lax.scan(oldest_first, q * state.scale, (*pairs, alphas))
    return direction


class _Bracketing(NamedTuple):
    new: _Point
    previous: _Point
    count: jax.Array
    verdict: jax.Array  # SEARCHING, BRACKETED or FOUND


class _Zoom(NamedTuple):
    low: _Point  # of the two ends the one with the lower loss
    high: _Point
    stuck: jax.Array  # the last trial was close to an end
    count: jax.Array
    done: jax.Array


def _strong_wolfe(
    evaluate: Callable[[jax.Array], _Point],
    start: _Point,
    length: jax.Array,
    direction: jax.Array,
    budget: jax.Array,
) -> tuple[_Point, jax.Array]:
    """A point on the line that meets the strong Wolfe conditions, and the evaluations it took.

    Bracketing, then zooming (Nocedal & Wright, Numerical Optimization, algorithms 3.5 and 3.6),
    with the safeguards of minFunc's search that PyTorch took over. After `budget` trials beyond
    the first, the best point so far.
    """

    def descends(point: _Point) -> jax.Array:
        return point.value <= start.value + ARMIJO * point.t * start.slope

    def is_flat(point: _Point) -> jax.Array:
        return jnp.abs(point.slope) <= -CURVATURE * start.slope

    def bracket(now: _Bracketing) -> _Bracketing:
        new, previous = now.new, now.previous
        beyond = ~descends(new) | ((now.count > 1) & (new.value >= previous.value))
        verdict = jnp.where(
            beyond,
            BRACKETED,
            jnp.where(is_flat(new), FOUND, jnp.where(new.slope >= 0, BRACKETED, SEARCHING)),
        )

        def further() -> _Bracketing:
            lowest = new.t + 0.01 * (new.t - previous.t)
            t = _cubic_minimum(previous, new, lowest, new.t * 10.0)
            return _Bracketing(evaluate(t), new, now.count + 1, verdict)

        return jax.lax.cond(verdict == SEARCHING, further, lambda: now._replace(verdict=verdict))

    first = _Bracketing(evaluate(length), start, jnp.zeros((), jnp.int32), jnp.array(SEARCHING))
    found = jax.lax.while_loop(
        lambda now: (now.count < budget) & (now.verdict == SEARCHING), bracket, first
    )
    other = _choose(found.verdict == BRACKETED, found.previous, start)  # out of budget: the start
    other = _choose(found.verdict == FOUND, found.new, other)
    new_is_low = found.new.value < other.value  # never if it is NaN

    def zoom(now: _Zoom) -> _Zoom:
        low, high = now.low, now.high
        left, right = jnp.minimum(low.t, high.t), jnp.maximum(low.t, high.t)
        t = _cubic_minimum(low, high, left, right)
        margin = 0.1 * (right - left)
        close = jnp.minimum(right - t, t - left) < margin
        push = close & (now.stuck | (t >= right) | (t <= left))
        inside = jnp.where(jnp.abs(t - right) < jnp.abs(t - left), right - margin, left + margin)
        new = evaluate(jnp.where(push, inside, t))

        worse = ~descends(new) | (new.value >= low.value)
        flat = is_flat(new)
        past = new.slope * (high.t - low.t) >= 0
        return _Zoom(
            low=_choose(worse & ~(new.value < low.value), low, new),
            high=_choose(
                worse,
                _choose(new.value < low.value, low, new),
                _choose(~flat & past, low, high),
            ),
            stuck=close & ~push,
            count=now.count + 1,
            done=~worse & flat,
        )

    end = jax.lax.while_loop(
        lambda now: (
            ~now.done
            & (now.count < budget)
            & (jnp.abs(now.high.t - now.low.t) * jnp.abs(direction).max() >= SMALLEST_BRACKET)
        ),
        zoom,
        _Zoom(
            low=_choose(new_is_low, found.new, other),
            high=_choose(new_is_low, other, found.new),
            stuck=jnp.array(False),
            count=found.count,
            done=found.verdict == FOUND,
        ),
    )
    return end.low, end.count + 1


def _cubic_minimum(a: _Point, b: _Point, lowest: jax.Array, highest: jax.Array) -> jax.Array:
    """Where the cubic through both points with their slopes is least, within the bounds.

    The middle of the bounds where it has no minimum, or where a loss is not finite.
    """
    d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    d2 = jnp.sqrt(jnp.maximum(square, 0.0))
    left, right = _choose(a.t <= b.t, a, b), _choose(a.t <= b.t, b, a)
    place = right.t - (right.t - left.t) * (
        (right.slope + d2 - d1) / (right.slope - left.slope + 2.0 * d2)
    )
    has_minimum = (square >= 0) & jnp.isfinite(place)
    return jnp.where(has_minimum, jnp.clip(place, lowest, highest), (lowest + highest) / 2.0)


def _choose(condition: jax.Array, a: _Point, b: _Point) -> _Point:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
