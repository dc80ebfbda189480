"""A variational autoencoder's bound on Fashion-MNIST, and how much tighter more latents make it
(Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Burda et al. 2016,
https://arxiv.org/abs/1509.00519).

Bernoulli likelihood of dynamically binarised test images, nats an image: a figure of another
likelihood or another binarisation compares with none of these.
"""

from experiments.claim import Claim, Records, Row, Training, last

VAE = Training(config="configs/generation/vae_fashion_mnist.py")


def _tightened(records: Records) -> float:
    return last("test/nll_elbo")(records) - last("bound/nll_iwae")(records)


CLAIM = Claim(
    statement="A VAE of 32 latents bounds binarised Fashion-MNIST by 240 nats an image",
    source="Kingma and Welling 2014; Burda et al. 2016",
    rows=(
        Row(
            "negative ELBO of the test images",
            240.0,
            last("test/nll_elbo"),
            relation="at most",
            unit="nats",
            repetitions=((VAE,),),
        ),
        Row(
            "what the bound of 64 latents is tighter by",
            0.0,
            _tightened,
            relation="at least",
            unit="nats",
            repetitions=((VAE,),),
        ),
    ),
)
