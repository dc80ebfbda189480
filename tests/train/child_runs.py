"""Runs in processes of their own, for tests that kill them; quick, because they are forked.

`python child_runs.py` imports everything once and then, for every request on its standard input,
forks a child that runs a function. JAX makes its threads when it is first used, so not before the
fork. Programs compiled by one child are found by the next in JAX's persistent cache.
"""

import gc
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = HERE / "tiny_run.py"
# What changes the file system, as Python's audit events name it.
MUTATIONS = r"(os\.(rename|remove|rmdir|mkdir|truncate)\b|shutil\.|open .*'(w|a|wb|ab|x|w\+)')"


class Child:
    """A process that was forked for a test."""

    def __init__(self, nursery: "Nursery", pid: int, log: Path) -> None:
        self._nursery, self.pid, self._log = nursery, pid, log
        self._status: int | None = None

    @property
    def output(self) -> str:
        """Standard output and error so far."""
        return self._log.read_text(errors="replace")

    def poll(self) -> int | None:
        """The exit status, -signal where one killed it, None while it runs."""
        if self._status is None:
            self._status = self._nursery.ask({"poll": self.pid})
        return self._status

    def wait(self, timeout: float = 120) -> int:
        """The exit status, when it has ended."""
        self.wait_until(lambda: self.poll() is not None, timeout, "its end")
        return self._status

    def wait_until(self, happened: Callable[[], Any], timeout: float = 120, what: str = "") -> None:
        """Returns when `happened()` is true; an error if the child ends before or it takes long."""
        deadline = time.monotonic() + timeout
        while not happened():
            if self.poll() is not None and not happened():
                raise AssertionError(f"ended with {self._status} before {what}:\n{self.output}")
            if time.monotonic() > deadline:
                self.send(signal.SIGABRT)  # faulthandler shows where it hangs
                time.sleep(1)
                raise AssertionError(f"waited {timeout} s for {what}:\n{self.output}")
            time.sleep(0.002)

    def send(self, number: int) -> None:
        """Sends a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """The process that forks, seen from a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []
        env = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")]),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "child_runs.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "nursery.log").open("w"),
            text=True,
            env=env,
        )

    def ask(self, request: dict[str, Any]) -> Any:
        """The answer to one request."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def call(
        self,
        function: str,
        *arguments: Any,
        devices: int = 1,
        kill_at: tuple[str, int] | None = None,
        kill_with: int = signal.SIGKILL,
        patches: tuple[str, ...] = ("without_report",),
    ) -> Child:
        """Starts `function` ("module:name") with JSON-able arguments; an int result is its status.

        Args:
            kill_at: (regex, n): it sends itself `kill_with` just before the n-th of the changes of
                the file system that match, n from 0. A change reads "os.rename ('a', 'b', ...)".
            patches: names of functions to call first, of this module or "module:name".
        """
        log = self._folder / f"child{len(self._children)}.log"
        log.touch()
        request = {
            "call": function, "arguments": arguments, "devices": devices, "log": str(log),
            "kill_at": kill_at, "kill_with": kill_with, "patches": patches,
        }  # fmt: skip
        child = Child(self, self.ask(request), log)
        self._children.append(child)
        return child

    def launch(self, workdir: Path, changes: dict | None = None, *flags: str, **how: Any) -> Child:
        """Starts launch.py on the tiny config, changed."""
        spec = f"{CONFIG}:{json.dumps(changes or {})}"
        argv = ["launch.py", "--config", spec, "--workdir", str(workdir), *flags]
        return self.call("child_runs:launch_main", argv, **how)

    def train(self, workdir: Path, changes: dict | None = None, *flags: str, **how: Any) -> Child:
        """Runs launch.py to its successful end."""
        child = self.launch(workdir, changes, *flags, **how)
        assert child.wait() == 0, child.output
        return child

    def launch_together(
        self, workdir: Path, changes: dict | None = None, *, processes: int = 2, **how: Any
    ) -> list[Child]:
        """Starts launch.py as several processes of one run."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        flags = ("--distributed", "--coordinator", f"127.0.0.1:{port}", "--num_processes")
        return [
            self.launch(workdir, changes, *flags, str(processes), "--process_id", str(i), **how)
            for i in range(processes)
        ]

    def close(self) -> None:
        """Ends every process."""
        for child in self._children:
            child.send(signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def launch_main(argv: list[str]) -> int:
    """launch.py's main, with the tiny model and source known."""
    import tiny_run

    import launch

    tiny_run.register()
    return launch.main(argv)


def without_report() -> None:
    """Leaves out curves.png and report.html, whose drawing takes longer than the run."""
    import cvjax.vis.curves
    import cvjax.vis.report

    cvjax.vis.curves.plot_curves = lambda *_: None
    cvjax.vis.report.write_report = lambda *_: None


def kill_in_second_evaluation() -> None:
    """SIGKILL between two batches of the second evaluation."""
    from cvjax.evaluators.batches import Batches

    run, calls = Batches.run, []

    def deadly(self: Any, variables: Any, batches: Any, **how: Any) -> Any:
        calls.append(1)

        def some() -> Any:
            for i, batch in enumerate(batches):
                if (len(calls), i) == (2, 1):
                    os.kill(os.getpid(), signal.SIGKILL)
                yield batch

        return run(self, variables, some(), **how)

    Batches.run = deadly


def no_big_files() -> None:
    """Files can't grow beyond 8 KiB: a disk that is full for checkpoints, not for small files."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def without_privileges() -> None:
    """Root loses the right to write where permissions forbid it (Linux's CAP_DAC_OVERRIDE)."""
    import ctypes

    if os.geteuid():
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    for i in range(3):
        sets[i] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


def hang_when_sealing() -> None:
    """A disk that never answers."""
    from cvjax.train import checkpoint

    checkpoint.write_seal = lambda *_: time.sleep(1000)


def _watch(pattern: str, count: int, act: Callable[[], None]) -> None:
    """Calls `act` just before the count-th file system change that matches."""
    regex, seen = re.compile(pattern), [0]

    def hook(event: str, arguments: tuple) -> None:
        if event != "open" and not event.startswith(("os.", "shutil.")):
            return
        text = f"{event} {arguments}"
        if re.match(MUTATIONS, text) and regex.search(text):
            seen[0] += 1
            if seen[0] == count + 1:
                act()

    sys.addaudithook(hook)


def _run_child(request: dict[str, Any]) -> Any:
    with open(request["log"], "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    import faulthandler

    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in & ignore it
    devices = f" --xla_force_host_platform_device_count={request['devices']}"
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + devices
    if request["kill_at"]:
        _watch(*request["kill_at"], lambda: os.kill(os.getpid(), request["kill_with"]))
    for name in request["patches"]:
        module, _, function = name.rpartition(":")
        getattr(importlib.import_module(module or "child_runs"), function)()
    module, _, function = request["call"].partition(":")
    try:
        result = getattr(importlib.import_module(module), function)(*request["arguments"])
    except BaseException:
        traceback.print_exc()
        raise
    return result if isinstance(result, int) else 0


def _serve() -> None:
    import tensorboardX  # noqa: F401
    import tiny_run

    import cvjax.build
    import cvjax.train.loop  # noqa: F401
    import launch  # noqa: F401

    tiny_run.register()  # imports every model
    gc.collect()
    gc.freeze()  # children need not look through, and so copy, what is here already
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                sys.exit(_run_child(request))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
