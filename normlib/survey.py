"""The master table of any model: what each of its norms does to the input that it really gets."""

import functools
import html
import re
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from normlib.footprint import examine
from normlib.messages import SURVEY
from normlib.private import copied_module, fixed_chance, private_copy

NAMED = re.compile(r"norm|GRN", re.I)  # classes that say what they are
LAYERS = nn.Linear, nn.modules.conv._ConvNd
FEW = 8  # values behind a statistic in training


@dataclass
class Row:
    """One norm of a model. name: in the model; kind: its class.

    acts_on: "x", or "w" for a weight; shape: of that tensor; axes: those along which it shares a
    statistic; count: how many values stand behind each statistic, 1 where it reads what it
    remembers. statistic: "mean, std", "scale", or "remembered"; learns, remembers: the names of
    parameters and buffers; mode: "train" or "eval". fn, input: fn(input) is what it did.
    """

    name: str
    kind: str
    acts_on: str
    shape: tuple
    axes: tuple
    count: int
    statistic: str
    learns: str
    remembers: str
    mode: str
    fn: object = field(repr=False)
    input: torch.Tensor = field(repr=False)
    hidden: bool = False

    def cells(self):
        """The row in words; the axes that share a statistic are marked in the shape."""
        shape = ", ".join(f"{size}{'*' * (i in self.axes)}" for i, size in enumerate(self.shape))
        words = self.statistic, self.learns or "nothing", self.remembers or "nothing", self.mode
        return [self.name, self.kind, self.acts_on, f"({shape})", f"{self.count:,}", *words]


class Survey(list):
    """The rows of a model, and `warnings`: sentences on what to look at. Shown as a table."""

    def __init__(self, rows, warnings):
        super().__init__(rows)
        self.warnings = warnings

    def __repr__(self):
        lines = [SURVEY["columns"], *(row.cells() for row in self)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*table, SURVEY["legend" if self else "empty"], *self.warnings])

    def _repr_html_(self):
        lines = [SURVEY["columns"], *(row.cells() for row in self)]
        cells = [
            [re.sub(r"(\d+)\*", r"<b>\1*</b>", html.escape(c)) for c in line] for line in lines
        ]
        rows = [f"<tr><td>{'</td><td>'.join(line)}</td></tr>" for line in cells]
        rows[0] = rows[0].replace("td>", "th>")
        words = [SURVEY["legend" if self else "empty"], *self.warnings]
        below = "".join(f"<li>{html.escape(text)}</li>" for text in words)
        table = f"<table><thead>{rows[0]}</thead><tbody>{''.join(rows[1:])}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}</div><ul>{below}</ul>'


class Call(NamedTuple):
    """How a module was called: its arguments, and which of them is the tensor."""

    args: tuple
    kwargs: dict
    key: object


def survey(model, x):
    """The master table of a model: a Survey with one Row for each norm.

    model: any module, in the mode that you want to know about. Norms are found by their classes
    and, as not every norm says so, by what they do: the output keeps the input's shape and does
    not change when the input is multiplied by 3. Weights under a parametrization, and layers
    that do not feel the length of their weight, have rows too.
    x: what the model takes: a tensor, a tuple of arguments, or a dict of them.
    Axes are measured at one output by its gradient. The model stays as it is: a copy is run.
    Raises TypeError for what is no module or scripted, and ValueError for lazy modules and where
    the model fails on x.
    """
    twin, calls, makers, sizes = _record(model, x)
    names = {module: name or type(model).__name__ for name, module in twin.named_modules()}
    rows = {}
    for module in reversed(names):  # what is inside comes before what holds it
        inside = any(other in rows for other in module.modules())
        if module in calls and not (inside or ".parametrizations." in names[module]):
            row = _row_of_x(names[module], module, *calls[module])
            rows |= {module: row} if row else {}
    norms = {module: rows[module] for module in names if module in rows}
    weights = [row for module, name in names.items() for row in _rows_of_w(name, module, calls)]
    return Survey([*norms.values(), *weights], _warnings(norms, makers, sizes, names))


