"""The axes of a tensor, the statistics along them, and which inputs an output really uses.

An axis is a letter: N examples, C channels (or features), H and W the rows and columns of an
image, L the positions of a sequence, G groups of channels. A layout is the letters of a tensor
in order: "NCHW" for images, "NC" for feature vectors, "NCL" for sequences as convolutions see
them, "NLC" for tokens as Transformers see them. `over` names the axes to average away.
"""

import copy
import functools
import numbers
import re
import types

import torch
from torch import nn

# Functions and classes from here hold no state of a student's.
_LIBRARY = re.compile(r"(builtins|functools|torch|numpy|normlib)\b")

LAYOUTS = {2: "NC", 4: "NCHW"}  # rank 3 is "NCL" or "NLC": only the caller knows which


def layout_of(x, layout=None):
    """Check that `x` is a floating-point tensor and return its layout, guessed from the rank.

    Raises TypeError for anything that is not a floating-point tensor, and ValueError where the
    rank does not fit the layout or does not determine it.
    """
    check_floating(x)
    layout = layout or LAYOUTS.get(x.dim())
    if layout is None and x.dim() == 3:
        raise ValueError(
            f"a tensor of shape {tuple(x.shape)} can be (N, C, L) or (N, L, C): "
            "say which with layout='NCL' or layout='NLC'"
        )
    if layout is None or x.dim() != len(layout):
        expected = f"{len(layout)} axes ({', '.join(layout)})" if layout else "2 to 4 axes"
        raise ValueError(f"expected {expected}, got shape {tuple(x.shape)} with {x.dim()}")
    return layout


