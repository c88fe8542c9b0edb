"""Copies of functions and of all they can reach, so that running them changes nothing."""

import contextlib
import copy
import functools
import random
import re
import types

import numpy as np
import torch
from torch import nn

# Functions and classes from here hold no state of a student's.
_LIBRARY = re.compile(r"(builtins|functools|torch|numpy|normlib)\b")


@contextlib.contextmanager
def fixed_chance(seed, devices=()):
    """Random numbers from a seed; afterwards Python's, NumPy's and torch's go on as before."""
    kept = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            of_torch = torch.manual_seed if devices else torch.default_generator.manual_seed
            for reseed in (random.seed, np.random.seed, of_torch):
                reseed(seed)
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


def private_copy(value, seen=None):
    """A float64 copy of a function or module that shares no state with the original.

    Follows what a function can reach: its closure, its defaults, the globals it names.
    """
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, nn.Module):
        result = copied_module(value).double()
        for module in result.modules():  # plain functions and tensors in it are not its own yet
            for name, part in vars(module).items():
                if isinstance(part, (torch.Tensor, types.FunctionType, functools.partial)):
                    module.__dict__[name] = private_copy(part, seen)
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
        vars(result).update(vars(value))
        seen[id(value)] = result  # before its parts, for functions that name themselves
        for name in _names(code):
            if name in scope:
                scope[name] = private_copy(scope[name], seen)
        for cell, original in zip(cells, value.__closure__ or (), strict=True):
            cell.cell_contents = private_copy(original.cell_contents, seen)
        result.__defaults__ = private_copy(value.__defaults__, seen)
    elif hasattr(value, "__dict__") and (_is_plain(value) or callable(value)):
        result = _copied_object(value, seen)
    else:
        result = value
    seen[id(value)] = result
    return result


def copied_module(module):
    """A deep copy, also of its hooks, and of a module with tensors that refuse to be copied."""
    kept = [t for m in module.modules() for t in vars(m).values() if torch.is_tensor(t)]
    result = copy.deepcopy(module, {id(t): t.detach() for t in kept if not t.is_leaf})
    for part in result.modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks"):
            part.__dict__[hooks] = private_copy(part.__dict__[hooks])
    return result


def _is_plain(value):
    """Whether a value is of a class that a notebook defines, or a namespace."""
    return type(value).__module__ in ("__main__", "types") and not isinstance(
        value, types.ModuleType
    )


def _copied_object(value, seen):
    """A copy of an object of a student's own class, with private copies of what it holds."""
    library = _LIBRARY.match(type(value).__module__) or isinstance(value, type)
    if library or not hasattr(value, "__dict__"):
        return value
    seen[id(value)] = result = copy.copy(value)
    for name, part in vars(value).items():
        vars(result)[name] = private_copy(part, seen)
    return result


def _names(code):
    """The global names a function mentions, those of functions written inside it included."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*inner)
