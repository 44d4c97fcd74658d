"""The text of a learning rule -> its products."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

from lavalike.arguments import did_you_mean
from lavalike.errors import RuleError

GATES = ("x0", "y0")  # and u0, u1, ...
FACTORS = ("x1", "x2", "y1", "y2", "y3", "w", "d", "t")
SYNAPTIC = ("w", "d", "t")
_NAMES = (*GATES, "u0", *FACTORS, "sgn")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>\*\*|[-+*^()]))"
)
_LARGEST = 63  # of a power of two, as uk's k
_DIGITS = 300  # of a number, and of its power of ten: its Fraction has as many
_LETTERS = 10_000  # of a rule: products of numbers are exact, and grow with each


@dataclass(frozen=True)
class Factor:
    """``name + add``, or its sign where ``sign``; a gate is a factor too, 0 or 1."""

    name: str
    add: Fraction = Fraction(0)
    sign: bool = False

    def __str__(self) -> str:
        text = self.name if not self.add else f"{self.name} {_signed(self.add)}"
        return f"sgn({text})" if self.sign else text if not self.add else f"({text})"


@dataclass(frozen=True)
class Number:
    """``mantissa * 2**exponent``, as written: in fixed point the parts are rounded apart."""

    mantissa: Fraction
    exponent: int = 0

    @property
    def value(self) -> Fraction:
        return self.mantissa * Fraction(2) ** self.exponent

    def __mul__(self, other: Number) -> Number:
        return Number(self.mantissa * other.mantissa, self.exponent + other.exponent)

    def fixed(self) -> tuple[int, int] | None:
        """Mantissa, -8..7, and exponent, -7..8, of fixed point; None where it does not hold the
        number."""
        mantissa, exponent = self.mantissa, self.exponent
        while mantissa.denominator % 2 == 0:
            mantissa, exponent = mantissa * 2, exponent - 1
        whole = int(mantissa)
        while abs(whole) > 7 and whole % 2 == 0 and exponent < 8:
            whole, exponent = whole // 2, exponent + 1
        fits = mantissa.denominator == 1 and -8 <= whole <= 7 and -7 <= exponent <= 8
        return (whole, exponent) if fits else None


@dataclass(frozen=True)
class Product:
    """``number * gate * factors``. ``every``: epochs from one in which its ``uk`` is 1 to the
    next."""

    number: Number
    gate: str
    factors: tuple[Factor, ...] = ()

    @property
    def every(self) -> int:
        names = (self.gate, *(f.name for f in self.factors))
        return next((1 << int(n[1:]) for n in names if n.startswith("u")), 1)

    def __str__(self) -> str:
        names = [self.gate, *(str(f) for f in self.factors)]
        return " * ".join([str(self.number.value), *names] if self.number.value != 1 else names)


def _signed(number: Fraction) -> str:
    return f"{'-' if number < 0 else '+'} {abs(number)}"


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


class _Parser:
    """Recursive descent over one rule. ``target`` is what the text is of, for messages."""

    def __init__(self, text: str, target: str) -> None:
        self.text, self.target = text, target
        self.tokens = list(self._tokens())
        self.place = 0

    def fail(self, at: int, why: str) -> NoReturn:
        raise RuleError(f"{self.target}: {why}\n    {self.text}\n    {' ' * at}^")

    def _tokens(self) -> Iterator[_Token]:
        at, end = 0, len(self.text.rstrip())
        while at < end:
            found = _TOKEN.match(self.text, at)
            if found is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                self.fail(at, f"{self.text[at]!r} is no sign of a rule; there are + - * ^ ( )")
            kind = str(found.lastgroup)
            yield _Token(kind, found[kind], found.start(kind))
            at = found.end()
        yield _Token("end", "", end)

    # -- tokens ----------------------------------------------------------------------------------

    @property
    def next(self) -> _Token:
        return self.tokens[self.place]

    def take(self, *texts: str) -> _Token | None:
        token = self.next
        if token.kind == "sign" and token.text in texts:
            self.place += 1
            return token
        return None

    def expect(self, text: str, after: str) -> None:
        if self.take(text) is None:
            self.fail(self.next.at, f"{text!r} is missing after {after}")

    # -- grammar ---------------------------------------------------------------------------------

    def sum(self) -> tuple[Product, ...]:
        """sum = [sign] product { sign product }"""
        products = []
        sign = self.take("+", "-")
        while True:
            products.append(self.product(-1 if sign is not None and sign.text == "-" else 1))
            sign = self.take("+", "-")
            if sign is None:
                break
        if self.next.kind != "end":
            self.fail(self.next.at, "here a product ends; + or - or * comes next")
        return tuple(products)

    def product(self, sign: int) -> Product:
        """product = item { "*" item }"""
        begin, number = self.next.at, Number(Fraction(sign))
        factors: list[Factor] = []
        while True:
            item = self.item()
            if isinstance(item, Factor):
                factors.append(item)
            else:
                number = self.held(begin, number * item)
            if self.take("*") is None:
                break
        gate = next((f for f in factors if _is_gate(f)), None)
        if gate is None:
            self.fail(
                begin,
                "a product needs a gate that says when it is added: x0 (an input spiked), "
                "y0 (the output did) or u0 (every epoch)",
            )
        factors.remove(gate)
        every = {gate.name, *(f.name for f in factors if f.name.startswith("u"))}
        if len({name for name in every if name.startswith("u")}) > 1:
            self.fail(begin, "a product has one uk")
        return Product(number, gate.name, tuple(factors))

    def item(self) -> Number | Factor:
        """item = number | name | "sgn" "(" shifted ")" | "(" shifted | [sign] number ")" """
        token = self.next
        if token.kind == "name":
            self.place += 1
            if token.text == "sgn":
                self.expect("(", "sgn")
                factor = self.shifted()
                if factor.name not in SYNAPTIC:
                    self.fail(
                        token.at, f"sgn is of a synaptic variable, w, d or t, not of {factor.name}"
                    )
                self.expect(")", "what sgn is of")
                return Factor(factor.name, factor.add, sign=True)
            return Factor(self.name(token))
        if token.kind == "number":
            return self.number()
        if self.take("(") is not None:
            if self.next.kind == "name":
                factor = self.shifted()
                self.expect(")", "what stands in parentheses")
                if factor.add and _is_gate(factor):
                    self.fail(token.at, f"{factor.name} is 0 or 1; nothing is added to it")
                return factor
            sign = self.take("+", "-")
            number = self.number()
            self.expect(")", "a number in parentheses")
            return _times(sign, number)
        sign = self.take("-", "+")
        if sign is not None and self.next.kind == "number":
            return _times(sign, self.number())
        return self.fail(
            token.at, "a number, a variable, sgn(...) or a sum in parentheses is expected here"
        )

    def shifted(self) -> Factor:
        """shifted = name [ sign number ]"""
        token = self.next
        if token.kind != "name":
            self.fail(token.at, "a variable comes first here: (w - 3)")
        self.place += 1
        name = self.name(token)
        sign = self.take("+", "-")
        if sign is None:
            return Factor(name)
        return Factor(name, _times(sign, self.number()).value)

    def number(self) -> Number:
        """number = digits [ "^" [sign] digits ]"""
        token = self.next
        if token.kind != "number":
            self.fail(token.at, "a number is expected here")
        self.place += 1
        power_of_ten = token.text.lower().partition("e")[2] or "0"
        if len(token.text) > _DIGITS or abs(int(power_of_ten)) > _DIGITS:
            self.fail(token.at, f"a number has at most {_DIGITS} digits before and after its point")
        value = Fraction(token.text)
        if self.take("^", "**") is None:
            return Number(value)
        bracket = self.take("(")
        sign = self.take("-", "+")
        power = self.next
        if power.kind != "number" or not power.text.isdigit() or int(power.text) > _LARGEST:
            self.fail(power.at, f"a power is a whole number up to {_LARGEST}")
        self.place += 1
        if bracket is not None:
            self.expect(")", "a power")
        exponent = int(power.text) * (-1 if sign is not None and sign.text == "-" else 1)
        if not value and exponent < 0:
            self.fail(token.at, "0 has no negative power")
        if value == 2:
            return Number(Fraction(1), exponent)
        return self.held(token.at, Number(value**exponent))

    def held(self, at: int, number: Number) -> Number:
        """``number``, which a float holds."""
        try:
            float(number.value)
        except OverflowError:
            self.fail(at, "the numbers come to more than a float holds, 1.8e308")
        return number

    def name(self, token: _Token) -> str:
        if token.text in FACTORS or token.text in GATES:
            return token.text
        if re.fullmatch(r"u\d+", token.text):
            if int(token.text[1:]) > _LARGEST:
                self.fail(token.at, f"uk is added in every 2**k-th epoch; k is at most {_LARGEST}")
            return token.text
        return self.fail(
            token.at,
            f"{token.text!r} is no variable of a rule; there are x0 y0 u0 u1 ... "
            f"{' '.join(FACTORS)} and sgn(){did_you_mean(token.text, _NAMES)}",
        )


def _times(sign: _Token | None, number: Number) -> Number:
    return (
        Number(-number.mantissa, number.exponent)
        if sign is not None and sign.text == "-"
        else number
    )


def _is_gate(factor: Factor) -> bool:
    return factor.name in GATES or factor.name.startswith("u")


def parsed(text: str, target: str) -> tuple[Product, ...]:
    """The products of ``text``, which says how ``target`` changes. RuleError with the place."""
    if not text.strip():
        raise RuleError(f"{target}: the rule is empty; leave it out (None)")
    if len(text) > _LETTERS:
        raise RuleError(f"{target}: the rule has {len(text)} letters; {_LETTERS} are read")
    return _Parser(text, target).sum()
