"""WGAN and LSGAN keep the modes that minimax loses (Arjovsky et al. 2017,
https://arxiv.org/abs/1701.07875; Mao et al. 2017, https://arxiv.org/abs/1611.04076).

Eight Gaussians on a ring, 4,000 steps, three seeds a loss. minimax, LSGAN and WGAN-GP take the same
Adam at a learning rate of 0.002, four times the config's, where instability shows; WGAN has its
RMSProp and clipped weights.
"""

from experiments.claim import Claim, Row, Training, last

SEEDS = (0, 1, 2)
LOSSES = {"wgan_gp": ",lr=0.002", "wgan": "", "lsgan": ",lr=0.002", "minimax": ",lr=0.002"}


def _training(loss: str, seed: int) -> Training:
    options = f"loss={loss}{LOSSES[loss]},seed={seed},steps=4000"
    return Training(config=f"configs/generation/wgan_gp_ring.py:{options}")


# (loss, seed) that do not cover all modes; the rows say so.
SHORT: dict[tuple[str, int], str] = {}

CLAIM = Claim(
    statement="On a ring of 8 modes WGAN and LSGAN find all at seeds where minimax does not",
    source="Arjovsky et al. 2017; Mao et al. 2017; the course's GAN chapter",
    rows=tuple(
        Row(
            f"{loss}, seed {seed}: modes covered",
            8.0,
            last("test/modes"),
            training=_training(loss, seed),
            relation="at least",
            unit="modes",
            holds=(loss, seed) not in SHORT,
            note=SHORT.get((loss, seed), ""),
        )
        for loss in LOSSES
        for seed in SEEDS
    ),
)
