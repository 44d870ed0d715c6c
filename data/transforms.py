"""From a photograph to pixels, as BLIP was trained to see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from PIL.Image import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Transform = Callable[[Image], Tensor]


def test_transform(size: tuple[int, int]) -> Transform:
    """Resize to `size` (height, width) and normalise: image -> [3, H, W] float32."""
    return transforms.Compose([resize(size), transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def train_transform(size: tuple[int, int], *, augment: Literal["published", "light"] = "published") -> Transform:
    """Random views of a photograph: image -> [3, H, W] float32.

    `published` flips, pads by 10 pixels of 224 and crops, and erases a patch of 2 % to 40 %; `light` does not erase,
    for small images of which a patch may hold all that a caption says.
    """
    pad = max(1, round(10 / 224 * min(size)))
    steps: list[Callable] = [
        resize(size),
        transforms.RandomHorizontalFlip(0.5),
        transforms.Pad(pad),
        transforms.RandomCrop(size),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    if augment == "published":
        steps.append(transforms.RandomErasing(scale=(0.02, 0.4), value=MEAN))
    return transforms.Compose(steps)


def resize(size: tuple[int, int]) -> Callable:
    """Resizing to `size` (height, width), as BLIP does it; an image of that size already stays as it is."""
    return transforms.Resize(size, interpolation=InterpolationMode.BICUBIC)
