"""Pictures out of pictures, on scenes, one command each: pix2pix (Isola et al. 2017,
https://arxiv.org/abs/1611.07004) and CycleGAN (Zhu et al. 2017, https://arxiv.org/abs/1703.10593)
give grey scenes colours, SRResNet and SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802)
enlarge them four times.

The configs as they stand, seed 0, on the 500 test scenes; each is first of all to be better than
doing nothing. What the colours were cannot be known from the grey picture, so that errors of
colouring do not go to 0.

    python -m experiments --run isola2017_image_to_image
"""

from collections.abc import Callable
from typing import Any

from experiments.claim import Claim, Records, Row, Training, last, of_stage, training_minutes

PIX2PIX = Training("configs/generation/pix2pix_scenes.py")
CYCLE_GAN = Training("configs/generation/cycle_gan_scenes.py")
SRGAN = Training("configs/generation/srgan_scenes.py")
_FIRST, _SECOND = "stage1_srresnet", "stage2_srgan"


def _of_both_stages(records: Records) -> float:
    return sum(of_stage(stage, training_minutes)(records) for stage in (_FIRST, _SECOND))


MINUTES = {
    "pix2pix": (PIX2PIX, training_minutes),
    "CycleGAN": (CYCLE_GAN, training_minutes),
    "SRResNet and SRGAN": (SRGAN, _of_both_stages),
}


def _gain(of: str, over: str) -> Callable[[Records], float]:
    return lambda records: last(of)(records) - last(over)(records)


def _row(name: str, training: Training, measure: Callable[..., float], **more: Any) -> Row:
    fields = {"relation": "at least", "repetitions": ((training,),), "expected": 0.0, **more}
    return Row(name, measure=measure, **fields)


# What did not come out, and why.
_BESIDE = {"SRResNet and SRGAN": "beside a test suite; 17 at the pace of the log's fastest tenth"}


def _minutes(name: str) -> Row:
    return _row(
        f"{name}: minutes of training",
        *MINUTES[name],
        relation="at most",
        unit="minutes",
        expected=20,
        holds=name not in _BESIDE,
        note=_BESIDE.get(name, ""),
    )


CLAIM = Claim(
    statement="Networks that translate pictures beat doing nothing; an adversary costs decibels",
    source="Isola et al. 2017; Zhu et al. 2017; Ledig et al. 2017, table 2; the course",
    rows=(
        *(_minutes(name) for name in MINUTES),
        _row(
            "pix2pix, grey to colour: error of the grey picture less that of the coloured one",
            PIX2PIX,
            _gain("test/condition_l1", "test/l1"),
        ),
        _row(
            "CycleGAN, without pairs: the same",
            CYCLE_GAN,
            _gain("test/condition_l1", "test/l1"),
            holds=False,
            note="colours come, but not the right ones, and grey is nearer to most",
        ),
        _row(
            "CycleGAN: error of a translation less that of going there and back",
            CYCLE_GAN,
            _gain("test/l1", "test/cycle_error"),
            note="going back is what it is trained for",
        ),
        _row(
            "SRResNet over bicubic interpolation",
            SRGAN,
            of_stage(_FIRST, _gain("test/psnr", "test/bicubic_psnr")),
            unit="dB",
        ),
        _row(
            "SRResNet over bicubic interpolation, structural similarity",
            SRGAN,
            of_stage(_FIRST, _gain("test/ssim", "test/bicubic_ssim")),
        ),
        _row(
            "SRResNet over SRGAN",
            SRGAN,
            lambda records: (
                of_stage(_FIRST, last("test/psnr"))(records)
                - of_stage(_SECOND, last("test/psnr"))(records)
            ),
            unit="dB",
            note="the paper's is 2.65 on Set5",
        ),
    ),
)
