"""Builds the optional C part; everything else is in pyproject.toml.

Where there is no compiler or no libjpeg-turbo (Debian: libjpeg-dev), installation goes on without
it and JPEG crops are decoded by slower means (see cvjax/data/decode.py).
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "cvjax.data._jpeg",
            ["cvjax/data/_jpeg.c"],
            libraries=["jpeg"],
            extra_compile_args=["-O3"],
            optional=True,
        )
    ]
)
