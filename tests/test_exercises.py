"""Exercises against answers that nobody foresaw: mutations of the right ones."""

import ast
import contextlib
import copy
import io
import random
import warnings

import nbformat
import pytest
import torch

from normlib import feedback
from tools.notebooks import NOTEBOOKS, exercises

MUTANTS = 12  # of every exercise
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
METHODS = {"mean": "sum", "var": "std", "sqrt": "exp", "sum": "mean", "square": "abs"}


class Mutate(ast.NodeTransformer):
    """Changes one randomly chosen place of an answer."""

    def __init__(self, dice, target):
        self.dice, self.target, self.place = dice, target, 0

    def visit(self, node):
        node = self.generic_visit(node)
        kinds = (ast.BinOp, ast.Constant, ast.Attribute, ast.keyword, ast.UnaryOp, ast.Return)
        if not isinstance(node, kinds):
            return node
        self.place += 1
        return self.change(node) if self.place == self.target else node

    def change(self, node):
        if isinstance(node, ast.BinOp):
            node.op = self.dice.choice(OPERATORS)()
        elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            node.value = self.dice.choice([node.value + 1, -node.value, 0, 2.5])
        elif isinstance(node, ast.Attribute):
            node.attr = METHODS.get(node.attr, node.attr)
        elif isinstance(node, ast.UnaryOp):
            return node.operand
        elif isinstance(node, ast.Return):
            strange = ["None", "'text'", "1", "float('nan') * x", "x[:1]", "x.long()", "[x]"]
            node.value = ast.parse(self.dice.choice(strange), mode="eval").body
        elif isinstance(node, ast.keyword):
            node.value = ast.Constant(self.dice.choice([True, False, 1, 0]))
        return node


def mutants(solution, dice):
    """Sources of answers that differ from the solution in one place."""
    tree, count = ast.parse(solution), Mutate(dice, -1)
    count.visit(copy.deepcopy(tree))
    for _ in range(MUTANTS):
        mutant = Mutate(dice, dice.randint(1, count.place)).visit(copy.deepcopy(tree))
        yield ast.unparse(ast.fix_missing_locations(mutant))


def agree_elsewhere(answer, right, inputs):
    """Whether two functions give the same on fresh inputs of the same shapes."""
    for case in inputs:
        case = case if isinstance(case, tuple) else (case,)
        fresh = [
            torch.rand_like(t) + 0.1 if isinstance(t, torch.Tensor) and t.is_floating_point() else t
            for t in case
        ]
        got, want = answer(*feedback._clones(fresh)), right(*feedback._clones(fresh))
        if want.isfinite().all() and not torch.allclose(got, want, rtol=1e-2, atol=1e-2):
            return False
    return True


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_no_mutation_of_an_answer_breaks_the_check_or_passes_by_mistake(path):
    notebook = nbformat.read(path, as_version=4)
    scope = {"__name__": "__main__"}
    imports = next(
        c for c in notebook.cells if c.cell_type == "code" and "import torch" in c.source
    )
    exec(imports.source, scope)
    calls = []
    for cell in notebook.cells:
        if cell.id.endswith("-symptom"):  # a patient, before its exercise
            with contextlib.redirect_stdout(io.StringIO()):
                exec(cell.source, scope)
    scope["check"] = lambda *args, **keywords: calls.append((args, keywords))
    for exercise in exercises(notebook):
        exec(exercise.solution, scope)
        exec(exercise.check.source, scope)
    for i, (exercise, (args, keywords)) in enumerate(zip(exercises(notebook), calls, strict=True)):
        for source in mutants(exercise.solution, random.Random(i)):
            mutant = dict(scope)
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                exec(source, mutant)
            answer = mutant.get(exercise.name)
            with warnings.catch_warnings(action="ignore"):
                result = feedback.check(answer, *args[1:], **keywords)
                if result.passed and "inputs" in keywords:
                    right = args[1]
                    assert agree_elsewhere(answer, right, keywords["inputs"]), source
                elif result.passed:
                    assert answer == pytest.approx(args[1], abs=1e-3), source
