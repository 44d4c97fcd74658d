"""What a loop over steps does, written down: the network's forward is run once on tensors without
data."""

from __future__ import annotations

import copy
import inspect
import linecache
import sys
import weakref
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass
from types import FrameType, FunctionType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from lavalike.errors import InputError

Site = tuple[Any, ...]

QUESTIONS = {
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
    "__complex__",
    "item",
    "tolist",
    "numpy",
    "__array__",
    "__contains__",
    "equal",
    "allclose",
    "is_nonzero",
}
IN_PLACE = {
    "__setitem__",
    "__delitem__",
    "__set__",
    "__iadd__",
    "__isub__",
    "__imul__",
    "__itruediv__",
    "__ifloordiv__",
    "__imod__",
    "__ipow__",
    "__imatmul__",
    "__iand__",
    "__ior__",
    "__ixor__",
    "__ilshift__",
    "__irshift__",
}
RANDOM = {
    "rand",
    "randn",
    "randint",
    "randperm",
    "rand_like",
    "randn_like",
    "randint_like",
    "bernoulli",
    "multinomial",
    "poisson",
    "normal",
    "dropout",
    "alpha_dropout",
    "feature_dropout",
    "feature_alpha_dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "rrelu",
    "gumbel_softmax",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "binomial",
    "_standard_gamma",
    "_sample_dirichlet",
}
RANDOM_IN_PLACE = {
    "normal_",
    "uniform_",
    "bernoulli_",
    "random_",
    "exponential_",
    "geometric_",
    "cauchy_",
    "log_normal_",
}
RUNNING = {"batch_norm", "instance_norm"}  # they keep running means: every call counts
AS_FIRST = {
    "binomial",
    "_sample_dirichlet",
    "fake_quantize_per_tensor_affine",
    "fake_quantize_per_channel_affine",
}
UNSEEN = "a tensor comes from an operation that cannot be recorded (TorchScript, torch.compile, an extension of C++)"
HOOKS = {"register_hook", "register_post_accumulate_grad_hook", "retain_grad"}


class Value:
    """A tensor that a run computes: output ``index`` of ``node`` (None: an input of the
    network)."""

    __slots__ = ("dtype", "index", "node", "shape")

    def __init__(self, node: Op | None, index: int, shape: torch.Size, dtype: torch.dtype) -> None:
        self.node, self.index, self.shape, self.dtype = node, index, shape, dtype


@dataclass(eq=False)
class Op:
    """One operation or one neuron's step. ``outputs`` come of it; ``template`` is what it returns,
    with any one thing in each one's place.

    Tensors among the arguments are those of the network; what was computed before is a
    :class:`Value`.
    """

    function: Any  # a torch function, or a Neuron
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    site: Site
    line: str
    neuron: bool
    grad: bool  # recorded outside torch.no_grad()
    outputs: list[Value] = field(default_factory=list)
    template: Any = None
    step: int | None = None
    draws: bool | None = None  # random numbers; None: not looked at

    @property
    def single(self) -> bool:
        """One tensor, not a tuple of them."""
        return isinstance(self.template, torch.Tensor)

    @property
    def name(self) -> str:
        return (
            self.function.label
            if self.neuron
            else getattr(self.function, "__name__", str(self.function))
        )


class Symbol(torch.Tensor):
    """What the network gets and computes with while it is recorded: a tensor without data.
    ``record`` is a token of the recording."""

    value: Value
    record: object

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # a C function; the mode below sees what is done with it


_current: ContextVar[Record | None] = ContextVar("record", default=None)


def current() -> Record | None:
    """The record being made, if any."""
    # what is compiled is no part of one, and torch.compile does not know a ContextVar
    return None if torch.compiler.is_compiling() else _current.get()


def leaves(value: Any) -> list[Any]:
    """What lists, tuples, dicts and dataclasses hold, in order."""
    if isinstance(value, list | tuple):
        return [x for v in value for x in leaves(v)]
    if isinstance(value, dict):
        return [x for v in value.values() for x in leaves(v)]
    if is_dataclass(value) and not isinstance(value, type):
        return [x for f in fields(value) for x in leaves(getattr(value, f.name, None))]
    return [value]


