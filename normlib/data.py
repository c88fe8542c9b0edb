"""Real data that needs no download: scikit-learn's bundled digits, wine and photographs."""

from typing import NamedTuple

import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch.nn import functional as F


class Split(NamedTuple):
    """Training and test data: inputs float32, labels int64."""

    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor


def _split(x, y, seed):
    parts = train_test_split(x, y, test_size=1 / 3, random_state=seed, stratify=y)
    x, x_test = (torch.as_tensor(p, dtype=torch.float32) for p in parts[:2])
    y, y_test = (torch.as_tensor(p, dtype=torch.int64) for p in parts[2:])
    return Split(x, y, x_test, y_test)


def digits(seed=0, flat=True):
    """1,797 handwritten digits of 8 x 8 pixels, grey values from 0 to 1, ten classes.

    A third is held out for testing. x: (N, 64), or (N, 1, 8, 8) with flat=False. From the UCI
    "Optical recognition of handwritten digits" data set, through sklearn.datasets.load_digits.
    """
    bunch = datasets.load_digits()
    split = _split(bunch.data / 16, bunch.target, seed)
    if flat:
        return split
    return split._replace(x=split.x.view(-1, 1, 8, 8), x_test=split.x_test.view(-1, 1, 8, 8))


def with_label_noise(split, share, seed=0):
    """The same data with a share (0 to 1) of the training labels drawn anew at random."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is a fraction from 0 to 1, got {share}")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(len(split.y), generator=generator) < share
    classes = int(split.y.max()) + 1
    drawn = torch.randint(0, classes, split.y.shape, generator=generator)
    return split._replace(y=torch.where(chosen, drawn, split.y))


def wine(seed=0):
    """178 wines, 13 chemical measurements in very different units, three growers; x: (N, 13).

    A third is held out for testing. From UCI "Wine", through sklearn.datasets.load_wine.
    """
    bunch = datasets.load_wine()
    return _split(bunch.data, bunch.target, seed)


def photographs(size=128):
    """Two colour photographs (a temple roof, a flower), (2, 3, size, size), values from 0 to 1.

    Centre squares, averaged down to `size` pixels. sklearn.datasets.load_sample_images.
    """
    if not 1 <= size <= 427:
        raise ValueError(f"the photographs are 427 pixels high: choose size 1 to 427, got {size}")
    images = torch.stack([torch.tensor(i) for i in datasets.load_sample_images().images])
    x = images.permute(0, 3, 1, 2).float() / 255
    left = (x.shape[3] - x.shape[2]) // 2
    square = x[:, :, :, left : left + x.shape[2]]
    return F.interpolate(square, size=(size, size), mode="area")


def digit_activations(num_examples=4, num_channels=6, seed=0):
    """What a first convolution makes of real digits: (num_examples, num_channels, 4, 4), float32.

    The filters are random (He initialisation) and not trained. Small enough to see every cell.
    """
    generator = torch.Generator().manual_seed(seed)
    filters = torch.randn(num_channels, 1, 3, 3, generator=generator) * (2 / 9) ** 0.5
    return F.conv2d(digits(flat=False).x[:num_examples], filters, stride=2, padding=1)
