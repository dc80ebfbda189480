"""Runs in stages: each starts from the state that the one before left, in a workdir of its own.

A config without stages is one run in the workdir itself. With them, `<workdir>/<stage's name>` is
a workdir like any other, so that each stage resumes as a run does and a finished one is not
run again; `<workdir>/stages.json` says how far they came.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from cvjax.train import dry_run, loop
from cvjax.train.experiment import Experiment
from cvjax.train.loop import Outcome
from cvjax.train.progress import log
from cvjax.train.writer import write_json

STAGES = "stages.json"


def run(experiments: Mapping[str, Experiment], workdir: str | Path) -> Outcome:
    """Runs all stages that have not ended yet, in order; the outcome of the last that ran.

    An interrupted stage is where it ends; the same call goes on there.

    Raises:
        ValueError, CheckpointError, NotFiniteError: as `loop.run`.
    """
    outcomes: list[dict[str, object]] = []
    before = None
    for name, folder in stage_folders(experiments, workdir).items():
        if name:
            log.info("%s (%d of %d)", name, len(outcomes) + 1, len(experiments))
        outcome = loop.run(dataclasses.replace(experiments[name], stage_before=before), folder)
        outcomes.append(
            {
                "stage": name,
                "status": outcome.status,
                "step": outcome.step,
                "figures": outcome.figures,
            }
        )
        if name:
            write_json(Path(workdir) / STAGES, {"stages": outcomes})
        if outcome.signal is not None:
            break
        before = folder
    return outcome


def evaluate(
    experiments: Mapping[str, Experiment], workdir: str | Path, *, checkpoint: str = "best"
) -> dict[str, float]:
    """Evaluates a checkpoint of the last stage, see `loop.evaluate`."""
    name, folder = list(stage_folders(experiments, workdir).items())[-1]
    return loop.evaluate(experiments[name], folder, checkpoint=checkpoint)


def describe(experiments: Mapping[str, Experiment]) -> str:
    """What each stage would do and need, see `dry_run.describe`."""
    texts = []
    for name, experiment in experiments.items():
        heading = f"{name}\n{'=' * len(name)}\n\n" if name else ""
        texts.append(heading + dry_run.describe(experiment))
    return "\n\n\n".join(texts)


def first(experiments: Mapping[str, Experiment], workdir: str | Path) -> tuple[Experiment, Path]:
    """The first stage and its workdir: what a trial is of."""
    name, folder = next(iter(stage_folders(experiments, workdir).items()))
    return experiments[name], folder


def stage_folders(experiments: Mapping[str, Experiment], workdir: str | Path) -> dict[str, Path]:
    """The workdir of each stage by its name."""
    workdir = Path(workdir)
    return {name: workdir / name for name in experiments}