def _record(model, x):
    """A copy of the model after one pass, {module: (Call, tensor)}, {module: who made that tensor},
    and the sizes (C, H, W) of all images that a convolution has made."""
    if isinstance(model, torch.jit.ScriptModule) or not isinstance(model, nn.Module):
        raise TypeError(SURVEY["no_module"].format(kind=type(model).__name__))
    held = [*model.parameters(), *model.buffers()]
    if any(map(nn.parameter.is_lazy, held)):
        raise ValueError(SURVEY["lazy"])
    twin, calls, makers, made, sizes = copied_module(model), {}, {}, {}, set()

    def look(module, args, kwargs, output):
        nonlocal sizes
        for key, tensor in [*enumerate(args), *kwargs.items()]:
            if torch.is_tensor(tensor) and tensor.is_floating_point() and module not in calls:
                rest = [None if i == key else _kept(arg) for i, arg in enumerate(args)]
                named = {k: None if k == key else _kept(arg) for k, arg in kwargs.items()}
                calls[module] = Call(rest, named, key), _kept(tensor)
                makers[module] = made.get(id(tensor), (None,))[0]
        if torch.is_tensor(output):
            made[id(output)] = module, output  # kept, so that no other tensor gets its id
            sizes |= {tuple(output.shape[1:])} if isinstance(module, nn.Conv2d) else set()

    for module in twin.modules():
        module.register_forward_hook(look, with_kwargs=True)
    args, kwargs = ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})
    try:
        with torch.no_grad(), fixed_chance(0, list({t.device for t in held if t.is_cuda})):
            twin(*_kept(args), **_kept(kwargs))
    except Exception as error:
        raise ValueError(
            SURVEY["fails"].format(error=f"{type(error).__name__}: {error}")
        ) from error
    for module in twin.modules():
        module._forward_hooks.clear()
        module._forward_hooks_with_kwargs.clear()
    return twin, calls, makers, sizes


def _kept(value):
    """The value with copies of its tensors, which what comes later in the model may write into."""
    if torch.is_tensor(value):
        return value.detach().clone()
    if isinstance(value, (tuple, list)):
        return tuple(map(_kept, value))
    return {k: _kept(v) for k, v in value.items()} if isinstance(value, dict) else value


def _again(module, call, x):
    """The module as it was called, with x in place of the tensor."""
    args, kwargs = list(call.args), dict(call.kwargs)
    (args if isinstance(call.key, int) else kwargs)[call.key] = x
    output = module(*args, **kwargs)
    return output[0] if isinstance(output, tuple) else output


def _awake(module):
    """A copy in which a weight that is all zero, as at the start of many branches, is one."""
    module = copied_module(module)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "bias" not in name and not parameter.any():
                parameter.fill_(1.0)
    return module


def _same(fn, x, change):
    """Whether fn makes the same of a random r like x and of change(r), but for eps."""
    draw = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = 3 * draw.to(x.device)  # large enough that eps counts for little
    with torch.no_grad(), fixed_chance(0, [x.device] if x.is_cuda else []):
        a = private_copy(fn)(r.clone())
        b = private_copy(fn)(change(r))
    return a.shape == b.shape and bool(((a - b).abs() <= 2e-3 * a.std()).all())


def _row_of_x(name, module, call, x):
    """The Row of a module that normalises what it is given, or None."""
    if isinstance(module, LAYERS) or x.numel() < 2:
        return None
    fn = functools.partial(_again, _awake(module), call)
    remembered = not module.training and getattr(module, "running_var", None) is not None
    try:
        y = private_copy(fn)(x.double())
        if y.shape != x.shape or not y.is_floating_point():
            return None
        scaled = _same(fn, x, lambda r: 3 * r)
        if not (scaled or remembered or NAMED.search(type(module).__name__)):
            return None
        statistic = "remembered" if remembered else _statistic(fn, x, scaled)
        learned = module.named_parameters()
        row = _row(name, module, "x", fn, x, statistic, learned, module.named_buffers())
    except Exception:  # a module that takes no such tensor by itself
        return None
    return row if row.count > 1 or remembered else None


def _rows_of_w(name, module, calls):
    """The Rows of a layer's weights: parametrized, under a hook, or made anew inside forward."""
    ways = []  # the weight's name; what makes it, also as a function, and from what; what it holds
    for weight, chain in getattr(module, "parametrizations", {}).items():
        given = [t for key, t in chain.named_parameters(recurse=False) if "original" in key]
        for method in list(chain)[:1]:  # later ones work on what the first has made
            fn = functools.partial(_parametrized, method, given[:-1])
            ways.append((weight, method, fn, given[-1], chain, method))
    for hook in module._forward_pre_hooks.values():
        if hasattr(hook, "compute_weight"):
            key = (
                f"{hook.name}_v" if f"{hook.name}_v" in module._parameters else f"{hook.name}_orig"
            )
            fn = functools.partial(_hooked, module, hook, key)
            ways.append((hook.name, hook, fn, getattr(module, key), module, module))
    if not ways and isinstance(module, LAYERS) and module in calls:
        call, x = calls[module]
        fn = functools.partial(_reweighted, module, call, x)
        if _same(fn, module.weight, lambda w: 3 * w):
            ways.append(("weight", module, fn, module.weight, module, nn.Module()))
    for weight, method, fn, w, learning, remembering in ways:
        learned = [(n, t) for n, t in learning.named_parameters() if not n.startswith("bias")]
        own, w = (n for n in remembering.named_buffers()), w.detach()
        made = _row(f"{name}.{weight}", method, "w", fn, w, _statistic(fn, w, True), learned, own)
        made.mode = "train" if module.training else "eval"
        if made.count > 1:
            yield made


