"""A step's source as equations for people.

``leak(v, beta) + a_in`` becomes ``v[t] = beta v[t-1] + a_in[t]``; helpers of one line are put in
place, what others compute gets lines of its own. ``(x > th)`` as a factor counts 1 or 0; the words
that shape fixed point or gradients alone (wrap, clip, carried, inject) are left out. Lines hold in
their order: a state that is reset has two.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lavalike.dynamics.composition import Composition, composition
from lavalike.dynamics.dynamics import WORDS
from lavalike.errors import InputError

if TYPE_CHECKING:
    from lavalike.dynamics.dynamics import Dynamics

CHOICE, EITHER, BOTH, COMPARED, SUM, PRODUCT, POWER, ATOM = range(8)
SIGNS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "=", ast.NotEq: "!="}
OPERATORS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Mod: "mod",
    ast.Pow: "pow",
}
BUILTINS = {abs: "absolute", min: "lesser", max: "greater"}


@dataclass(eq=False)
class Term:
    """An expression: ``op`` of ``args``. A leaf ("name", "number") has its text in ``text``;
    "value" is a Line's result."""

    op: str
    args: tuple[Term, ...] = ()
    text: str = ""
    line: Line | None = None


@dataclass(eq=False)
class Line:
    """``name[t] = term``"""

    base: str
    term: Term
    name: str = ""


def leaf(text: str) -> Term:
    return Term("name", text=text)


def equation(dynamics: Dynamics) -> str:
    """The equations of ``dynamics``, one a line; InputError where the source is not at hand or is
    no straight-line code."""
    before = {n: leaf(f"{n}[t]") for n in dynamics.inputs} | {
        n: leaf(f"{n}[t-1]") for n in dynamics.states
    }
    reader = _Reader(dynamics.name)
    results = reader.call(dynamics.step, [before.get(a, leaf(a)) for a in dynamics.arguments])
    results = results if isinstance(results, list) else [results]
    targets = (*dynamics.outputs, *dynamics.states)
    if len(results) != len(targets):
        raise InputError(
            f"{dynamics.name}: the step returns {len(results)} values; declared are {targets}"
        )
    return "\n".join(_named(reader.lines, dict(zip(targets, results, strict=True))))


