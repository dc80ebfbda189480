"""Trains, evaluates or describes the experiment that a config names.

    python launch.py --config configs/classification/lenet_digits.py --workdir runs/lenet_digits
    python launch.py --config FILE.py:variant --workdir DIR --config.optim.lr=0.01
    python launch.py --config FILE.py --workdir DIR --mode eval (or find_lr, overfit_one_batch)
    python launch.py --config FILE.py --mode dry_run

Exit status: 0 done, 1 it failed, 2 the command or config is wrong, 128 + signal when interrupted.
"""

import os
import sys

from absl import flags
from ml_collections import config_flags

flags.DEFINE_string("workdir", None, "Folder for checkpoints, metrics and the report.")
MODES = ("train", "eval", "dry_run", "find_lr", "overfit_one_batch")
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE_integer("trial_steps", None, "With find_lr, overfit_one_batch: at most so many steps.")
flags.DEFINE_string("checkpoint", "best", "With --mode eval: 'best', 'latest' or a step.")
flags.DEFINE_bool("distributed", False, "Join several processes; see docs/scale.md.")
flags.DEFINE_string("coordinator", None, "host:port of process 0, where it is not found out.")
flags.DEFINE_integer("num_processes", None, "How many processes, where it is not found out.")
flags.DEFINE_integer("process_id", None, "Which of them this is, where it is not found out.")
flags.DEFINE_bool("traceback", False, "Show where in the code an error comes from.")


def main(argv: list[str]) -> int:
    """Runs the command line `argv` and returns the exit status."""
    if {"--help", "-help", "-h"} & set(argv):
        print(f"{__doc__}\nFlags:\n{flags.FLAGS.module_help(__name__)}")
        return 0
    from cvjax import build, config, process_memory  # here: `--help` need not wait for JAX
    from cvjax.train import find_lr, overfit, sharding, stages
    from cvjax.train.progress import log, setup_logging

    trials = {"find_lr": find_lr.find_lr, "overfit_one_batch": overfit.overfit_one_batch}
    setup_logging()
    try:
        spec, argv = config.take_config_flag(argv)
        if spec:
            complete = build.complete(config.load(spec))
            config.check_overrides(complete, argv)
            config_flags.DEFINE_config_dict("config", complete, sys_argv=argv)
        options, rest = flags.FLAGS, flags.FLAGS(argv)[1:]
        if not spec or rest:
            raise config.ConfigError(f"not understood: {rest}" if spec else __doc__.strip())
        if options.mode != "dry_run" and not options.workdir:
            raise config.ConfigError("--workdir is missing: the folder for what the run writes.")
        if options.distributed:
            sharding.join_processes(options.coordinator, options.num_processes, options.process_id)
        process_memory.keep_step_memory()
        runs = build.experiments(options.config, stand_in_data=options.mode == "dry_run")
        if options.mode == "dry_run":
            print(stages.describe(runs))
        elif options.mode in trials:
            print(trials[options.mode](*stages.first(runs, options.workdir), options.trial_steps))
        elif options.mode == "eval":
            figures = stages.evaluate(runs, options.workdir, checkpoint=options.checkpoint)
            sys.stdout.writelines(f"{name:32} {figures[name]:.4f}\n" for name in sorted(figures))
        elif signal := stages.run(runs, options.workdir).signal:
            return 128 + signal
        return 0
    except (ValueError, OSError, ArithmeticError, RuntimeError, flags.Error) as error:
        if "--traceback" in argv:
            raise
        log.error("error: %s\n(--traceback shows where in the code.)", error)
        return 2 if isinstance(error, (config.ConfigError, flags.Error)) else 1
    except KeyboardInterrupt:
        log.error("interrupted")
        os._exit(130)  # a thread that waits for a hung disk must not hold it up


if __name__ == "__main__":
    from cvjax.process_memory import start_with_huge_pages  # before JAX takes memory

    start_with_huge_pages()
    sys.exit(main(sys.argv))
