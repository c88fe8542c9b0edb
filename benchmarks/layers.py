"""Forward and backward of our layers against torch's, one thread, medians of alternating runs."""

import statistics
import time

import torch
from torch import nn

from normlib.layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm

RUNS = 15
BUDGETS = {"BatchNorm": "<= 1.5x", "InstanceNorm": "<= 1.5x", "GroupNorm": "<= 2.4x"}


def cases():
    for shape in ((32, 64, 56, 56), (8, 256, 28, 28)):
        channels = shape[1]
        yield shape, BatchNorm(channels), nn.BatchNorm2d(channels)
        yield shape, InstanceNorm(channels), nn.InstanceNorm2d(channels)
        yield shape, GroupNorm(8, channels), nn.GroupNorm(8, channels)
        yield shape, LayerNorm(shape[1:]), nn.LayerNorm(shape[1:])
    yield (32, 128, 512), LayerNorm(512), nn.LayerNorm(512)


def once(layer, x, upstream):
    x.grad = None
    start = time.perf_counter()
    layer(x).backward(upstream)
    return time.perf_counter() - start


def measure():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for shape, ours, theirs in cases():
            x = torch.randn(shape, requires_grad=True)
            upstream = torch.randn(shape)
            times = [(once(ours, x, upstream), once(theirs, x, upstream)) for _ in range(RUNS + 2)]
            mine, native = (statistics.median(t) * 1e3 for t in zip(*times[2:], strict=True))
            name = type(ours).__name__
            measured = f"{mine:.1f} / {native:.1f} ms {mine / native:.2f}x"
            yield f"{name} {shape}, normlib / torch", measured, BUDGETS.get(name, "no budget")
    finally:
        torch.set_num_threads(threads)
