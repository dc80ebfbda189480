"""The only place where a string in a config becomes an object.

`experiment` takes a whole config; `data`, `models`, `features`, `evaluations` and `judge` make its
parts. What can be named in a config is in the tables `SOURCES`, `TASKS`, `EVALUATORS`, `PROBES` and
`OF_TASK`.
"""

from cvjax.build.data import SOURCES, AbsentSource, source
from cvjax.build.evaluations import EVALUATORS, OF_TASK, PROBES
from cvjax.build.experiment import TASKS, complete, experiment, experiments

__all__ = [
    "EVALUATORS", "OF_TASK", "PROBES", "SOURCES", "TASKS", "AbsentSource", "complete", "experiment",
    "experiments", "source",
]  # fmt: skip
