"""SRResNet, then SRGAN: scenes of handwritten digits enlarged four times; nothing to download.

Ledig et al. 2017, "Photo-realistic single image super-resolution using a generative adversarial
network", https://arxiv.org/abs/1609.04802. Two stages, one command, as in section 3.2: the
generator alone by mean squared error (SRResNet), then from there against a discriminator with an
adversarial weight of 0.001 and Adam at 1e-4 (SRGAN). Narrower, with 4 blocks, at 48 pixels and for
few steps; `width=64,blocks=16,size=96` is the paper's network.

    python launch.py --config configs/generation/srgan_scenes.py --workdir runs/srgan
    ... --config configs/generation/srgan_scenes.py:variant=srresnet            # first stage alone
    ... --config configs/generation/srgan_scenes.py:content=fetch:squeezenet1_1 # features' loss
    ... --config configs/generation/srgan_scenes.py:content=vgg19-dcbb9e9d.pth  # the paper's

`content=` is what the second stage's content loss looks at: pixels, or a finished network's
features, for which the paper has VGG-19's (torchvision's file of weights).
samples/enlarged_step_*.png shows what went in, bicubic interpolation, the network's picture and the
target. `psnr` and `ssim` are of the luminance without 4 pixels of border, `bicubic_psnr` and
`bicubic_ssim` those of bicubic interpolation.

Measured, seed 0, on the 500 test scenes: PSNR 26.50 dB and SSIM 0.671 after the first stage, where
bicubic interpolation has 25.96 dB and 0.631 (it was ahead until step 1,500); 26.00 dB and 0.637
after the second, whose strokes are sharper and whose even backgrounds get a faint grid; 18.1 and
4.6 minutes on 2 AMD EPYC cores beside a test suite. A content loss of features has not been
measured.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

VARIANTS = ("srgan", "srresnet")
PIXELS = "pixels"
# Feature and weight of the content loss. The paper's: the last convolution before the fifth
# pooling, and features divided by 12.75. SqueezeNet's are of Caffe's range and larger.
FEATURES = {"fetch:squeezenet1_1": ("stride8", 1e-5)}
VGG54 = ("stride16", 0.006)


def get_config(arg: str = "") -> ConfigDict:
    """`variant=srgan|srresnet`, `content=pixels`, `size=48` pixels of the large pictures,
    `width=32` and `blocks=4` (64 and 16 in the paper), `steps=4000` (of the first stage),
    `gan_steps=500` (of the second), `seed=0`, `smoke`."""
    options = parse_arg(
        arg, variant="srgan", content=PIXELS, size=48, width=32, blocks=4, steps=4000,
        gan_steps=500, seed=0, smoke=False,
    )  # fmt: skip
    if options.variant not in VARIANTS:
        raise ValueError(f"--config: variant={options.variant!r}; one of {VARIANTS}.")
    config = ConfigDict()
    config.seed = options.seed
    network = dict(width=options.width, blocks=options.blocks)
    discriminator = dict(discriminator_width=options.width)
    if options.smoke:
        network, discriminator = dict(width=4, blocks=1), dict(discriminator_width=2)
    config.model = dict(name="srresnet", **network)
    config.task = dict(name="super_resolution")
    config.data = dict(name="scenes", image_size=options.size, channels=3, batch_size=16)
    config.optim = dict(name="adam", lr=1e-3, schedule=dict(name="cosine"))
    enlarged = dict(
        split="test", every=500, evaluator="samples", options=dict(draw="enlarged", count=8)
    )
    config.evals = dict(test=dict(split="test", every=500), enlarged=enlarged)
    config.train = dict(steps=options.steps, log_every=50, monitor="test/psnr")
    second = dict(
        model=dict(name="srgan", **network, **discriminator),
        task=dict(adversarial_weight=1e-3),
        optim=dict(lr=1e-4),
        train=dict(
            steps=options.gan_steps,
            init_rules=(("generator/.*", r"\g<0>"), (".*", None)),
        ),
    )
    if options.content != PIXELS:
        feature, weight = FEATURES.get(options.content, VGG54)
        second["task"].update(
            content=options.content, content_feature=feature, content_weight=weight
        )
    if options.smoke:
        config.data.update(image_size=32, batch_size=4, options=dict(num_examples=8))
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.evals.enlarged.update(every=2, options=dict(draw="enlarged", count=2))
        config.train = dict(steps=2, log_every=1, monitor="test/psnr")
        second["train"]["steps"] = 2
    if options.variant == "srgan":
        config.stages = dict(stage1_srresnet=dict(), stage2_srgan=second)
    return config