# -- reading ---------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """Turns functions into lines and terms."""

    who: str
    lines: list[Line] = field(default_factory=list)
    depth: int = 0

    def refuse(self, node: ast.AST) -> InputError:
        return InputError(
            f"{self.who}: no equation for {ast.unparse(node)!r}; a step is straight-line code "
            "in the words of lavalike.dynamics.ops"
        )

    def call(self, function: Callable[..., Any], args: list[Term]) -> Term | list[Term]:
        """What ``function`` returns for ``args``; its assignments become lines."""
        if self.depth > 50:
            raise InputError(
                f"{self.who}: {function.__name__} calls itself; a step is straight-line code"
            )
        parameters = inspect.signature(function).parameters
        env = {
            n: Term("number", text=repr(p.default))
            for n, p in parameters.items()
            if isinstance(p.default, int | float)
        }
        env |= dict(zip(parameters, args, strict=False))
        if len(env) != len(parameters):
            raise InputError(
                f"{self.who}: {function.__name__} takes {len(parameters)} arguments, got {len(args)}"
            )
        parts = composition(function)
        if parts is not None:
            return self.composed(parts, env)
        self.depth += 1
        body = _body(self.who, function)
        outside = inspect.getclosurevars(function)
        scope = {**outside.globals, **outside.nonlocals, **outside.builtins}
        for node in body:
            if isinstance(node, ast.Return) and node.value is not None:
                self.depth -= 1
                return self.values(node.value, env, scope)
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target = node.targets[0]
                self.assign(target, _names(target), self.values(node.value, env, scope), env)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                changed = ast.BinOp(ast.Name(node.target.id), node.op, node.value)
                self.assign(node.target, [node.target.id], self.values(changed, env, scope), env)
            elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                raise self.refuse(node)
        raise InputError(f"{self.who}: {function.__name__} returns nothing")

    def composed(self, parts: Composition, env: dict[str, Term]) -> list[Term]:
        """What a composed function returns; what one call makes and one other takes is put in
        place."""
        taken = Counter(n for c in parts.calls for n in c.arguments)
        made = Counter(n for c in parts.calls for n in c.results)
        for function, arguments, results in parts.calls:
            value = self.apply(function, [env[n] for n in arguments])
            name = results[0]
            if (
                isinstance(value, Term)
                and name not in parts.results
                and taken[name] == made[name] == 1
            ):
                env[name] = value
            else:
                self.assign(ast.Name(", ".join(results)), results, value, env)
        return [env[n] for n in parts.results]

    def assign(
        self,
        target: ast.expr,
        names: Sequence[str],
        value: Term | list[Term],
        env: dict[str, Term],
    ) -> None:
        values = value if isinstance(value, list) else [value]
        if len(names) != len(values):
            raise self.refuse(target)
        made = {}
        for name, v in zip(names, values, strict=True):
            if v.op != "value":
                self.lines.append(Line(name, v))
                v = Term("value", line=self.lines[-1])
            elif v.line is not None and not v.line.base:
                v.line.base = name
            made[name] = v
        env |= made

    def values(
        self, node: ast.expr, env: dict[str, Term], scope: dict[str, Any]
    ) -> Term | list[Term]:
        if isinstance(node, ast.Tuple):
            return [self.term(e, env, scope) for e in node.elts]
        if isinstance(node, ast.Call):
            return self.called(node, env, scope)
        return self.term(node, env, scope)

    def term(self, node: ast.expr, env: dict[str, Term], scope: dict[str, Any]) -> Term:
        def go(n: ast.expr) -> Term:
            return self.term(n, env, scope)

        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return Term("number", text=repr(node.value))
        if isinstance(node, ast.Name):
            if node.id in env:
                return env[node.id]
            if isinstance(scope.get(node.id), int | float):
                return leaf(node.id)
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and hasattr(scope.get(node.value.id), node.attr)
        ):
            return leaf(node.attr)  # np.pi
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return Term(OPERATORS[type(node.op)], (go(node.left), go(node.right)))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
            return Term("both", (go(node.left), go(node.right)))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return Term("neg", (go(node.operand),))
        if isinstance(node, ast.Compare) and all(type(o) in SIGNS for o in node.ops):
            return Term(
                "compare",
                tuple(go(n) for n in (node.left, *node.comparators)),
                " ".join(SIGNS[type(o)] for o in node.ops),
            )
        if isinstance(node, ast.Call):
            value = self.called(node, env, scope)
            if isinstance(value, Term):
                return value
        raise self.refuse(node)

    def called(
        self, node: ast.Call, env: dict[str, Term], scope: dict[str, Any]
    ) -> Term | list[Term]:
        function = scope.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if node.keywords or function is None or any(isinstance(a, ast.Starred) for a in node.args):
            raise self.refuse(node)
        if not isinstance(function, types.FunctionType) and function not in BUILTINS:
            raise self.refuse(node)
        return self.apply(function, [self.term(a, env, scope) for a in node.args])

    def apply(self, function: Callable[..., Any], args: list[Term]) -> Term | list[Term]:
        """What a word or helper makes of ``args``."""
        word = (
            BUILTINS.get(function)
            if not isinstance(function, types.FunctionType)
            else WORDS.get(function)
        )
        if word is not None:
            return (
                args[word == "inject"]
                if word in ("wrap", "clip", "carried", "inject")
                else Term(word, tuple(args))
            )
        return self.call(function, args)


def _names(target: ast.expr) -> list[str]:
    """What an assignment names, if it is names alone."""
    targets = target.elts if isinstance(target, ast.Tuple) else [target]
    names = [t.id for t in targets if isinstance(t, ast.Name)]
    return names if len(names) == len(targets) else []


def _body(who: str, function: Callable[..., Any]) -> list[ast.stmt]:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError):
        raise InputError(
            f"{who}: the source of {function.__name__} is not at hand; write it in a file or a notebook's cell"
        ) from None
    except SyntaxError:
        tree = ast.Module([], [])  # a lambda amid an expression
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function.__code__.co_name:
            return node.body
    raise InputError(
        f"{who}: the equation of {function.__name__} cannot be read from its source; write it as a def"
    )


# -- naming ----------------------------------------------------------------------------------------


def _uses(term: Term) -> list[Line]:
    """The lines whose results ``term`` reads."""
    own = [term.line] if term.line is not None else []
    return own + [line for a in term.args for line in _uses(a)]


def _named(lines: list[Line], targets: dict[str, Term]) -> list[str]:
    """The text of all lines: outputs and new states under their names, what stands between under
    its own where that is free."""
    for name, term in targets.items():
        if term.line is not None and not term.line.name:
            term.line.name = name
        else:
            lines.append(Line(name, term, name))
    needed: list[Line] = []
    todo = [line for line in lines if line.name]
    while todo:
        line = todo.pop()
        if line not in needed:
            needed.append(line)
            todo += _uses(line.term)
    lines = _ordered([line for line in lines if line in needed])
    taken = {line.name for line in lines if line.name}
    for k, line in enumerate(lines):
        if not line.name:
            # a state before its reset goes by the state's name, as long as nobody asks for it after
            # the reset
            after = next((j for j in range(k + 1, len(lines)) if lines[j].name == line.base), None)
            free = line.base not in taken or (
                after is not None
                and not any(line in _uses(later.term) for later in lines[after + 1 :])
                and line in _uses(lines[after].term)
            )
            names = [line.base] if free else []
            line.name = next(
                n
                for n in (*names, *(f"{line.base}_{j}" for j in range(1, len(lines) + 2)))
                if n in names or n not in taken
            )
            taken.add(line.name)
    return [_line(line) for line in lines]


