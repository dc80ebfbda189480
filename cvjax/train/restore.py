"""Starting from another run: everything (`train.resume`) or its parameters (`train.init_from`).

`init_from` goes by rules. A rule is (target regex, source template or None): the first whose regex
matches a target's whole path wins; the template, with the regex's groups, names the source's path,
and None keeps the fresh value. A third part names the converter that may change an array's shape.
Paths are those of parameters, such as `stage1_block1/conv1/kernel`, and the same rules hold for
every collection (`params`, `batch_stats`). The plan is made from shapes and dtypes before an array
is read, and whatever does not fit is one error that names it all. Weights of other libraries go
the same way: who reads them arrives as an argument.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from cvjax.train.checkpoint import CheckpointError, Checkpoints, Restored, problems_of
from cvjax.train.experiment import Experiment
from cvjax.train.progress import log
from cvjax.train.state import TrainState
from cvjax.train.writer import write_json

Rules = Sequence[tuple[str, str | None] | tuple[str, str, str]]
# Without rules every parameter is taken from the source's of the same path.
SAME_PATHS: Rules = ((".*", r"\g<0>"),)
_EXAMPLES = 20

Shapes = Mapping[str, tuple[tuple[int, ...], str]]


@dataclass
class Plan:
    """What goes where; paths begin with their collection, such as `params/`.

    Attributes:
        load: target path -> source path.
        keep: target paths that keep their fresh value.
        ignored: source paths that nothing asks for.
        converted: target path -> name of the converter that gives its array another shape.
        problems: whatever does not fit, a line each.
    """

    load: dict[str, str] = field(default_factory=dict)
    keep: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def make_plan(
    target: Shapes, source: Shapes, rules: Rules, converters: Mapping[str, Any] | None = None
) -> Plan:
    """Matches {path: (shape, dtype)} of the fresh variables with those of the source.

    Nothing is resized or cast silently: shapes have to be equal unless the rule names one of
    `converters` (objects with `problem` and `convert`, see `cvjax.pretrained.reshape`), and float
    stays float.
    """
    plan, converters = Plan(), converters or {}
    compiled, named = [], []
    for pattern, template, *converter in rules:
        unknown = [name for name in converter if name not in converters]
        if unknown or len(converter) > 1:
            plan.problems.append(
                f"the rule {pattern!r} names {converter}; one of {sorted(converters)} can be"
            )
        try:
            compiled.append((re.compile(pattern), template))
            named.append("" if unknown or not converter else converter[0])
        except re.error as error:
            plan.problems.append(f"{pattern!r} is not a regular expression ({error})")
    used = [False] * len(compiled)
    for path, (shape, dtype) in target.items():
        collection, _, name = path.partition("/")
        hit = next((i for i, (regex, _) in enumerate(compiled) if regex.fullmatch(name)), None)
        if hit is None:
            plan.problems.append(f"no rule matches {path}")
            continue
        used[hit] = True
        regex, template = compiled[hit]
        if template is None:
            plan.keep.append(path)
            continue
        try:
            wanted = f"{collection}/{regex.fullmatch(name).expand(template)}"
        except (re.error, IndexError) as error:
            plan.problems.append(f"{path}: {template!r} does not expand ({error})")
            continue
        if wanted not in source:
            plan.problems.append(f"{path}: the source has no {wanted}")
        elif (why := _misfit(source[wanted][0], shape, converters.get(named[hit]))) is not None:
            plan.problems.append(
                f"{path} has shape {tuple(shape)}, the source's {wanted} {source[wanted][0]}{why}"
            )
        elif _is_float(dtype) != _is_float(source[wanted][1]):
            plan.problems.append(f"{path} is {dtype}, {wanted} of the source {source[wanted][1]}")
        else:
            plan.load[path] = wanted
            if tuple(source[wanted][0]) != tuple(shape):
                plan.converted[path] = named[hit]
    for (regex, _), hit in zip(compiled, used):
        if not hit:
            plan.problems.append(f"the rule {regex.pattern!r} applies to no parameter")
    plan.ignored = sorted(set(source) - set(plan.load.values()))
    return plan


def _misfit(source: Sequence[int], target: Sequence[int], converter: Any) -> str | None:
    """None where an array of one shape can serve for the other, else what to add to the problem."""
    if tuple(source) == tuple(target):
        return None
    if converter is None:
        return ""
    problem = converter.problem(tuple(source), tuple(target))
    return f" ({problem})" if problem else None


def initial_state(
    experiment: Experiment, state: TrainState, *, report_path: Path | None = None
) -> TrainState:
    """The fresh `state` with what `train.init_from` or the stage before gives it, if either does.

    Raises:
        ValueError: as `initialise_from`.
    """
    origin = experiment.train.init_from or experiment.stage_before
    if not origin:
        return state
    return initialise_from(
        str(origin),
        experiment.train.init_rules,
        state,
        report_path=report_path,
        other_weights=experiment.other_weights,
        converters=experiment.converters,
    )


def initialise_from(
    origin: str,
    rules: Rules,
    state: TrainState,
    *,
    report_path: Path | None = None,
    other_weights: Callable[[str], Mapping[str, Any] | None] | None = None,
    converters: Mapping[str, Any] | None = None,
) -> TrainState:
    """`state` with parameters and statistics of the checkpoint at `origin`, by `rules`.

    `origin` is a workdir (its best checkpoint, else its newest) or one checkpoint folder; moving
    averages are taken where the source kept them. Otherwise it is what `other_weights` gives
    variables for, {"params": ..., "batch_stats": ...} of host arrays, and not None. The step
    stays 0 and the optimizer fresh. What was loaded, kept and ignored is written to `report_path`
    and summarised in the log.

    Raises:
        ValueError: naming every uncovered, missing or misshapen parameter.
        CheckpointError: if there is no such checkpoint or it is damaged.
    """
    others = other_weights(origin) if other_weights is not None else None
    if others is None:
        folder = checkpoint_folder(origin, "best")
        found, where = _found_variables(folder), str(folder)
    else:
        hosted = traverse_util.flatten_dict(dict(others), sep="/")
        found = {path: ((x.shape, str(x.dtype)), (path,)) for path, x in hosted.items()}
        where = origin
    target = _shapes({"params": state.params, **state.mutable})
    shapes = {path: shape for path, (shape, _) in found.items()}
    plan = make_plan(target, shapes, rules or SAME_PATHS, converters)
    if plan.problems:
        shown = "\n".join(f"  {problem}" for problem in plan.problems)
        raise ValueError(
            f"train.init_from={origin!r} does not fit the model:\n{shown}\n"
            "  Say in train.init_rules what goes where: (target regex, source template), or "
            "(target regex, None) to keep a fresh value. The source has: "
            + ", ".join(sorted(found)[:_EXAMPLES])
            + (", ..." if len(found) > _EXAMPLES else "")
        )
    fresh = {"params": state.params, **state.mutable}
    flat = traverse_util.flatten_dict(fresh, sep="/")
    wanted = {}
    for path, source in plan.load.items():
        (shape, _), stored_at = found[source]
        if path not in plan.converted:
            wanted[stored_at] = flat[path]
        else:  # unless another target takes it as it is
            wanted.setdefault(stored_at, _as_stored(flat[path], shape))
    if others is None:
        arrays = _read(folder, wanted)
    else:
        arrays = {(path,): _placed(hosted[path], like) for (path,), like in wanted.items()}
    loaded = {}
    for path, source in plan.load.items():
        array = arrays[found[source][1]]
        if path in plan.converted:
            converter, like = converters[plan.converted[path]], flat[path]
            loaded[path] = _placed(converter.convert(np.asarray(array), like.shape), like)
        else:  # copies: two targets may load from one source, and donated buffers must not alias
            loaded[path] = jnp.copy(array)
    variables = traverse_util.unflatten_dict({**flat, **loaded}, sep="/")
    params = variables.pop("params")
    if report_path is not None:
        report = {
            "source": where,
            "loaded": plan.load,
            "converted": plan.converted,
            "kept": plan.keep,
            "ignored": plan.ignored,
        }
        write_json(report_path, report)
    log.info(
        "init_from %s: %d arrays loaded, %d kept fresh, %d of the source ignored",
        where, len(plan.load), len(plan.keep), len(plan.ignored),
    )  # fmt: skip
    state = state.replace(params=params, mutable=variables)
    if state.ema is not None:
        copies = jax.tree.map(jnp.copy, {"params": params, "mutable": variables})
        state = state.replace(ema=copies)
    return state


def continue_from(origin: str, like: Any) -> Restored:
    """The whole state at `origin`, step, optimizer and all.

    `origin` is a workdir (its newest checkpoint) or one checkpoint folder.

    Raises:
        CheckpointError: if there is none, it is damaged, or its tree differs from `like`.
    """
    folder = checkpoint_folder(origin, "latest")
    checkpoints = Checkpoints(folder.parent)
    try:
        log.info("resuming from %s", folder)
        return checkpoints.restore(int(folder.name), like)
    finally:
        checkpoints.close()


def saved_variables(origin: str | Path, which: str = "best") -> tuple[Path, dict[str, Any]]:
    """(checkpoint folder, variables of the model in it): {"params": ..., "batch_stats": ...}.

    `origin` is a workdir, whose `which` checkpoint ("best", "latest" or a step) is read, or one
    checkpoint folder. Moving averages where the run kept them; whole on the first device.

    Raises:
        CheckpointError: if there is no such checkpoint or it is damaged.
    """
    folder = checkpoint_folder(str(origin), which)
    found = _found_variables(folder)
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        stored_at: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
        for (shape, dtype), stored_at in found.values()
    }
    arrays = _read(folder, wanted)
    flat = {path: arrays[stored_at] for path, (_, stored_at) in found.items()}
    return folder, traverse_util.unflatten_dict(flat, sep="/")


def checkpoint_folder(origin: str, which: str) -> Path:
    """The checkpoint folder that `origin` means, verified: itself, or the workdir's `which` one."""
    path = Path(origin).expanduser().absolute()
    if (path / "checkpoints").is_dir():
        checkpoints = Checkpoints(path / "checkpoints")
        try:
            path = path / "checkpoints" / str(checkpoints.find(which))
        finally:
            checkpoints.close()
    if not path.is_dir():
        raise CheckpointError(
            f"{origin}: there is no such workdir, checkpoint folder or file of weights."
        )
    problems = problems_of(path)
    if problems:
        raise CheckpointError(f"{path} is no sound checkpoint: {'; '.join(problems[:5])}.")
    return path


