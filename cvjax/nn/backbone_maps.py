"""The maps of a backbone that a detector or a segmenter asks for by stride."""

from collections.abc import Mapping, Sequence

from jaxtyping import Array


def select_maps(features: Mapping[str, Array], strides: Sequence[int]) -> list[Array]:
    """`features["stride8"]`, ... for each of `strides`, in their order.

    Raises:
        ValueError: naming those that are not there and those that are.
    """
    missing = [f"stride{s}" for s in strides if f"stride{s}" not in features]
    if missing:
        known = sorted(name for name in features if name.startswith("stride"))
        raise ValueError(f"model.strides: the backbone has no {missing}; it has {known}.")
    return [features[f"stride{s}"] for s in strides]
