"""What a loop over steps does, written down: the network's forward is run once on tensors without data."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType, FunctionType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from lavalike.errors import InputError

Site = tuple[Any, ...]

QUESTIONS = {"__bool__", "__float__", "__int__", "__index__", "__complex__", "item", "tolist", "numpy", "__array__", "__contains__",
             "equal", "allclose", "is_nonzero"}
IN_PLACE = {"__setitem__", "__delitem__", "__set__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__",
            "__ipow__", "__imatmul__", "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"}
RANDOM = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "multinomial", "poisson",
          "normal", "dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "rrelu",
          "gumbel_softmax", "fractional_max_pool2d", "fractional_max_pool3d"}
RANDOM_IN_PLACE = {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "geometric_", "cauchy_", "log_normal_"}
RUNNING = {"batch_norm", "instance_norm"}  # they keep running means: every call counts


@dataclass(eq=False)
class Node:
    """One operation or one neuron's step. ``outputs`` symbols come of it."""

    function: Any  # a torch function, or a Neuron
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    site: Site
    line: str
    neuron: bool
    grad: bool  # recorded outside torch.no_grad()
    outputs: list[Symbol] = field(default_factory=list)
    step: int | None = None
    single: bool = False  # one tensor, not a tuple of them

    @property
    def name(self) -> str:
        return self.function.label if self.neuron else getattr(self.function, "__name__", str(self.function))


class Symbol(torch.Tensor):
    """A tensor without data, output ``index`` of ``node`` (None: an input of the network)."""

    node: Node | None
    index: int

    __torch_function__ = torch._C._disabled_torch_function_impl  # the mode below sees what is done with it

    @classmethod
    def make(cls, shape: torch.Tensor, node: Node | None, index: int) -> Symbol:
        out = torch.Tensor._make_subclass(cls, torch.empty_like(shape, device="meta"))
        out.node, out.index = node, index
        return out


_current: ContextVar[Record | None] = ContextVar("record", default=None)


def current() -> Record | None:
    """The record being made, if any."""
    return _current.get()


def leaves(value: Any) -> list[Any]:
    """What lists, tuples and dicts hold, in order."""
    if isinstance(value, list | tuple):
        return [x for v in value for x in leaves(v)]
    if isinstance(value, dict):
        return [x for v in value.values() for x in leaves(v)]
    return [value]