def filled(value: Any, function: Callable[[Any], Any]) -> Any:
    """``value`` with ``function`` of each of its leaves in its place; what holds them is new and of
    the same type."""
    if isinstance(value, list | tuple):
        items = [filled(v, function) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value) is dict:
        return {k: filled(v, function) for k, v in value.items()}
    if isinstance(value, dict):
        new = copy.copy(value)
        new.update({k: filled(v, function) for k, v in value.items()})
        return new
    if is_dataclass(value) and not isinstance(value, type):
        made: Any = copy.copy(value)
        for f in fields(value):
            object.__setattr__(made, f.name, filled(getattr(value, f.name, None), function))
        return made
    return function(value)


class Record(TorchFunctionMode):
    """All operations of one call of a network, in order: those on its inputs and parameters, and
    random draws.

    What does not depend on these is computed at once and is a constant.
    """

    def __init__(
        self,
        device: torch.device,
        live: Collection[torch.Tensor],
        watch: Callable[[], str] | None = None,
    ) -> None:
        """``live`` are the network's parameters and buffers; ``watch`` names what has drawn random
        numbers elsewhere."""
        super().__init__()
        self.device, self.watch = device, watch
        self.nodes: list[Op] = []
        self._live = {id(t) for t in live}
        self._root: FrameType | None = None
        self._same: dict[Any, Op] = {}
        self._token = object()
        self._failure: InputError | None = None
        self._symbols: dict[Op, list[Symbol]] = {}
        self._made: list[weakref.ref[Symbol]] = []

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, with its operations recorded."""
        self._root = sys._getframe()
        token = _current.set(self)
        try:
            with torch.enable_grad(), self:
                output = function(*args)
            if self.watch is not None:
                self._drawn()
            for v in leaves(output):
                self._seen(v)
            return filled(output, self.value)
        except RuntimeError as e:
            if self._failure is not None:  # TorchScript makes its own of every error
                raise self._failure from e
            raise
        finally:
            _current.reset(token)
            self._root = None
            self._symbols.clear()  # what is alive from now on is kept elsewhere

    def symbol(self, like: torch.Tensor, node: Op | None, index: int) -> Symbol:
        """A new one, of the shape and dtype of ``like``."""
        out = torch.Tensor._make_subclass(Symbol, torch.empty_like(like, device="meta"))
        out.value, out.record = Value(node, index, out.shape, out.dtype), self._token
        self._made.append(weakref.ref(out))
        return out

    def alive(self) -> list[Symbol]:
        """Symbols that somebody still has after the run."""
        return [s for ref in self._made if (s := ref()) is not None]

    def mine(self, value: Any) -> bool:
        """Whether ``value`` is a symbol of this recording."""
        return isinstance(value, Symbol) and value.record is self._token

    def value(self, leaf: Any) -> Any:
        return leaf.value if isinstance(leaf, Symbol) else leaf

    def _seen(self, value: Any) -> None:
        """Refuse a tensor that this recording knows nothing about."""
        if isinstance(value, Symbol):
            if value.record is not self._token:
                raise self.fail(
                    "a value of the call before is used in this one (an attribute, a list or the like that keeps it), which "
                    "cannot be folded; hand it to forward as an input and return the new one"
                )
        elif isinstance(value, torch.Tensor) and value.is_meta and self.device.type != "meta":
            raise self.fail(UNSEEN)

    def _drawn(self) -> None:
        drew = self.watch() if self.watch is not None else ""
        if drew:
            raise self.fail(
                f"{drew} drew random numbers in this line or before it; a recording would repeat them in every call. Draw with "
                "torch.rand, torch.randn, torch.bernoulli and the like, which are drawn anew for every step and call, or hand "
                "the numbers to forward as an input"
            )

    # -- what happens ------------------------------------------------------------------------------

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", str(function))
        if self.watch is not None:
            self._drawn()
        tensors = [v for v in leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        if name in RANDOM_IN_PLACE:
            raise self.fail(
                f"{name}: random numbers are drawn anew for every batch only where torch.randn, torch.rand_like and the like "
                "make them"
            )
        if not (name in RANDOM or any(self.open(v) for v in tensors)):
            return function(*args, **kwargs)
        for v in tensors:
            self._seen(v)
        if (
            getattr(function, "namespace", "") == "prims"
        ):  # what torch's meta kernels are made of, not what a user calls
            raise self.fail(UNSEEN)
        if name == "__iter__":
            return iter(self.__torch_function__(torch.Tensor.unbind, (), args))
        if name == "__get__":
            name = getattr(function.__self__, "__name__", "")
            if isinstance(args[0], Symbol) and name in ("device", "is_cuda", "is_cpu", "is_meta"):
                return {"device": self.device, "is_meta": False}.get(
                    name, name == f"is_{self.device.type}"
                )
            if name in ("data", "grad", "grad_fn"):
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
        parts = [v for v in leaves(shape) if isinstance(v, torch.Tensor)]
        if not parts:
            return shape  # a size, a dtype, a truth about shapes
        node = self._node(function, args, kwargs)
        if node not in self._symbols:
            node.template = shape
            self._symbols[node] = [self.symbol(p, node, k) for k, p in enumerate(parts)]
            node.outputs = [v.value for v in self._symbols[node]]
        if node.single:
            return self._symbols[node][0]
        rest = iter(self._symbols[node])
        out = filled(shape, lambda v: next(rest) if isinstance(v, torch.Tensor) else v)
        return tuple(out) if type(out) is list else out

    def open(self, value: torch.Tensor) -> bool:
        """Whether a value is not known yet, or may be another one in the next call."""
        return isinstance(value, Symbol) or id(value) in self._live or value.requires_grad

    def _refuse(self, name: str, function: Any, args: Any, kwargs: dict[str, Any]) -> None:
        caller = sys._getframe(2)
        if caller.f_globals.get("__name__") == "lavalike.snn.spikegen" and (
            (name == "__bool__" and caller.f_code.co_name == "_floating")
            or (name == "__setitem__" and args[1] == slice(None, 0))
        ):
            return  # that data are finite cannot be asked of a recording; nothing is set
        if name in HOOKS:
            raise self.fail(
                f"{name}: hooks and gradients of single tensors inside the loop cannot be folded; a parameter's hooks and "
                "those of the network as a whole can"
            )
        if name in QUESTIONS:
            raise self.fail(
                f"{name.strip('_')}: the network asks for a value, which decides what happens next; only loops that do the "
                "same whatever the values can be folded (torch.where chooses between values)"
            )
        counter = (
            name == "add_" and not isinstance(args[0], Symbol) and not args[0].is_floating_point()
        )  # of a batch norm
        changes = (
            name in IN_PLACE
            or (name.endswith("_") and not name.endswith("__"))
            or _in_place(function, args, kwargs)
        )
        if changes and caller.f_globals.get("__name__", "").startswith("torch.distributions."):
            raise self.fail(
                f"{name}: {caller.f_globals['__name__']} draws with operations in place, which cannot be folded; draw with "
                "torch.rand, torch.randn and the like, or hand the numbers to forward as an input"
            )
        if changes and not counter and name != "requires_grad_":
            raise self.fail(
                f"{name}: tensors that are changed in place cannot be folded; make new ones (x = x + y instead of x += y; "
                "a list and torch.stack instead of x[step] = y; inplace=False)"
            )
        if torch.is_autocast_enabled(self.device.type):
            raise self.fail(
                "autocast cannot be folded; accelerate(..., precision='bfloat16') is there instead"
            )

    def _shape(
        self,
        name: str,
        function: Any,
        args: Any,
        kwargs: dict[str, Any],
        tensors: list[torch.Tensor],
    ) -> Any:
        """What the function returns, without data."""

        def empty(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return torch.empty_like(value, device="meta")
            return (
                torch.device("meta")
                if isinstance(value, torch.device) or (name == "to" and isinstance(value, str))
                else value
            )

        if name in ("cpu", "cuda"):
            return args[0]
        more = {
            k: torch.device("meta") if k == "device" else v
            for k, v in kwargs.items()
            if k != "generator"
        }
        if not tensors:
            more["device"] = torch.device("meta")
        if name in AS_FIRST and tensors:  # torch has no meta kernel of these
            return torch.empty_like(tensors[0], device="meta")
        try:
            with torch.no_grad():
                return function(*tree_map(empty, args), **tree_map(empty, more))
        except NotImplementedError as e:
            raise self.fail(
                f"{name}: torch cannot tell its shape without data (it has no meta kernel), so that it cannot be folded; train "
                "this network with the plain loop, or do this outside of forward"
            ) from e
        except Exception as e:
            raise self.fail(f"{name}: {e}") from e

    def neuron(self, module: Any, x: torch.Tensor, states: Any) -> tuple[Symbol, ...]:
        """A step of a neuron: (output, *states)."""
        for v in (x, *states):
            self._seen(v)
        with torch._C.DisableTorchFunction():
            node = self._add(module, (x, *states), {}, True)
            symbols = [self.symbol(x, node, k) for k in range(1 + len(module.state_names))]
        node.outputs = [v.value for v in symbols]
        if module.output_is_state:
            symbols[1], node.outputs[1] = symbols[0], node.outputs[0]
        return tuple(symbols)

    def _node(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Op:
        name = getattr(function, "__name__", str(function))
        if name == "add_" or (
            name in RANDOM | RUNNING
            and argument(function, args, kwargs, "training", True) is not False
        ):
            return self._add(function, args, kwargs, False)
        key = self.where()[0], function, _key(args), _key(kwargs), torch.is_grad_enabled()
        node = self._same.get(key)
        if node is not None and node.draws is None:
            node.draws = self._draws(name, function, args, kwargs)
        if node is None or node.draws:  # what is the same in every step is done once
            new = self._add(function, args, kwargs, False)
            self._same.setdefault(key, new)
            return new
        return node

    def _draws(self, name: str, function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether random numbers are drawn somewhere inside (dropout of an attention, of an
        LSTM)."""
        with _Drawing() as seen:
            self._shape(
                name,
                function,
                args,
                kwargs,
                [v for v in leaves((args, kwargs)) if isinstance(v, torch.Tensor)],
            )
        return seen.drew

    def _add(self, function: Any, args: Any, kwargs: dict[str, Any], neuron: bool) -> Op:
        site, line = self.where()
        node = Op(
            function,
            tuple(filled(v, self.value) for v in args),
            {k: filled(v, self.value) for k, v in kwargs.items()},
            site,
            line,
            neuron,
            torch.is_grad_enabled(),
        )
        self.nodes.append(node)
        return node

    # -- where it happens --------------------------------------------------------------------------

    def where(self) -> tuple[Site, str]:
        """The user's frames between the network's forward and here, with the torch modules they
        call; and the innermost line of them."""
        frame: FrameType | None = sys._getframe(1)
        site: list[Any] = []
        line = custom = ""
        while frame is not None and frame is not self._root:
            module, code = frame.f_globals.get("__name__", ""), frame.f_code
            if module == "torch.autograd.function" and code.co_name == "apply":
                custom = frame.f_locals["cls"].__name__
            elif module.startswith("torch.nn.modules") and code.co_name == "forward":
                site.append(id(frame.f_locals["self"]))
            elif not module.startswith(
                ("torch.", "lavalike.snn", "lavalike.arguments", "lavalike.fused.surrogate")
            ):
                site.append((code, frame.f_lasti))
                line = (
                    line
                    or f"{code.co_filename}:{frame.f_lineno}: {linecache.getline(code.co_filename, frame.f_lineno).strip()}"
                )
            frame = frame.f_back
        if custom:
            raise InputError(
                f"accelerate: {custom}, a gradient of its own (torch.autograd.Function), cannot be folded\n  {line}"
            )
        return tuple(site), line

    def fail(self, message: str) -> InputError:
        self._failure = InputError(f"accelerate: {message}\n  {self.where()[1]}")
        return self._failure


class _Drawing(TorchDispatchMode):
    """Sees whether an operation draws random numbers."""

    drew = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.drew |= torch.Tag.nondeterministic_seeded in function.tags
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class _Attribute:
    """``x.T`` and the like as a function."""

    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, x: torch.Tensor) -> Any:
        return getattr(x, self.name)


def argument(function: Any, args: Any, kwargs: dict[str, Any], name: str, default: Any) -> Any:
    """An argument of a function of torch.nn.functional, however it was given."""
    if not isinstance(function, FunctionType):
        return kwargs.get(name, default)
    try:
        return inspect.signature(function).bind(*args, **kwargs).arguments.get(name, default)
    except TypeError:  # wrapped functions hide their arguments
        return kwargs.get(name, default)


def _in_place(function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    return (
        argument(function, args, kwargs, "inplace", False) is True or kwargs.get("out") is not None
    )


def _key(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return (type(value).__name__, *(_key(v) for v in value))
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in value.items())
    if isinstance(value, slice):
        return ("slice", _key(value.start), _key(value.stop), _key(value.step))
    if isinstance(value, torch.Tensor):  # the node keeps it, so that its id stays its own
        return ("tensor", id(value.value if isinstance(value, Symbol) else value))
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return (type(value).__name__, value)
