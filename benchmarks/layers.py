"""Layers against torch's own: time forward and backward, one thread, and peak memory.

Layers that torch does not have run against its Batch Norm. Times are medians of alternating runs.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

from normlib.layers import (
    BatchInstanceNorm,
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    SwitchableNorm,
)

RUNS = 15
BUDGETS = {
    "BatchNorm": 1.5, "InstanceNorm": 1.5, "GroupNorm": 2.4,
    "SwitchableNorm": 1.5, "BatchInstanceNorm": 1.5, "BatchRenorm": 1.4,
}  # fmt: skip
SHAPES = (32, 64, 56, 56), (8, 256, 28, 28)
MIXTURES = BatchRenorm, BatchInstanceNorm, SwitchableNorm


def cases():
    for shape in SHAPES:
        channels = shape[1]
        yield shape, BatchNorm(channels), nn.BatchNorm2d(channels)
        yield shape, InstanceNorm(channels), nn.InstanceNorm2d(channels)
        yield shape, GroupNorm(8, channels), nn.GroupNorm(8, channels)
        yield shape, LayerNorm(shape[1:]), nn.LayerNorm(shape[1:])
        for layer in MIXTURES:
            yield shape, layer(channels), nn.BatchNorm2d(channels)
    yield (32, 128, 512), LayerNorm(512), nn.LayerNorm(512)


def once(layer, x, upstream):
    x.grad = None
    start = time.perf_counter()
    layer(x).backward(upstream)
    return time.perf_counter() - start


def compare(ours, theirs, shape):
    """Milliseconds of both, and their ratio, as words."""
    x, upstream = torch.randn(shape, requires_grad=True), torch.randn(shape)
    times = [(once(ours, x, upstream), once(theirs, x, upstream)) for _ in range(RUNS + 2)]
    mine, native = (statistics.median(t) * 1e3 for t in zip(*times[2:], strict=True))
    return f"{mine:.1f} / {native:.1f} ms {mine / native:.2f}x"


# How much a second pass adds to the process's size (Linux), in units of the input. The first pass
# loads libraries; writing 5 to clear_refs makes Linux forget the peak so far.
PEAK = """
import pathlib, re, torch
from normlib import layers
def size(name):
    return int(re.search(name + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
shape = {shape}
layer = layers.{layer}(shape[1])
x, upstream = torch.randn(shape, requires_grad=True), torch.ones(shape)
layer(x).backward(upstream)
x.grad = None
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = size("VmRSS")
layer(x).backward(upstream)
print((size("VmHWM") - before) * 1024 / (x.numel() * 4))
"""


def peak(layer, shape):
    code = PEAK.format(layer=layer, shape=shape)
    given_back = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # freed tensors leave the process
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, stdout=subprocess.PIPE, env=given_back, check=True).stdout)


def measure():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for shape, ours, theirs in cases():
            name, native = type(ours).__name__, type(theirs).__name__
            budget = f"<= {BUDGETS[name]}x" if name in BUDGETS else "no budget"
            yield f"{name} {shape} / {native}", compare(ours, theirs, shape), budget
        for layer in (BatchNorm, *MIXTURES):
            measured = f"{peak(layer.__name__, SHAPES[0]):.1f}x the input"
            yield f"{layer.__name__} {SHAPES[0]}: peak memory", measured, "<= 4x"
        if shutil.which("g++") or shutil.which("clang++"):
            for shape in SHAPES:
                for layer in MIXTURES:
                    torch._dynamo.reset()
                    compiled = torch.compile(layer(shape[1]), fullgraph=True)
                    words = compare(compiled, nn.BatchNorm2d(shape[1]), shape)
                    yield f"{layer.__name__} {shape} compiled / BatchNorm2d", words, "no budget"
        else:
            yield "compiled layers", "not measured: no C++ compiler", ""
    finally:
        torch.set_num_threads(threads)