def _is_float(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def _shapes(variables: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], Any]]:
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    return {path: (leaf.shape, leaf.dtype) for path, leaf in flat.items()}


def _found_variables(folder: Path) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """{`params/...` or `batch_stats/...`: ((shape, dtype), path in the checkpoint's tree)}."""
    handler = ocp.PyTreeCheckpointer()
    try:
        tree = handler.metadata(folder).item_metadata.tree
    finally:
        handler.close()
    ema = tree.get("ema")
    root = ("ema",) if ema else ()
    params = (ema or tree)["params"]
    mutable = (ema or tree)["mutable"] or {}
    found = {}
    for collection, branch in {"params": params, **mutable}.items():
        where = (*root, "params") if collection == "params" else (*root, "mutable", collection)
        for keys, leaf in traverse_util.flatten_dict(branch).items():
            shape = (tuple(leaf.shape), str(np.dtype(leaf.dtype)))
            found["/".join((collection, *keys))] = (shape, (*where, *keys))
    return found


def _as_stored(like: jax.Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """The source's shape, whole on every device of `like`: it need not divide as `like` does."""
    sharding = like.sharding
    if isinstance(sharding, NamedSharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.ShapeDtypeStruct(shape, like.dtype, sharding=sharding)


def _placed(array: np.ndarray, like: jax.Array) -> jax.Array:
    """A host's array laid out and typed as the one that it will replace."""
    array = np.asarray(array, like.dtype)
    return jax.make_array_from_callback(array.shape, like.sharding, lambda index: array[index])


def _read(folder: Path, wanted: Mapping[tuple[str, ...], jax.Array]) -> dict[tuple, jax.Array]:
    """The arrays at the checkpoint's paths, each laid out as the array it will replace."""
    like = traverse_util.unflatten_dict(
        {
            path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
            for path, x in wanted.items()
        }
    )
    reader = ocp.PyTreeCheckpointer()
    try:
        tree = reader.restore(
            folder,
            args=ocp.args.PyTreeRestore(
                item=like,
                restore_args=ocp.checkpoint_utils.construct_restore_args(like),
                partial_restore=True,
            ),
        )
    finally:
        reader.close()
    return traverse_util.flatten_dict(tree)
