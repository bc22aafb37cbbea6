"""Changes of a module's source, one at a time, and how one is put into a module that is loaded; for `mutants.py`."""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt,),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.FloorDiv: (ast.Mult,),
    ast.Div: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Not: (ast.UAdd,),
    ast.USub: (ast.UAdd,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, what was changed, the whole changed source) for each change of one operator, number, condition or statement.

    Types and tables of data are left as they are, and decorators: a cache's size and a frozen class are seldom seen.

    >>> [what for _, what, _ in mutants("def f(a):\\n    return a < 2")]
    ['Lt -> LtE', 'Lt -> Gt', '2 -> 3']
    >>> [what for _, what, _ in mutants("if a:\\n    f(min(a, 0.5))")]
    ['if -> if not', 'without f(min(a, 0.5))', 'min -> max', '0.5 -> 1.0']
    """
    tree = ast.parse(source)
    left = {id(one) for node in ast.walk(tree) for part in _left_alone(node) for one in ast.walk(part)}
    for place, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node) if id(node) not in left else ():
            changed = copy.deepcopy(tree)
            other = next(one for at, one in enumerate(ast.walk(changed)) if at == place)
            change(other)
            yield getattr(node, "lineno", 0), what, ast.unparse(ast.fix_missing_locations(changed))


def _left_alone(node: ast.AST) -> list[ast.AST]:
    parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
        parts.append(node.value)
    return [*getattr(node, "decorator_list", ()), *(part for part in parts if part is not None)]


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            for kind in SWAPS.get(type(operator), ()):
                yield _name(operator, kind), lambda other, at=at, kind=kind: other.ops.__setitem__(at, kind())
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign | ast.UnaryOp):
        for kind in SWAPS.get(type(node.op), ()):
            yield _name(node.op, kind), lambda other, kind=kind: setattr(other, "op", kind())
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        # a number of some size that is off by one may well be within what a test allows
        value = node.value * 2 if isinstance(node.value, float) and node.value else node.value + 1
        yield f"{node.value} -> {value}", lambda other: setattr(other, "value", value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", lambda other: setattr(other, "value", not other.value)
    elif isinstance(node, ast.If | ast.IfExp) and isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
        yield "if -> if not", lambda other: setattr(other, "test", ast.UnaryOp(ast.Not(), other.test))
    elif isinstance(node, ast.Call) and (
        name := CALLS.get(getattr(node.func, "id", getattr(node.func, "attr", "")))
    ):
        field = "id" if isinstance(node.func, ast.Name) else "attr"
        yield f"{getattr(node.func, field)} -> {name}", lambda other: setattr(other.func, field, name)
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        told = ast.unparse(node).splitlines()[0]
        yield f"without {told}", lambda other: setattr(other, "__class__", ast.Pass)
    if isinstance(node, ast.Break | ast.Continue):
        kind = ast.Continue if isinstance(node, ast.Break) else ast.Break
        yield _name(node, kind), lambda other: setattr(other, "__class__", kind)


def _name(operator: ast.AST, kind: type[ast.AST]) -> str:
    return f"{type(operator).__name__} -> {kind.__name__}"


def transplant(module: ModuleType, source: str) -> None:
    """Have a module that is loaded do what other source says, for those too that have its functions and classes already."""
    new = ModuleType(module.__name__)
    new.__file__ = module.__file__
    sys.modules[module.__name__] = new  # dataclasses look there
    try:
        exec(compile(source, str(module.__file__), "exec"), vars(new))
    finally:
        sys.modules[module.__name__] = module
    _into(vars(module), vars(new), module, set())


def _into(old: Mapping[str, Any], new: Mapping[str, Any], owner: object, seen: set[int]) -> None:
    for name, value in new.items():
        before, after = _plain(old.get(name)), _plain(value)
        if isinstance(before, type) and isinstance(after, type) and before.__module__ == after.__module__:
            if id(before) not in seen:
                seen.add(id(before))
                _into(dict(vars(before)), vars(after), before, seen)
        elif isinstance(before, FunctionType) and isinstance(after, FunctionType):
            if before.__closure__ and "<string>" in before.__code__.co_filename:
                setattr(owner, name, value)  # made by dataclasses, with its defaults in cells
            elif before.__module__ == after.__module__:
                before.__code__ = after.__code__
                before.__defaults__, before.__kwdefaults__ = after.__defaults__, after.__kwdefaults__
        elif not name.startswith("__"):
            made = old.get(type(value).__name__)
            if isinstance(made, type) and made.__module__ == type(value).__module__:
                with suppress(TypeError):  # one of its own objects is of the class that others know
                    object.__setattr__(value, "__class__", made)
            with suppress(AttributeError, TypeError):
                setattr(owner, name, value)


def _plain(value: object) -> object:
    """The function inside a property, a class method, a cache."""
    for name in ("fget", "__func__", "__wrapped__", "func"):
        if not isinstance(value, type | FunctionType) and isinstance(
            inner := getattr(value, name, None), FunctionType
        ):
            return inner
    return value