def _parametrized(method, before, w):
    return method(*before, w)


def _hooked(module, hook, key, w):
    del module._parameters[key]
    setattr(module, key, w)
    hook(module, None)
    return getattr(module, hook.name)


def _reweighted(module, call, x, w):
    given = [x if i == call.key else arg for i, arg in enumerate(call.args)]
    named = {key: x if key == call.key else arg for key, arg in call.kwargs.items()}
    return torch.func.functional_call(module, {"weight": w}, tuple(given), named)


def _statistic(fn, x, scaled):
    """What is taken out: the mean too, or the scale alone."""
    return "mean, std" if scaled and _same(fn, x, lambda r: r + 5) else "scale"


def _row(name, module, acts_on, fn, x, statistic, learns, remembers):
    """The Row with its axes: those along which the inputs of one output are spread."""
    shape = private_copy(fn)(x.double()).shape
    for part in (2, 3, 5):  # another output where this one has no gradient
        found = examine(fn, x, at=tuple(size // part for size in shape), probes=3)
        if found.mask.any():
            break
    index = found.mask.nonzero()
    axes = tuple(i for i, used in enumerate(index.T) if used.unique().numel() > 1)
    named = [
        ", ".join(n for n, _ in some if n != "num_batches_tracked") for some in (learns, remembers)
    ]
    kind = type(module).__name__.lstrip("_")
    mode = "train" if getattr(module, "training", True) else "eval"
    hidden = bool(found.hidden)
    return Row(
        name,
        kind,
        acts_on,
        tuple(x.shape),
        axes,
        len(index),
        statistic,
        *named,
        mode,
        fn,
        x,
        hidden,
    )


def _warnings(norms, makers, sizes, names):
    """What to look at in a model's norms, a sentence each."""
    found = []

    def say(key, row, **words):
        found.append(SURVEY[key].format(name=row.name, kind=row.kind, **words))

    for module, row in norms.items():
        dtype, eps = row.input.dtype, getattr(module, "eps", None)
        running = getattr(module, "running_mean", None)
        maker = makers.get(module)
        biased = isinstance(maker, LAYERS) and maker.bias is not None
        frozen = [p.requires_grad for p in module.parameters()]
        if row.mode == "train" and row.statistic != "remembered" and row.count < FEW:
            say("few", row, count=row.count)
        if biased and _drops(module, row, maker):
            say("bias", row, layer=names[maker])
        if getattr(module, "num_batches_tracked", None) == 0 and running is not None:
            say("never", row)
        if row.mode == "train" and running is not None and frozen and not any(frozen):
            say("frozen", row)
        if row.axes == (3,) and row.shape[1:] in sizes:
            say("width", row, shape=row.shape)
        if isinstance(eps, float) and eps > 0 and torch.tensor(eps, dtype=dtype) == 0:
            say("eps", row, eps=eps, dtype=dtype)
        if row.hidden:
            say("hidden", row)
        if row.mode == "eval" and 0 in row.axes and len(row.shape) > 1:
            say("company", row)
    modes = {row.mode: row for row in reversed(norms.values())}
    if len(modes) == 2:
        found.append(SURVEY["modes"].format(**{mode: row.name for mode, row in modes.items()}))
    return found


def _drops(module, row, maker):
    """Whether the norm, in training mode, takes out a bias of the layer before it."""
    fn = functools.partial(_again, _awake(module).train(), row.fn.args[1])
    shape = [1] * row.input.dim()
    shape[-1 if isinstance(maker, nn.Linear) else 1] = -1
    draw = torch.Generator().manual_seed(1)
    bias = torch.randn(len(maker.bias), generator=draw, dtype=torch.float64).to(row.input.device)
    return _same(fn, row.input, lambda r: r + bias.view(shape))
