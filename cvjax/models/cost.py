"""Multiply-adds and activations of a traced program, layer by layer."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jax.extend import core

Jaxpr = core.Jaxpr


@dataclass(frozen=True)
class Layer:
    """One convolution or matrix product.

    `name` is the path of modules that it was called in, `activations` how many numbers it puts out.
    """

    name: str
    multiply_adds: int
    activations: int


def layers(jaxpr: Jaxpr) -> list[Layer]:
    """All convolutions and matrix products of `jaxpr` in order, inside of nested programs too.

    A multiply-add per weight and output, those with the padding's zeros included. Of a `cond`, the
    branch counts that has least, but some: depthwise and grouped convolutions are such, whose CPU
    branches are shifted sums and convolutions by many zeros. A `scan`'s body counts as often as it
    runs, a `while`'s once. A product with a vector is none: layer normalisation takes its means so.
    """
    return list(_layers(jaxpr, ""))


def _layers(jaxpr: Jaxpr, scope: str) -> Iterator[Layer]:
    for eqn in jaxpr.eqns:
        here = "/".join(filter(None, (scope, str(eqn.source_info.name_stack))))
        # Flax names a module's own methods, too: "Net/Net.stem/conv".
        here = "/".join(part for part in here.split("/") if "." not in part)
        kind = eqn.primitive.name
        if kind == "dot_general" and eqn.invars[1].aval.ndim == 1:
            continue
        if kind in ("conv_general_dilated", "dot_general"):
            size = math.prod(eqn.outvars[0].aval.shape)
            yield Layer(here, size * _terms(eqn), size)
        elif kind == "cond":
            branches = [list(_layers(b.jaxpr, here)) for b in eqn.params["branches"]]
            counted = [found for found in branches if found] or [[]]
            yield from min(counted, key=lambda found: sum(x.multiply_adds for x in found))
        else:
            for inner in inner_jaxprs(eqn):
                found = list(_layers(inner, here))
                yield from found * (eqn.params["length"] if kind == "scan" else 1)


def inner_jaxprs(eqn: Any) -> Iterator[Jaxpr]:
    """The programs that `eqn` calls: of jit, remat, custom derivatives, scan, while."""
    for name, value in eqn.params.items():
        # Rules for derivatives are programs, too, but run only when differentiated.
        if name in ("fwd_jaxpr_thunk", "bwd", "jvp_jaxpr_fun"):
            continue
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item


def _terms(eqn: Any) -> int:
    """How many products an output sums."""
    left, right = (v.aval.shape for v in eqn.invars[:2])
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return math.prod(left[i] for i in contracted)
    # The kernel's axes are [filters, channels of a group, window...] in some order.
    _, *rest = eqn.params["dimension_numbers"].rhs_spec
    return math.prod(right[i] for i in rest)