def _ordered(lines: list[Line]) -> list[Line]:
    """A line that changes a name again goes behind those that ask for the value before."""

    def asks(line: Line, changed: Line) -> bool:
        return any(u.base == changed.name and not u.name for u in _uses(line.term))

    last = [
        line
        for line in lines
        if line.name and asks(line, line) and not any(line in _uses(other.term) for other in lines)
    ]
    lines = [line for line in lines if line not in last]
    while last:
        chosen = next(
            (
                line
                for line in last
                if not any(asks(other, line) for other in last if other is not line)
            ),
            last[0],
        )
        last.remove(chosen)
        lines.append(chosen)
    return lines


# -- printing --------------------------------------------------------------------------------------


def _line(line: Line) -> str:
    name, t = f"{line.name}[t]", line.term
    if t.op in ("reset", "where", "lower"):
        s, a, b = t.args
        kept, new = (b, a) if t.op == "where" else (a, b)
        if _text(kept) == name:
            value = f"{name} - {_text(new, PRODUCT)}" if t.op == "lower" else _text(new, EITHER)
            return f"{name} = {value} where {_text(s, EITHER)}"
    return f"{name} = {_text(t)}"


def _text(t: Term, least: int = CHOICE) -> str:
    """``t`` in parentheses where it binds less than ``least``."""
    text, binds = _print(t)
    return text if binds >= least else f"({text})"


def _print(t: Term) -> tuple[str, int]:
    op, a = t.op, t.args
    if t.line is not None:
        return f"{t.line.name}[t]", ATOM
    if op in ("name", "number"):
        return t.text, ATOM
    if op in ("leak", "scaled", "unscale", "mul"):
        return _product(a[0], a[1])
    if op == "lower":  # v - by s
        return _sum("-", a[1], Term("mul", (a[2], a[0])))
    if op in ("add", "sub"):
        return _sum("+" if op == "add" else "-", *a)
    if op in ("div", "mod"):
        return (
            f"{_text(a[0], PRODUCT)} {'/' if op == 'div' else 'mod'} {_text(a[1], POWER)}",
            PRODUCT,
        )
    if op == "pow":
        return f"{_text(a[0], ATOM)}^{_text(a[1], ATOM)}", POWER
    if op == "neg":
        return f"-{_text(a[0], PRODUCT)}", SUM
    if op in ("above", "reaches"):
        return f"{_text(a[0], SUM)} {'>' if op == 'above' else '>='} {_text(a[1], SUM)}", COMPARED
    if op == "compare":
        parts = [_text(x, SUM) for x in a]
        return " ".join(
            [parts[0], *(f"{s} {p}" for s, p in zip(t.text.split(), parts[1:], strict=True))]
        ), COMPARED
    if op == "crosses":
        re, im, before, th = (_text(x, SUM) for x in a)
        return f"{re} >= {th} and {im} >= 0 > {before}", BOTH
    if op == "both":
        return f"{_text(a[0], BOTH)} and {_text(a[1], BOTH)}", BOTH
    if op in ("where", "reset", "gate"):
        s, yes, no = (
            a if op == "where" else (a[0], a[2], a[1]) if op == "reset" else (None, a[0], None)
        )
        condition = f"|{_text(a[1])}| >= {_text(a[2], SUM)}" if s is None else _text(s, EITHER)
        return (
            f"{_text(yes, EITHER)} where {condition}, else {'0' if no is None else _text(no, EITHER)}",
            CHOICE,
        )
    if op == "absolute":
        return f"|{_text(a[0])}|", ATOM
    if op == "positive":
        return f"max({_text(a[0])}, 0)", ATOM
    name = {"lesser": "min", "greater": "max"}.get(op, op)
    return f"{name}({', '.join(_text(x) for x in a)})", ATOM


def _is(t: Term, number: float) -> bool:
    return t.op == "number" and float(t.text) == number


def _product(x: Term, y: Term) -> tuple[str, int]:
    """Numbers first, then parameters, then what changes in time."""
    if _is(x, 1):
        return _print(y)
    if _is(y, 1):
        return _print(x)
    rank = {True: 0, False: 1}
    first, second = sorted((x, y), key=lambda t: (rank[t.op == "number"], "[" in _text(t)))
    return f"{_text(first, PRODUCT)} {_text(second, POWER)}", PRODUCT


def _sum(sign: str, x: Term, y: Term) -> tuple[str, int]:
    if _is(y, 0):
        return _print(x)
    if _is(x, 0) and sign == "+":
        return _print(y)
    return f"{_text(x, SUM)} {sign} {_text(y, PRODUCT)}", SUM
