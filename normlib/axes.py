"""The axes of a tensor and the statistics along them: the vocabulary of the course.

An axis is a letter: N examples, C channels (or features), H and W the rows and columns of an
image, D the layers of a volume, L the positions of a sequence, G groups of channels. A layout is
the letters of a tensor in order: "NCHW" for images, "NC" for feature vectors, "NCL" for sequences
as convolutions see them, "NLC" for tokens as Transformers see them. `over` names the axes to
average away.
"""

import numbers

import torch

LAYOUTS = {2: "NC", 4: "NCHW", 5: "NCDHW"}  # rank 3 is "NCL" or "NLC": only the caller knows which


def layout_of(x, layout=None):
    """Check that `x` is a floating-point tensor and return its layout, guessed from the rank.

    Raises TypeError for anything that is not a floating-point tensor, and ValueError where the
    rank does not fit the layout or does not determine it.
    """
    check_floating(x)
    if not (layout is None or (isinstance(layout, str) and set(layout) <= set("NCGDHWLOI"))):
        raise ValueError(f"a layout is made of letters, such as 'NCHW' or 'NLC', got {layout!r}")
    layout = layout or LAYOUTS.get(x.dim())
    if layout is None and x.dim() == 3:
        raise ValueError(
            f"a tensor of shape {tuple(x.shape)} can be (N, C, L) or (N, L, C): "
            "say which with layout='NCL' or layout='NLC'"
        )
    if layout is None or x.dim() != len(layout):
        expected = f"{len(layout)} axes ({', '.join(layout)})" if layout else "2 to 5 axes"
        raise ValueError(f"expected {expected}, got shape {tuple(x.shape)} with {x.dim()}")
    return layout


def check_floating(x):
    """Raise TypeError for anything that is not a floating-point tensor."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"expected a torch.Tensor, got {type(x).__name__}: use torch.as_tensor(x)")
    if x.is_complex():
        raise TypeError(
            f"expected real numbers, got {x.dtype}: normalize x.real and x.imag, or x.abs()"
        )
    if not x.is_floating_point():
        raise TypeError(
            f"expected a floating-point tensor, got {x.dtype}: a mean of integers is not an "
            "integer, so convert first with x.float()"
        )


def check_size(name, value):
    """Raise unless `value` is a whole number above 0 or, for a shape, a list of such."""
    sizes = value if name == "normalized_shape" and isinstance(value, (tuple, list)) else [value]
    if not sizes or not all(
        isinstance(size, numbers.Integral) and not isinstance(size, bool) for size in sizes
    ):
        raise TypeError(f"{name} is a whole number, such as 64, got {value!r}")
    if min(sizes) < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_number(name, value, low=0.0, high=1e300):
    """Raise TypeError unless `value` is a number, and ValueError unless it is in [low, high]."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, got {value!r}")
    if not low <= value <= high:
        wanted = f"at least {low}" if high > 1e9 else f"from {low} to {high}"
        raise ValueError(f"{name} must be a finite number {wanted}, got {value}")


def check_count(x, statistics, name):
    """Raise ValueError if so many statistics of x leave one value to each."""
    if 0 < x.numel() < 2 * statistics:
        raise ValueError(
            f"{name} expected more than 1 value per statistic, got input size {tuple(x.shape)}: "
            "one value is its own mean, so every output would be the bias. Use more examples or "
            "positions per statistic"
        )


def wide(x):
    """Half precision as single: a square of half precision soon overflows."""
    return x.float() if x.element_size() < 4 else x


def transformed(x):
    """Whether torch.func is at work on x, or a batch of gradients at once."""
    if torch.compiler.is_compiling():
        return False
    keys = str(torch._C._dispatch_keys(x))
    return "FuncTorch" in keys or "Batched" in keys


def dims(over, layout):
    """Positions of the axes `over` in `layout`: dims("NHW", "NCHW") is (0, 2, 3).

    "HW" stands for every position, so it means L in a sequence and nothing in "NC", which has no
    positions. Raises ValueError for an axis the layout lacks, and when no axis is left.
    """
    if not isinstance(over, str):
        raise TypeError(f"over names axes in one string, such as 'NHW', got {over!r}")
    positions = "".join(axis for axis in layout if axis in "DHWL")
    if positions != "DHW" or positions not in over:
        over = over.replace("HW", positions)
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
    if "C" not in layout:
        raise ValueError(f"there are no channels to split in the axes {layout!r}")
    axis = layout.index("C")
    check_groups(groups, x.shape[axis])
    return x.unflatten(axis, (groups, x.shape[axis] // groups)), layout.replace("C", "GC")


def check_groups(groups, channels):
    """Raise ValueError unless `channels` can be split into so many equal groups."""
    check_size("num_channels", channels)
    whole = isinstance(groups, numbers.Integral) and not isinstance(groups, bool)
    if not whole or groups not in divisors(channels):
        swapped = whole and groups > channels
        raise ValueError(
            f"{channels} channels cannot be split into {groups} equal groups: choose a divisor "
            f"of {channels} {divisors(channels)}"
            + (f", or swap the two: {channels} groups of {groups} channels" if swapped else "")
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
    check_number("eps", eps)
    layout = layout_of(x, layout)
    split, layout = split_groups(wide(x), groups, layout)
    mean, var = moments(split, over, layout=layout)
    check_count(x, mean.numel(), f"normalize over {over}")
    return ((split - mean) / (var + eps).sqrt()).reshape(x.shape).to(x.dtype)
