"""Exact likelihoods pixel by pixel beside a VAE's bounds, on the same binary digits (van den Oord
et al. 2016, https://arxiv.org/abs/1601.06759, table 4, where PixelCNN and PixelRNN pass every model
with latents on binarised MNIST; Kingma and Welling 2014).

FVBN and MADE: Frey 1998, "Graphical models for machine learning and digital communication", and
Germain et al. 2015, https://arxiv.org/abs/1502.03509. PixelRNNs were trained for few epochs.

scikit-learn's 1,797 scans at 16x16, cut at a half; 360 of them are the test images. A VAE's ELBO is
a bound, so a model that is better than the ELBO alone need not be better than the VAE: the row that
counts is the one beside the bound of 256 latents, which is nearly the likelihood.
"""

from collections.abc import Callable, Mapping

from experiments.claim import Claim, Records, Row, Training, last

CONFIG = "configs/generation/pixelcnn_digits.py"
CNN = Training(config=CONFIG)
VAE = Training(config="configs/generation/vae_digits.py")


def _beside(bound: str) -> Callable[[Records, Records], float]:
    """The exact figure of the first run minus the second's bound; negative where it is better."""
    return lambda exact, vae: last("test/nll")(exact) - last(bound)(vae)


ELBO, BOUND = "test/nll_elbo", "bound/nll_iwae"
# Of each: options of the config, and what of the VAE's it is compared with.
MODELS: Mapping[str, tuple[str, str]] = {
    "FVBN": ("model=fvbn,epochs=30", BOUND),
    "MADE": ("model=made,epochs=20", BOUND),
    "Row LSTM, 8 epochs": ("model=row_lstm,epochs=8", ELBO),
    "Diagonal BiLSTM, 6 epochs": ("model=diagonal_bilstm,epochs=6", ELBO),
}
NAMES = {ELBO: "its ELBO", BOUND: "its bound of 256 latents"}

CLAIM = Claim(
    statement="Models of each pixel given those before it give binary digits more than a VAE does",
    source="van den Oord et al. 2016; Kingma and Welling 2014; the course's chapter on generation",
    rows=(
        Row(
            "PixelCNN minus VAE, by its ELBO",
            0.0,
            _beside(ELBO),
            relation="at most",
            unit="nats",
            repetitions=((CNN, VAE),),
        ),
        Row(
            "PixelCNN minus VAE, by its bound of 256 latents",
            0.0,
            _beside(BOUND),
            relation="at most",
            unit="nats",
            repetitions=((CNN, VAE),),
        ),
        *(
            Row(
                f"{name} minus VAE, by {NAMES[bound]}",
                0.0,
                _beside(bound),
                relation="at most",
                unit="nats",
                repetitions=((Training(config=f"{CONFIG}:{options}"), VAE),),
            )
            for name, (options, bound) in MODELS.items()
        ),
    ),
)