class Record(TorchFunctionMode):
    """All operations of one call of a network, in order: those on its inputs and parameters, and random draws.

    What does not depend on these is computed at once and is a constant.
    """

    def __init__(self, device: torch.device, live: Collection[torch.Tensor]) -> None:
        super().__init__()
        self.device = device
        self.nodes: list[Node] = []
        self._live = {id(t) for t in live}
        self._root: FrameType | None = None
        self._same: dict[Any, Node] = {}

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, with its operations recorded."""
        self._root = sys._getframe()
        token = _current.set(self)
        try:
            with torch.enable_grad(), self:
                return function(*args)
        finally:
            _current.reset(token)
            self._root = None

    # -- what happens ------------------------------------------------------------------------------------------

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", str(function))
        tensors = [v for v in leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        if name in RANDOM_IN_PLACE:
            raise self.fail(f"{name}: random numbers are drawn anew for every batch only where torch.randn, torch.rand_like and the like "
                            "make them")
        if not (name in RANDOM or any(self.open(v) for v in tensors)):
            return function(*args, **kwargs)
        if name == "__iter__":
            return iter(self.__torch_function__(torch.Tensor.unbind, (), args))
        if name == "__get__":
            name = getattr(function.__self__, "__name__", "")
            if isinstance(args[0], Symbol) and name in ("device", "is_cuda", "is_cpu", "is_meta"):
                return {"device": self.device, "is_meta": False}.get(name, name == f"is_{self.device.type}")
            if name in ("data", "grad"):
                raise self.fail(f".{name} of a tensor cannot be folded; .detach() can")
            value = function(*args, **kwargs)
            if not isinstance(value, torch.Tensor):
                return value
            function, args = _Attribute(name), args[:1]
        self._refuse(name, function, args, kwargs)
        if name == "requires_grad_":
            return args[0]
        if name in QUESTIONS | IN_PLACE:  # those that are let pass
            return True
        shape = self._shape(name, function, args, kwargs, tensors)
        parts = [shape] if isinstance(shape, torch.Tensor) else list(shape) if isinstance(shape, list | tuple) else []
        if not parts or not all(isinstance(p, torch.Tensor) for p in parts):
            return shape  # a size, a dtype, a truth about shapes
        node = self._node(name, function, args, kwargs)
        if not node.outputs:
            node.single = isinstance(shape, torch.Tensor)
            node.outputs = [Symbol.make(p, node, k) for k, p in enumerate(parts)]
        if node.single:
            return node.outputs[0]
        return type(shape)(node.outputs) if type(shape).__module__ == "torch.return_types" else tuple(node.outputs)

    def open(self, value: torch.Tensor) -> bool:
        """Whether a value is not known yet, or may be another one in the next call."""
        return isinstance(value, Symbol) or id(value) in self._live or value.requires_grad

    def _refuse(self, name: str, function: Any, args: Any, kwargs: dict[str, Any]) -> None:
        caller = sys._getframe(2)
        if caller.f_globals.get("__name__") == "lavalike.snn.spikegen" and (
                (name == "__bool__" and caller.f_code.co_name == "_floating") or (name == "__setitem__" and args[1] == slice(None, 0))):
            return  # that data are finite cannot be asked of a recording; nothing is set
        if name in QUESTIONS:
            raise self.fail(f"{name.strip('_')}: the network asks for a value, which decides what happens next; only loops that do the "
                            "same whatever the values can be folded (torch.where chooses between values)")
        counter = name == "add_" and not isinstance(args[0], Symbol) and not args[0].is_floating_point()  # of a batch norm
        changes = name in IN_PLACE or (name.endswith("_") and not name.endswith("__")) or _in_place(function, args, kwargs)
        if changes and not counter and name != "requires_grad_":
            raise self.fail(f"{name}: tensors that are changed in place cannot be folded; make new ones (x = x + y instead of x += y; "
                            "a list and torch.stack instead of x[step] = y; inplace=False)")
        if torch.is_autocast_enabled(self.device.type):
            raise self.fail("autocast cannot be folded; accelerate(..., precision='bfloat16') is there instead")

    def _shape(self, name: str, function: Any, args: Any, kwargs: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
        """What the function returns, without data."""

        def empty(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return torch.empty_like(value, device="meta")
            return torch.device("meta") if isinstance(value, torch.device) or (name == "to" and isinstance(value, str)) else value

        if name in ("cpu", "cuda"):
            return args[0]
        more = {k: torch.device("meta") if k == "device" else v for k, v in kwargs.items() if k != "generator"}
        if not tensors:
            more["device"] = torch.device("meta")
        try:
            with torch.no_grad():
                return function(*tree_map(empty, args), **tree_map(empty, more))
        except Exception as e:
            raise self.fail(f"{name}: {e}") from e

    def neuron(self, module: Any, x: torch.Tensor, states: Any) -> tuple[Symbol, ...]:
        """A step of a neuron: (output, *states)."""
        with torch._C.DisableTorchFunction():
            node = self._add(module, (x, *states), {}, True)
            node.outputs = [Symbol.make(x, node, k) for k in range(1 + len(module.state_names))]
            if module.output_is_state:
                node.outputs[1] = node.outputs[0]
        return tuple(node.outputs)

    def _node(self, name: str, function: Any, args: Any, kwargs: dict[str, Any]) -> Node:
        if name == "add_" or (name in RANDOM | RUNNING and _argument(function, args, kwargs, "training", True) is not False):
            return self._add(function, args, kwargs, False)
        key = self.where()[0], function, _key(args), _key(kwargs), torch.is_grad_enabled()
        if key not in self._same:  # what is the same in every step is done once
            self._same[key] = self._add(function, args, kwargs, False)
        return self._same[key]

    def _add(self, function: Any, args: Any, kwargs: dict[str, Any], neuron: bool) -> Node:
        site, line = self.where()
        node = Node(function, tuple(args), dict(kwargs), site, line, neuron, torch.is_grad_enabled())
        self.nodes.append(node)
        return node

    # -- where it happens ----------------------------------------------------------------------------------------

    def where(self) -> tuple[Site, str]:
        """The user's frames between the network's forward and here, with the torch modules they call; and the innermost line of them."""
        frame: FrameType | None = sys._getframe(1)
        site: list[Any] = []
        line = custom = ""
        while frame is not None and frame is not self._root:
            module, code = frame.f_globals.get("__name__", ""), frame.f_code
            if module == "torch.autograd.function" and code.co_name == "apply":
                custom = frame.f_locals["cls"].__name__
            elif module.startswith("torch.nn.modules") and code.co_name == "forward":
                site.append(id(frame.f_locals["self"]))
            elif not module.startswith(("torch.", "lavalike.snn", "lavalike.arguments", "lavalike.backends.torch.surrogate")):
                site.append((code, frame.f_lasti))
                line = line or f"{code.co_filename}:{frame.f_lineno}: {linecache.getline(code.co_filename, frame.f_lineno).strip()}"
            frame = frame.f_back
        if custom:
            raise InputError(f"accelerate: {custom}, a gradient of its own (torch.autograd.Function), cannot be folded\n  {line}")
        return tuple(site), line

    def fail(self, message: str) -> InputError:
        return InputError(f"accelerate: {message}\n  {self.where()[1]}")


@dataclass(frozen=True)
class _Attribute:
    """``x.T`` and the like as a function."""

    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, x: torch.Tensor) -> Any:
        return getattr(x, self.name)


def _argument(function: Any, args: Any, kwargs: dict[str, Any], name: str, default: Any) -> Any:
    """An argument of a function of torch.nn.functional, however it was given."""
    if not isinstance(function, FunctionType):
        return kwargs.get(name, default)
    try:
        return inspect.signature(function).bind(*args, **kwargs).arguments.get(name, default)
    except TypeError:  # wrapped functions hide their arguments
        return kwargs.get(name, default)


def _in_place(function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    return _argument(function, args, kwargs, "inplace", False) is True or kwargs.get("out") is not None


def _key(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return (type(value).__name__, *(_key(v) for v in value))
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in value.items())
    if isinstance(value, slice):
        return ("slice", _key(value.start), _key(value.stop), _key(value.step))
    if isinstance(value, torch.Tensor):  # the node keeps it, so that its id stays its own
        return ("tensor", id(value))
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return (type(value).__name__, value)
