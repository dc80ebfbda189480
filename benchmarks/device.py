"""The device that a benchmark runs on, in a process that keeps memory as `launch.py` does.

To be imported before anything that looks for devices, which settles how they run.
"""

import jax

from cvjax.process_memory import keep_step_memory

keep_step_memory()
ON_GPU = jax.default_backend() == "gpu"
