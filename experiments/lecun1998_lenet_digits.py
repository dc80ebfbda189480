"""LeNet-5 reads handwritten digits (LeCun et al. 1998, "Gradient-based learning applied to document
recognition"), on the 1,797 real scans that scikit-learn bundles; the paper's own data is MNIST.
"""

from experiments.claim import Claim, Row, Training, last, training_minutes

LENET_DIGITS = Training(config="configs/classification/lenet_digits.py")

CLAIM = Claim(
    statement="LeNet-5 reads at least 98% of held-out handwritten digits after a minute's training",
    source="LeCun et al. 1998, on scikit-learn's digits",
    rows=(
        Row(
            "test accuracy",
            0.98,
            last("test/accuracy"),
            training=LENET_DIGITS,
            relation="at least",
            unit="accuracy",
        ),
        Row(
            "training time",
            1.0,
            training_minutes,
            training=LENET_DIGITS,
            relation="at most",
            unit="min",
        ),
    ),
)
