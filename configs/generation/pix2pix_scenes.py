"""pix2pix on scenes of handwritten digits, made as they are asked for: nothing to download.

Isola et al. 2017, "Image-to-image translation with conditional adversarial networks",
https://arxiv.org/abs/1611.07004; its Adam (learning rate 2e-4, b1 0.5), L1 weight 100, U-Net and
PatchGAN, narrower and at 64 pixels.

    python launch.py --config configs/generation/pix2pix_scenes.py --workdir runs/pix2pix
    ... --config configs/generation/pix2pix_scenes.py:use=semantic      # label map to scene

`use=` grey (grey to colour), masked (inpainting), low_resolution (super-resolution by 4), edges
(edges to photo), semantic (label map to scene). samples/samples_step_*.png shows what went in, what
came out and what should have.

Measured, seed 0, 2 CPU cores (AMD EPYC) that other work used, too: 3,000 steps of `use=grey` in
14.7 minutes. On the 500 test scenes the mean absolute error is 0.119, that of the grey picture
0.135; PSNR 17.1 dB, 16.0 after 1,000 steps, still rising. Digits keep their shapes and get colours
that could be; they cannot be right, because scenes draw them regardless of brightness. Where a
picture has hardly any contrast a coloured patch stands in its middle, in training mode, too. Other
uses have not been measured.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

CLASSES = 11  # ten digits and the background


def get_config(arg: str = "") -> ConfigDict:
    """`use=grey`, `size=64` pixels, `width=16` (64 in the paper), `steps=3000`, `smoke`."""
    options = parse_arg(arg, use="grey", size=64, width=16, steps=3000, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="pix2pix",
        image_size=options.size,
        width=options.width,
        patch_layers=2 if options.size < 128 else 3,
    )
    config.task = dict(name="pix2pix", condition=options.use)
    config.data = dict(name="scenes", image_size=options.size, channels=3, batch_size=16)
    if options.use == "semantic":
        config.task.label_classes = CLASSES
        config.data.options = dict(targets=("semantic",))
    config.optim = dict(name="adam", lr=2e-4, options=dict(b1=0.5, b2=0.999))
    config.evals = dict(
        test=dict(split="test", every=1000),
        samples=dict(
            split="test",
            every=1000,
            evaluator="samples",
            options=dict(draw="translation", count=8),
        ),
    )
    config.train = dict(
        steps=options.steps, log_every=50, checkpoint_every=1000, monitor="test/psnr"
    )
    if options.smoke:
        config.model.update(image_size=16, width=2, patch_layers=1)
        config.data.update(image_size=16, batch_size=4)
        config.data.options = dict(num_examples=8, **config.data.get("options", {}))
        config.evals.test.every = 2
        config.evals.samples.update(every=2, options=dict(draw="translation", count=2))
        config.train = dict(steps=2, log_every=1, monitor="test/psnr")
    return config
