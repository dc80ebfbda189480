"""Short trials before a run, `launch.py --mode find_lr` and `--mode overfit_one_batch`.

Both start where training would start, take its own training step at a constant schedule, and write
files of their own into the workdir. What a run has there is neither read nor touched, so the same
workdir may hold the run, before or after.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

from cvjax.train.experiment import Experiment
from cvjax.train.restore import initial_state, initialise_from
from cvjax.train.setup import Setup
from cvjax.train.state import TrainState
from cvjax.train.writer import write_json_lines


def as_trial(experiment: Experiment, *, steps: int) -> Experiment:
    """`experiment` for `steps` steps at its own constant rate, each logged, without evaluations.

    One step more is taken: the loss that a step reports is that before it.

    Raises:
        ValueError: if `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"--trial_steps is {steps}; at least 1 is needed.")
    return dataclasses.replace(
        experiment,
        optim=dataclasses.replace(experiment.optim, schedule={"name": "constant"}),
        train=dataclasses.replace(
            experiment.train, epochs=None, steps=steps + 1, log_every=1, early_stop=None
        ),
        evals={},
    )


def starting_state(experiment: Experiment, setup: Setup) -> TrainState:
    """Fresh state, with the weights of `train.init_from` or `train.resume`, if there are any.

    Of `train.resume` it takes parameters and statistics only: a trial has its own optimizer.
    """
    state, resume = setup.init(), experiment.train.resume
    return initialise_from(resume, (), state) if resume else initial_state(experiment, state)


def write_trial(
    workdir: str | Path, name: str, records: Iterable[dict[str, Any]]
) -> tuple[Path, Path] | None:
    """Writes `<name>.jsonl`; returns its path and the picture's. First process only, else None."""
    if jax.process_index():
        return None
    folder = Path(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.jsonl"
        write_json_lines(path, records)
    except OSError as error:
        raise OSError(
            f"the workdir {folder} can't be written to ({error.strerror}). "
            "Choose another --workdir or free space."
        ) from error
    return path, folder / f"{name}.png"
