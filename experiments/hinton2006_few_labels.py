"""An autoencoder's encoder as the start of a classifier that has few labels (the course's use of
it; Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks").

The same network, the same 100 labelled images of Fashion-MNIST, ten a class; with the encoder that
images without labels taught, and from random weights. Each seed has other labelled images; one was
run.
"""

from experiments.claim import Claim, Row, Training, difference

CONFIG = "configs/generation/autoencoder_fashion_mnist.py"
SEEDS = (0,)


def _run(variant: str, seed: int) -> Training:
    return Training(config=f"{CONFIG}:variant={variant},epochs=5,seed={seed}")


CLAIM = Claim(
    statement="An autoencoder's encoder helps a classifier that has 100 labels, 10 a class",
    source="The course; Hinton and Salakhutdinov 2006",
    rows=(
        Row(
            "test accuracy gained",
            0.01,
            difference("test/accuracy"),
            relation="at least",
            unit="accuracy",
            repetitions=tuple((_run("few_labels", s), _run("scratch", s)) for s in SEEDS),
        ),
    ),
)
