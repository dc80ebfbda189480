"""How deep in a network each parameter is, for rates that fall from the head down to the stem."""

import re
from collections.abc import Sequence

from cvjax.train.partition import first_matches

# Roles of the modules that a model is made of, from the input to the output: names of the house.
_ROLES = (
    re.compile(r"stem(_.*)?|patch_embedding|position_embedding|\w+_token"),
    re.compile(r"(?:stage|block|fire|conv|layer)(\d+)(?:_[a-z]+(\d+))?"),
    re.compile(r"last(?:_.*)?|norm|hidden(\d+)"),
    re.compile(r"head"),
)
_SHOWN = 5


def layers_from_top(paths: Sequence[str], order: Sequence[str] = ()) -> tuple[list[int], list[str]]:
    """For each parameter how many layers are above its own (the head: 0), and problems as text.

    A layer is one of `order`, patterns of whole paths from the input to the output. Without them
    it is the modules of one place in the network by their names: the stem; stage1_block1 and so
    on by their numbers, a norm with the convolution of its numbers; what follows the stages; head.
    """
    if order:
        indices, problems = first_matches(
            order, paths, field="optim.layer_order", advice="Add a pattern for it."
        )
        return [len(order) - 1 - index for index in indices], problems
    places, unknown = [], []
    for path in paths:
        module = path.partition("/")[0]
        place = _place(module)
        places.append(place)
        if place is None and module not in unknown:
            unknown.append(module)
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        return [], [
            f"optim.layer_decay: where {', '.join(map(repr, unknown[:_SHOWN]))}{more} come in the "
            "network does not show in their names. Give optim.layer_order: patterns of whole "
            "paths from the input to the output."
        ]
    ranks = {place: rank for rank, place in enumerate(sorted(set(places), reverse=True))}
    return [ranks[place] for place in places], []


def _place(module: str) -> tuple[int, ...] | None:
    for role, names in enumerate(_ROLES):
        match = names.fullmatch(module)
        if match:
            numbers = [int(group) for group in match.groups() if group and group.isdigit()]
            return (role, *numbers)
    return None