def check_floating(x):
    """Raise TypeError for anything that is not a floating-point tensor."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"expected a torch.Tensor, got {type(x).__name__}: use torch.as_tensor(x)")
    if not x.is_floating_point():
        raise TypeError(
            f"expected a floating-point tensor, got {x.dtype}: a mean of integers is not an "
            "integer, so convert first with x.float()"
        )


def dims(over, layout):
    """Positions of the axes `over` in `layout`: dims("NHW", "NCHW") is (0, 2, 3).

    "HW" stands for every position, so it means L in a sequence and nothing in "NC", which has no
    positions. Raises ValueError for an axis the layout lacks, and when no axis is left.
    """
    if not isinstance(over, str):
        raise TypeError(f"over names axes in one string, such as 'NHW', got {over!r}")
    if "H" not in layout:
        over = over.replace("HW", "L" if "L" in layout else "")
    missing = sorted(set(over) - set(layout))
    if missing or len(set(over)) < len(over):
        raise ValueError(
            f"over={over!r} does not fit the axes {layout!r}: "
            + (f"no axis {missing[0]!r} there" if missing else "each axis at most once")
        )
    if not over:
        raise ValueError(f"nothing to average: a tensor with axes {layout!r} has no positions")
    return tuple(layout.index(axis) for axis in over)


def moments(x, over, *, layout=None):
    """Mean and biased variance (divided by the count) of `x` over the axes `over`.

    Both keep the averaged axes with size 1, so they broadcast against `x`:
    for x of shape (N, C, H, W), over="NHW" gives two tensors of shape (1, C, 1, 1).
    Raises TypeError for integers and ValueError for axes that x does not have.
    """
    axes = dims(over, layout_of(x, layout))
    mean = x.mean(axes, keepdim=True)
    return mean, (x - mean).square().mean(axes, keepdim=True)  # exact when the mean is large


def pool(mean, var, over, *, layout=None):
    """Moments of a union of equally large sets, from the moments of each (law of total variance).

    mean, var: one entry per set, for example the (N, C, 1, 1) table that moments(x, "HW") gives.
    Pooling that table over "N" gives Batch Norm's statistics, over "C" Layer Norm's.
    """
    if var.shape != mean.shape:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)} but var has {tuple(var.shape)}: "
            "pass the two tensors of one call of moments"
        )
    pooled_mean, between = moments(mean, over, layout=layout)
    return pooled_mean, var.mean(dims(over, layout_of(var, layout)), keepdim=True) + between


def split_groups(x, groups, layout):
    """View the channels as (groups, channels per group): "NCHW" becomes "NGCHW"."""
    axis = layout.index("C")
    check_groups(groups, x.shape[axis])
    return x.unflatten(axis, (groups, x.shape[axis] // groups)), layout.replace("C", "GC")


def check_groups(groups, channels):
    """Raise ValueError unless `channels` can be split into so many equal groups."""
    if not isinstance(groups, numbers.Integral) or groups not in divisors(channels):
        raise ValueError(
            f"{channels} channels cannot be split into {groups} equal groups: choose a divisor "
            f"of {channels} {divisors(channels)}"
        )


def divisors(n):
    """Every number of groups that divides `n` channels, in ascending order."""
    return [g for g in range(1, n + 1) if n % g == 0]


def normalize(x, over="NHW", *, eps=1e-5, layout=None, groups=1):
    """Give `x` mean 0 and variance 1 over the axes `over`: (x − mean) / sqrt(var + eps).

    x: floating point, (N, C), (N, C, H, W), or rank 3 with its layout named. Same shape out.
    groups: compute the statistics inside each of so many groups of consecutive channels.
    Raises TypeError for integers; ValueError for a wrong rank or axis, groups that do not divide
    the channels, a single value per statistic, and a negative eps.

    >>> x = torch.randn(8, 6, 4, 4)
    >>> batch_norm = normalize(x, over="NHW")
    >>> layer_norm = normalize(x, over="CHW")
    >>> instance_norm = normalize(x, over="HW")
    >>> group_norm = normalize(x, over="CHW", groups=2)
    """
    if not eps >= 0:
        raise ValueError(f"eps is added to a variance and cannot be negative, got {eps}")
    layout = layout_of(x, layout)
    wide = x.float() if x.element_size() < 4 else x  # a square of half precision soon overflows
    split, layout = split_groups(wide, groups, layout)
    mean, var = moments(split, over, layout=layout)
    if x.numel() < 2 * mean.numel():
        raise ValueError(
            f"averaging {tuple(x.shape)} over {over} leaves one value per statistic, and that is "
            "its own mean: every output would be 0"
        )
    return ((split - mean) / (var + eps).sqrt()).reshape(x.shape).to(x.dtype)


def footprint(fn, x, *, at=None, probes=3):
    """Which inputs an output of `fn` depends on, measured: where its gradient is not zero.

    fn: any differentiable function or module of one tensor, returning one tensor.
    x: gives the shape; its values matter only with probes=0.
    at: index of one output. The result is then a boolean mask of the input's shape; without it,
        one mask per output, shape (*output.shape, *input.shape).

    The gradient is taken in float64 at `probes` random inputs, on a copy of the function and of
    the modules and tensors it uses, so that looking changes nothing. (What a student's own class
    reaches through globals is not copied.) probes=0 takes it at x
    itself, for a function such as max, where the values decide who counts. Dependence that the
    function hides from autograd (`.detach()`, `no_grad`) is not seen.
    Raises TypeError for inputs or outputs that are not floating-point tensors, and ValueError for
    an output without a gradient.
    """
    check_floating(x)
    probe, generator, mask = private_copy(fn), torch.Generator().manual_seed(0), False
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        for _ in range(max(probes, 1)):
            leaf = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            leaf = (leaf if probes else x.detach().double().clone()).requires_grad_()
            y = probe(leaf.clone())  # the function may write into its input
            if not isinstance(y, torch.Tensor) or y.is_complex():
                kind = f"{y.dtype} tensor" if isinstance(y, torch.Tensor) else type(y).__name__
                raise TypeError(f"the function returned {kind}, not a tensor of real numbers")
            if not y.requires_grad:
                raise ValueError(
                    "the output has no gradient to follow: compute it from the input with torch "
                    "operations, without .detach(), .numpy() or no_grad"
                )
            if at is not None and not (
                isinstance(at, (tuple, list))
                and len(at) == y.dim()
                and all(-n <= i < n for i, n in zip(at, y.shape, strict=True))
            ):
                raise ValueError(f"at={at} is not the index of one output of {tuple(y.shape)}")
            out = y if at is None else y[tuple(at)]
            size = _jacobian(out, leaf).abs()
            # More than rounding error; NaN and infinity count as dependence.
            mask = mask | ~(size <= 1e-12 * size.nan_to_num(posinf=0.0).max())
    return mask.reshape(*out.shape, *x.shape)


def spread(mask, layout):
    """The axes along which a mask has more than one index, as letters: "NHW" for Batch Norm."""
    used = mask.nonzero()
    return "".join(a for a, index in zip(layout, used.T, strict=True) if index.unique().numel() > 1)


def number_rows(masks):
    """Number equal rows alike, in order of appearance; and the first row of every number."""
    numbers, which, first = {}, [], []
    for i, row in enumerate(masks.numpy()):
        which.append(numbers.setdefault(row.tobytes(), len(numbers)))
        if len(numbers) > len(first):
            first.append(i)
    return which, first


def _jacobian(out, x):
    """d out / d x, one row per element of `out`; rows in batches where the operations allow it."""
    flat, keep = out.reshape(-1), {"retain_graph": True, "materialize_grads": True}
    rows = torch.eye(len(flat), dtype=flat.dtype)
    try:
        parts = [
            torch.autograd.grad(flat, x, some, is_grads_batched=True, **keep)[0].expand(
                len(some), *x.shape
            )
            for some in rows.split(512)
        ]
    except RuntimeError:  # an operation that cannot be batched: one row at a time
        parts = [torch.autograd.grad(flat, x, row, **keep)[0][None] for row in rows]
    return torch.cat(parts)


def private_copy(value, seen=None):
    """A float64 copy of a function or module that shares no state with the original.

    Follows what a function can reach: its closure, its defaults, the globals it names.
    """
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, nn.Module):
        kept = [t for m in value.modules() for t in vars(m).values() if torch.is_tensor(t)]
        memo = {id(t): t.detach() for t in kept if not t.is_leaf}  # these refuse to be copied
        result = copy.deepcopy(value, memo).double()
    elif isinstance(value, torch.Tensor):
        result = value.detach().clone()
        result = result.double() if result.is_floating_point() else result
    elif isinstance(value, types.MethodType):
        owner = value.__self__
        known = isinstance(owner, (type, nn.Module))
        copied = private_copy(owner, seen) if known else _copied_object(owner, seen)
        result = types.MethodType(value.__func__, copied)
    elif isinstance(value, functools.partial):
        args = [private_copy(a, seen) for a in value.args]
        kwargs = {k: private_copy(v, seen) for k, v in value.keywords.items()}
        result = functools.partial(private_copy(value.func, seen), *args, **kwargs)
    elif isinstance(value, (list, tuple)):
        parts = [private_copy(v, seen) for v in value]
        result = value._make(parts) if hasattr(value, "_make") else type(value)(parts)
    elif isinstance(value, dict):
        result = copy.copy(value)
        for key, part in value.items():
            result[key] = private_copy(part, seen)
    elif isinstance(value, types.FunctionType) and not _LIBRARY.match(value.__module__ or ""):
        code, scope = value.__code__, dict(value.__globals__)
        cells = tuple(types.CellType() for _ in code.co_freevars)
        result = types.FunctionType(code, scope, value.__name__, value.__defaults__, cells or None)
        result.__kwdefaults__ = value.__kwdefaults__
        seen[id(value)] = result  # before its parts, for functions that name themselves
        for name in _names(code):
            if name in scope:
                scope[name] = private_copy(scope[name], seen)
        for cell, original in zip(cells, value.__closure__ or (), strict=True):
            cell.cell_contents = private_copy(original.cell_contents, seen)
        result.__defaults__ = private_copy(value.__defaults__, seen)
    elif callable(value) and not isinstance(value, type) and hasattr(value, "__dict__"):
        result = _copied_object(value, seen)
    else:
        result = value
    seen[id(value)] = result
    return result


def _copied_object(value, seen):
    """A copy of an object of a student's own class, with private copies of what it holds."""
    if _LIBRARY.match(type(value).__module__) or not hasattr(value, "__dict__"):
        return value
    seen[id(value)] = result = copy.copy(value)
    for name, part in vars(value).items():
        setattr(result, name, private_copy(part, seen))
    return result


def _names(code):
    """The global names a function mentions, those of functions written inside it included."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*inner)
