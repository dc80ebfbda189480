"""Batches from a source: deterministic, sharded by process, prefetched.

Sources in memory hand over whole batches (`source.batch(indices)`): one gather, no per-example
Python. Everything else goes through Grain, whose elements are whole batches too, so that the order
does not depend on how many threads or worker processes read.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from absl import flags

from cvjax.data.bad_examples import BadExample, SkipLog
from cvjax.data.order import shuffled_indices
from cvjax.data.source import Source
from cvjax.data.views import View

Batch = dict[str, np.ndarray]
_ON_BAD_EXAMPLE = ("error", "skip")


@dataclass(frozen=True)
class Reading:
    """How examples are read: what is the same for training and evaluation.

    Attributes:
        batch_size: examples in one global batch, over all processes.
        rows: which rows of the global batch this process loads, ascending.
        view: encoded or decoded image -> uint8 [S, S, C]; None where the source's images fit.
        workers: Grain worker processes; 0 reads in threads of this process.
        threads: reading threads per process.
        on_bad_example: "error" raises at the first illegal example; "skip" records it and takes the
            next legal one (training) or leaves a hole that `valid` marks (evaluation).
    """

    batch_size: int
    rows: np.ndarray
    view: View | None = None
    workers: int = 0
    threads: int = 2
    on_bad_example: str = "error"

    def __post_init__(self) -> None:
        if self.on_bad_example not in _ON_BAD_EXAMPLE:
            raise ValueError(
                f"data.on_bad_example is {self.on_bad_example!r}; choose one of {_ON_BAD_EXAMPLE}."
            )


def train_batches(
    source: Source,
    reading: Reading,
    *,
    seed: int,
    start_step: int = 0,
    skip_log: SkipLog | None = None,
) -> Iterator[Batch]:
    """Endless shuffled batches from `start_step` on: `image` uint8 [b, H, W, C], `label` int32 [b].

    b is `len(reading.rows)`: this process's part of the global batch.
    """
    _require_examples(source)
    plan = _TrainSteps(source, reading, seed)
    return _read(plan, reading, start_step, skip_log)


def train_batch(source: Source, reading: Reading, step: int, *, seed: int) -> Batch:
    """The batch of one step, as `train_batches` has it, read at once and without threads."""
    _require_examples(source)
    batch, _ = _TrainSteps(source, reading, seed)[step]
    return batch


def eval_batches(
    source: Source, reading: Reading, *, skip_log: SkipLog | None = None
) -> Iterator[Batch]:
    """Every example once, in order; the last batch is padded and `valid` [b] says what counts."""
    _require_examples(source)
    return _read(_EvalSteps(source, reading), reading, 0, skip_log)


def num_eval_batches(source: Source, batch_size: int) -> int:
    """Batches of one pass over `source`, the padded one included."""
    return -(-len(source) // batch_size)


def _require_examples(source: Source) -> None:
    if len(source) == 0:
        raise ValueError(f"{source.info.name} holds no examples.")


@dataclass(frozen=True)
class _TrainSteps:
    """Step -> (batch, skipped examples)."""

    source: Source
    reading: Reading
    seed: int

    def __len__(self) -> int:
        return 2**40  # endless, as far as Grain's index arithmetic is concerned

    def __getitem__(self, step: int) -> tuple[Batch, list[tuple[int, str]]]:
        positions = step * self.reading.batch_size + self.reading.rows
        indices = shuffled_indices(positions, seed=self.seed, num_examples=len(self.source))
        if _gathers_batches(self.source, self.reading):
            return self.source.batch(indices), []
        examples, skipped = [], []
        for position, index in zip(positions, indices):
            example = self._legal_example(int(index), int(position), skipped)
            examples.append(example)
        return _stack(examples), skipped

    def _legal_example(
        self, index: int, position: int, skipped: list[tuple[int, str]]
    ) -> dict[str, np.ndarray]:
        count = len(self.source)
        for attempt in range(count):
            candidate = (index + attempt) % count
            try:
                rng = np.random.default_rng([self.seed, position])
                return _load(self.source, candidate, self.reading.view, rng)
            except BadExample as problem:
                if self.reading.on_bad_example == "error":
                    raise _located(self.source, candidate, problem) from None
                skipped.append((candidate, problem.reason))
        raise ValueError(
            f"{self.source.info.name}: none of its {count} examples can be read; "
            f"the last reason: {skipped[-1][1]}"
        )


@dataclass(frozen=True)
class _EvalSteps:
    """Step -> (batch with `valid`, skipped examples); each example once."""

    source: Source
    reading: Reading

    def __len__(self) -> int:
        return num_eval_batches(self.source, self.reading.batch_size)

    def __getitem__(self, step: int) -> tuple[Batch, list[tuple[int, str]]]:
        positions = step * self.reading.batch_size + self.reading.rows
        valid = positions < len(self.source)
        if _gathers_batches(self.source, self.reading):
            batch = self.source.batch(np.where(valid, positions, 0))
            return {**batch, "valid": valid}, []
        examples: list[dict[str, np.ndarray] | None] = []
        skipped = []
        for slot, position in enumerate(positions):
            example = None
            if valid[slot]:
                try:
                    rng = np.random.default_rng([0, int(position)])
                    example = _load(self.source, int(position), self.reading.view, rng)
                except BadExample as problem:
                    if self.reading.on_bad_example == "error":
                        raise _located(self.source, int(position), problem) from None
                    skipped.append((int(position), problem.reason))
                    valid[slot] = False
            examples.append(example)
        return {**_stack(_fill_holes(examples, self)), "valid": valid}, skipped


def _gathers_batches(source: Source, reading: Reading) -> bool:
    return reading.view is None and hasattr(source, "batch")


def _load(
    source: Source, index: int, view: View | None, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    if view is not None and hasattr(source, "encoded"):
        data, fields = source.encoded(index)
        return {**fields, "image": view(data, rng)}
    example = source[index]
    return example if view is None else {**example, "image": view(example["image"], rng)}


def _located(source: Source, index: int, problem: BadExample) -> BadExample:
    return BadExample(
        f"{problem.reason}. Remove or repair it, or set data.on_bad_example='skip' to leave such "
        "examples out and list them in skipped.log.",
        problem.example or source.describe(index),
    )


def _stack(examples: list[dict[str, np.ndarray]]) -> Batch:
    shapes = {example["image"].shape for example in examples}
    if len(shapes) > 1:
        raise ValueError(
            f"images of one batch differ in shape: {sorted(shapes)}. Set data.image_size and a "
            "view (data.train_view, data.eval_view), which bring them to one size."
        )
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _fill_holes(
    examples: list[dict[str, np.ndarray] | None], steps: _EvalSteps
) -> list[dict[str, np.ndarray]]:
    """Padding and skipped slots hold zeros, which `valid` keeps out of every figure."""
    legal = next((example for example in examples if example is not None), None)
    if legal is None:
        legal = _any_legal_example(steps)
    zeros = {name: np.zeros_like(value) for name, value in legal.items()}
    return [zeros if example is None else example for example in examples]


def _any_legal_example(steps: _EvalSteps) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    for index in range(len(steps.source)):
        try:
            return _load(steps.source, index, steps.reading.view, rng)
        except BadExample:
            continue
    raise ValueError(f"{steps.source.info.name}: none of its examples can be read.")


def _read(plan: Any, reading: Reading, start: int, skip_log: SkipLog | None) -> Iterator[Batch]:
    if _gathers_batches(plan.source, reading):
        elements = (plan[step] for step in range(start, len(plan)))
    else:
        elements = _grain_elements(plan, reading, start)
    for batch, skipped in elements:
        for index, reason in skipped:
            if skip_log is not None:
                skip_log.record(plan.source.describe(index), reason)
        yield batch


def _grain_elements(plan: Any, reading: Reading, start: int) -> Iterator[Any]:
    import grain  # here: reading arrays needs none of it

    dataset = grain.MapDataset.source(plan)[start:].to_iter_dataset(
        grain.ReadOptions(num_threads=reading.threads, prefetch_buffer_size=reading.threads + 1)
    )
    if reading.workers:
        if not flags.FLAGS.is_parsed():  # outside launch.py: Grain asks for its own flags
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=reading.workers)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_begin_worker)
    elements = iter(dataset)
    try:
        yield from elements
    finally:
        elements.close()  # worker processes and their shared memory end with it


def _begin_worker(index: int, count: int) -> None:
    """A reading process leaves Ctrl-C to its parent and ends with it, even if that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@dataclass
class Prefetch:
    """Iterator that works `depth` elements ahead in a thread: reading and device transfer overlap.

    Use as a context manager, or call `close()`; an error in the thread is raised at `next()`.
    """

    elements: Iterator[Any]
    place: Callable[[Any], Any] = lambda element: element
    depth: int = 2
    _queue: queue.Queue = field(init=False)
    _stop: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._queue = queue.Queue(max(self.depth, 1))
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for element in self.elements:
                if not self._put(("element", self.place(element))):
                    return
            self._put(("end", None))
        except BaseException as error:
            self._put(("error", error))
        finally:
            if hasattr(self.elements, "close"):  # a generator's
                self.elements.close()

    def _put(self, item: tuple[str, Any]) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self) -> Any:
        if self._stop.is_set():
            raise StopIteration
        kind, value = self._queue.get()
        if kind == "element":
            return value
        self._stop.set()
        if kind == "error":
            raise value
        raise StopIteration

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread; elements that were read ahead are dropped."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.05)
