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
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MeanOnlyBatchNorm,
    RMSNorm,
    StreamingNorm,
    SwitchableNorm,
)
from normlib.widgets import AxesExplorer

BUDGETS = {
    "BatchNorm": 1.1, "LayerNorm": 1.1, "RMSNorm": 1.1, "InstanceNorm": 1.1, "GroupNorm": 1.1,
    "BatchRenorm": 1.5, "GhostBatchNorm": 1.5, "MeanOnlyBatchNorm": 1.5,
    "SwitchableNorm": 2.2, "BatchInstanceNorm": 2.2, "StreamingNorm": 3.0,
}  # fmt: skip
SHAPES = (32, 64, 32, 32), (32, 128, 512), (256, 512)  # images, tokens or sequences, features
LARGE = (32, 64, 56, 56)
MIXTURES = BatchRenorm, BatchInstanceNorm, SwitchableNorm
TORCH = {  # by rank
    2: (nn.BatchNorm1d, None), 3: (nn.BatchNorm1d, nn.InstanceNorm1d),
    4: (nn.BatchNorm2d, nn.InstanceNorm2d),
}  # fmt: skip


def cases():
    """Ours and torch's; what torch does not have stands beside its Batch Norm."""
    for shape in SHAPES:
        channels, images = shape[1], len(shape) > 3
        batch, instance = TORCH[len(shape)]
        pools = ("IN", "LN", "BN") if instance else ("LN", "BN")
        last = shape[1:] if images else shape[-1]
        pairs = [
            (BatchNorm(channels), batch(channels)),
            (LayerNorm(last), nn.LayerNorm(last)),
            (RMSNorm(last), nn.RMSNorm(last)),
            (GroupNorm(8, channels), nn.GroupNorm(8, channels)),
            (BatchRenorm(channels), batch(channels)),
            (GhostBatchNorm(channels, shape[0] // 4), batch(channels)),
            (MeanOnlyBatchNorm(channels), batch(channels)),
            (SwitchableNorm(channels, pools=pools), batch(channels)),
            (StreamingNorm(channels), batch(channels)),
        ]
        if instance:
            pairs.append((InstanceNorm(channels, affine=True), instance(channels, affine=True)))
            pairs.append((BatchInstanceNorm(channels), batch(channels)))
        for ours, theirs in pairs:
            yield shape, ours, theirs


def once(layer, x, upstream):
    x.grad = None
    start = time.perf_counter()
    layer(x).backward(upstream)
    return time.perf_counter() - start


def compare(ours, theirs, shape):
    """Milliseconds of both, and their ratio, as words."""
    x, upstream = torch.randn(shape, requires_grad=True), torch.randn(shape)
    runs = 200 if x.numel() < 1e6 else 25
    times = [(once(ours, x, upstream), once(theirs, x, upstream)) for _ in range(runs + 2)]
    mine, native = (statistics.median(t) * 1e3 for t in zip(*times[2:], strict=True))
    return f"{mine:.2f} / {native:.2f} ms {mine / native:.2f}x"


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


def opening():
    """Seconds until the explorer of four methods stands."""
    methods = [BatchNorm(6), LayerNorm((6, 4, 4)), BatchRenorm(6), SwitchableNorm(6)]
    start = time.perf_counter()
    AxesExplorer(methods, torch.randn(4, 6, 4, 4))
    return time.perf_counter() - start


def measure():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        opening()  # the first one loads libraries
        yield "explorer (4, 6, 4, 4), four methods: opens", f"{opening():.2f} s", "<= 1 s"
        for shape, ours, theirs in cases():
            name, native = type(ours).__name__, type(theirs).__name__
            for mode in ("train", "eval"):
                words = compare(ours.train(mode == "train"), theirs.train(mode == "train"), shape)
                yield f"{name} {shape} {mode} / {native}", words, f"<= {BUDGETS[name]}x"
        for layer in (BatchNorm, *MIXTURES):
            measured = f"{peak(layer.__name__, LARGE):.1f}x the input"
            yield f"{layer.__name__} {LARGE}: peak memory", measured, "<= 4x"
        if shutil.which("g++") or shutil.which("clang++"):
            for layer in MIXTURES:
                torch._dynamo.reset()
                compiled = torch.compile(layer(64), fullgraph=True)
                words = compare(compiled, nn.BatchNorm2d(64), SHAPES[0])
                yield f"{layer.__name__} {SHAPES[0]} compiled / BatchNorm2d", words, "no budget"
        else:
            yield "compiled layers", "not measured: no C++ compiler", ""
    finally:
        torch.set_num_threads(threads)
