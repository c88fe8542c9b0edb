"""What a cell was filling when it was interrupted is partial: any later use of it is refused."""

import ast

from IPython import get_ipython

from normlib.messages import STOPPED

USES = (
    "call getitem setitem contains iter len bool format float int index array "
    "eq ne lt le gt ge add radd sub rsub mul rmul truediv rtruediv neg and or"
)


class Stopped:
    """Stands in for a variable of a cell that was interrupted; using it raises RuntimeError."""

    __hash__ = object.__hash__

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return STOPPED["refused"].format(name=self.name)

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # whoever asks what this can do
            raise AttributeError(attribute)
        return _refuse(self)


def _refuse(self, *args, **kwargs):
    raise RuntimeError(repr(self))


for _use in USES.split():
    setattr(Stopped, f"__{_use}__", _refuse)


def assigned(source):
    """The variables that a cell assigns, outside functions and classes; {} for magic."""
    try:
        waiting, names = ast.parse(source).body, set()
    except SyntaxError:
        return set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return names


def watch(shell):
    """From now on, replace what an interrupted cell has assigned."""

    def after(result):
        if isinstance(result.error_in_exec, KeyboardInterrupt):
            names = assigned(result.info.raw_cell)
            shell.user_ns.update({name: Stopped(name) for name in names})

    shell.events.register("post_run_cell", after)


if get_ipython() is not None:
    watch(get_ipython())
