"""Exact likelihoods pixel by pixel beside a VAE's bounds, on the same binary digits (van den Oord
et al. 2016, https://arxiv.org/abs/1601.06759, table 4, where PixelCNN and PixelRNN pass every model
with latents on binarised MNIST; Kingma and Welling 2014).

scikit-learn's 1,797 scans at 16x16, cut at a half; 360 of them are the test images. A VAE's ELBO is
a bound, so a model that is better than the ELBO alone need not be better than the VAE: the row that
counts is the one beside the bound of 256 latents, which is nearly the likelihood.
"""

from collections.abc import Callable

from experiments.claim import Claim, Records, Row, Training, last

CNN = Training(config="configs/generation/pixelcnn_digits.py")
VAE = Training(config="configs/generation/vae_digits.py")


def _beside(bound: str) -> Callable[[Records, Records], float]:
    """The exact figure of the first run minus the second's bound; negative where it is better."""
    return lambda exact, vae: last("test/nll")(exact) - last(bound)(vae)


CLAIM = Claim(
    statement="A PixelCNN gives binary digits more probability than a VAE does",
    source="van den Oord et al. 2016; Kingma and Welling 2014; the course's chapter on generation",
    rows=(
        Row(
            "PixelCNN minus VAE, by its ELBO",
            0.0,
            _beside("test/nll_elbo"),
            relation="at most",
            unit="nats",
            repetitions=((CNN, VAE),),
        ),
        Row(
            "PixelCNN minus VAE, by its bound of 256 latents",
            0.0,
            _beside("bound/nll_iwae"),
            relation="at most",
            unit="nats",
            repetitions=((CNN, VAE),),
        ),
    ),
)
