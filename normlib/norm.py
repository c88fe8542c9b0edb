"""What all normalization layers share: their row of the master table, checks, running averages."""

import functools
import inspect

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from normlib.axes import check_count, check_floating, check_groups, check_number, check_size

LAYOUTS = {2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
NO_EPS = 1e-38  # nothing beside any variance; some versions of torch refuse 0
SIZES = ("num_features", "num_channels", "normalized_shape", "size", "in_features", "out_features")
FLAGS = ("affine", "bias", "elementwise_affine", "track_running_stats", "centred")


def checked(init):
    """A constructor that first refuses the arguments with which no layer can work."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked_init(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs).arguments
        for name, value in given.items():
            if name in SIZES:
                check_size(name, value)
            elif name == "num_groups":
                check_groups(value, given["num_channels"])
            elif name in FLAGS and not isinstance(value, (bool, int, np.bool_)):
                raise TypeError(f"{name} is True or False, without quotes, got {value!r}")
            elif name == "dtype" and not (value is None or getattr(value, "is_floating_point", 0)):
                raise TypeError(f"dtype is torch.float32 or its like, got {value!r}")
            elif name in ("eps", "momentum"):
                may_be_none = name == "momentum" or signature.parameters[name].default is None
                if value is not None or not may_be_none:
                    check_number(name, value, 0, 1 if name == "momentum" else 1e300)
        init(self, *args, **kwargs)

    return checked_init


def check_place(x, held, name, mixes_dtypes=False):
    """Raise unless x is where a layer holds its numbers, and of a dtype that goes with theirs."""
    if x.device != held.device:
        raise ValueError(
            f"{name} is on {held.device} and its input on {x.device}: move one of them, "
            f"layer.to({str(x.device)!r}) or x.to({str(held.device)!r})"
        )
    goes = x.dtype == held.dtype or (x.element_size() < 4 and held.dtype == torch.float32)
    if not (goes or mixes_dtypes):
        raise TypeError(
            f"{name} holds {held.dtype} and its input is {x.dtype}: convert one of them, "
            f"layer.to({x.dtype}) or x.to({held.dtype})"
        )


class Norm(nn.Module):
    """What all layers share: a row of the master table, and the checks of their input.

    Inputs: floating point, finite or not (NaN passes through, as in torch). An empty batch comes
    back empty. Raises TypeError for integer or complex input and for a dtype that does not go with
    the layer's (half precision goes with single), ValueError for a wrong rank, wrong channels,
    another device, or one value per statistic.
    """

    acts_on = "x"
    over = ""
    statistic = "mean, std"
    learns = "weight, bias per channel"
    remembers = "nothing"
    ranks = (2, 3, 4, 5)
    mixes_dtypes = False

    def check(self, x):
        """Raise unless this layer can take x."""
        if isinstance(x, torch.fx.Proxy):  # symbolic tracing: there is nothing to look at yet
            return
        check_floating(x)
        name = type(self).__name__
        self.check_shape(x, name)
        check_count(x, self.statistics(x), name)
        held = self.weight
        if held is None:
            tensors = [*self._parameters.values(), *self._buffers.values()]
            held = ([t for t in tensors if t is not None and t.is_floating_point()] or [None])[0]
        if held is not None:
            check_place(x, held, name, self.mixes_dtypes)

    _check_input_dim = check  # what torch's Batch Norm calls it

    def check_shape(self, x, name):
        """The rank of x, and its channels."""
        shape, channels = tuple(x.shape), self.num_features
        if x.dim() in self.ranks and shape[1] == channels:
            return
        if x.dim() in self.ranks:
            problem = f"was made for {channels} channels, but axis 1 of {shape} has {shape[1]}"
        else:
            known = [LAYOUTS[rank] for rank in self.ranks if rank in LAYOUTS]
            takes = " or ".join(f"({', '.join(layout)})" for layout in known)
            problem = f"takes {takes}, got shape {shape}"
        if x.dim() > 2 and shape[-1] == channels:
            problem += ": move the channels to axis 1, x.movedim(-1, 1)"
        elif x.dim() > 0 and shape[0] == channels:
            problem += ": if the batch axis is missing, add it, x[None]"
        elif x.dim() in self.ranks:
            problem += f": make it with {shape[1]}"
        raise ValueError(f"{name} {problem}")

    def statistics(self, x):
        """How many statistics the layer takes of x, none in eval mode."""
        return self.num_features if self.training or self.running_mean is None else 0

    def extra_repr(self):
        """The arguments of the constructor, by name."""
        names = inspect.signature(type(self)).parameters
        given = ((name, getattr(self, name, None)) for name in names)
        return ", ".join(
            f"{name}={value is not None if name == 'bias' else value}"
            for name, value in given
            if name not in ("device", "dtype")
        )

    def count_batch(self):
        """Count one more batch; returns its share of a running average."""
        self.num_batches_tracked.add_(1)
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum


class NormOverLastAxes(Norm):
    """What Layer Norm and RMSNorm share: statistics over the trailing axes `normalized_shape`."""

    over = "CHW"

    def check_shape(self, x, name):
        shape, wanted = tuple(x.shape), self.normalized_shape
        if shape[-len(wanted) :] != wanted:
            problem = f"{name} was made for inputs that end in {wanted}, got shape {shape}"
            if x.dim() > 2 and shape[1:2] == wanted:
                problem += ": move the channels to the end, x.movedim(1, -1), and back afterwards"
            raise ValueError(problem)


class RunningNorm(Norm, _NormBase):
    """A layer of our own with running statistics, in torch's buffers and with its `momentum`.

    running = (1 − momentum) * running + momentum * new. momentum: the weight of the newest batch;
    None keeps a plain average of all batches. torch's update_bn recalibrates Batch Norm only: here
    reset_running_stats() and momentum=None do the same.
    """

    remembers = "running mean and variance"

    @torch.no_grad()
    def move(self, **new):
        """Move running statistics, by name, towards those of this batch."""
        share = self.count_batch()
        for name, value in new.items():
            running = getattr(self, name)
            running.copy_(torch.lerp(running.to(value.dtype), value.detach(), share))

    def eval_pass(self, y, mean, var):
        """(y − mean) / sqrt(var), then weight and bias, by the kernel that does it in one pass."""
        kept = (None if t is None else t.to(y.dtype) for t in (mean, var, self.weight, self.bias))
        return F.batch_norm(y, *kept, eps=NO_EPS)

    def measures(self, x):
        """Whether x is a batch to take statistics of, and to remember."""
        return self.training and x.numel() > 0

    def reset_running_stats(self):
        for name, buffer in self.named_buffers(recurse=False):
            buffer.fill_(name in ("running_var", "running_std", "power_average"))

    def reset_parameters(self):
        self.reset_running_stats()
        for name, parameter in self.named_parameters(recurse=False):
            nn.init.constant_(parameter, float(name != "bias"))


def align(parameter, x):
    """A (C,) parameter with trailing axes of size 1, so that it broadcasts against x."""
    return parameter.view(-1, *[1] * (x.dim() - 2))


def scaled(x, scale, shift):
    """x * scale + shift with one of each per channel, by the kernel that does it in one pass."""
    scale, shift = (None if t is None else t.to(x.dtype) for t in (scale, shift))
    nothing = torch.zeros_like(scale), torch.ones_like(scale)  # a mean and a variance
    return F.batch_norm(x, *nothing, scale, shift, eps=NO_EPS)
