"""PixelRNN trains slower than PixelCNN, both draw slowly, a VAE draws all pixels at once (van den
Oord et al. 2016, https://arxiv.org/abs/1601.06759, section 3; the course's chapter on generation).

Read from `benchmarks/results/sampling_cpu.json`, which `python -m benchmarks.sampling` writes:
networks of 32 channels and 5 layers, 4 pictures drawn, training steps of 16 pictures.
"""

import json
from collections.abc import Callable

from experiments.claim import ROOT, Claim, Row

MEASURED = ROOT / "benchmarks" / "results" / "sampling_cpu.json"
CNN = "PixelCNN, 28x28 binary"
ROW = "PixelRNN, Row LSTM, 28x28 binary"
DIAGONAL = "PixelRNN, Diagonal BiLSTM, 28x28 binary"
COLOUR = "gated PixelCNN, 32x32 colour, logistic mixture"
VAE = "VAE, 28x28 binary"


def _figure(workload: str, column: str) -> float:
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    return float(next(row[column] for row in rows if row["workload"] == workload))


def _ratio(column: str, one: str, other: str) -> Callable[[], float]:
    return lambda: round(_figure(one, column) / _figure(other, column), 2)


CLAIM = Claim(
    statement="PixelRNN trains slower than PixelCNN, both draw slowly, a VAE draws all at once",
    source="van den Oord et al. 2016; the course",
    rows=(
        Row("passes for a picture of 32x32", 1024.0, lambda: _figure(COLOUR, "passes")),
        Row("passes for a VAE's picture", 1.0, lambda: _figure(VAE, "passes")),
        Row(
            "training step, Row LSTM / PixelCNN",
            1.0,
            _ratio("train_ms", ROW, CNN),
            relation="at least",
        ),
        Row(
            "training step, Diagonal BiLSTM / PixelCNN",
            1.0,
            _ratio("train_ms", DIAGONAL, CNN),
            relation="at least",
        ),
        Row("drawing, PixelCNN / VAE", 100.0, _ratio("plain_s", CNN, VAE), relation="at least"),
        Row("drawing, Row LSTM / VAE", 100.0, _ratio("plain_s", ROW, VAE), relation="at least"),
        Row(
            "drawing a PixelCNN's picture, without caches / with them",
            10.0,
            lambda: _figure(CNN, "ratio"),
            relation="at least",
        ),
    ),
)
