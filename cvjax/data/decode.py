"""Images brought to one form: uint8 [H, W, C] with 1 or 3 channels."""

import numpy as np
from PIL import Image


def set_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [..., C] with 1 or 3 channels as `channels`.

    Grey from RGB is Pillow's rule (ITU-R 601 luma in 16-bit fixed point); RGB from grey repeats.

    Raises:
        ValueError: for any other number of channels.
    """
    if images.shape[-1] not in (1, 3) or channels not in (1, 3):
        raise ValueError(
            f"Images have {images.shape[-1]} channels, wanted {channels}: 1 or 3 only."
        )
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    red, green, blue = (images[..., i].astype(np.uint32) for i in range(3))
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.astype(np.uint8)[..., None]


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, W, C] as [N, size, size, C], antialiased bilinear; the aspect is not kept."""
    if images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for index, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        resized[index] = np.asarray(picture).reshape(size, size, -1)
    return resized
