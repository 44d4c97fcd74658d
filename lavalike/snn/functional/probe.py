"""Monitors: what modules of a network take, give, hold and get as gradients, call by call.

    monitor = probe.OutputMonitor(net, snn.Leaky)
    net(x)
    monitor.records          # of all layers, in the order of the calls
    monitor["lif1"]          # of one layer
    monitor.remove_hooks()   # or with probe.OutputMonitor(net, snn.Leaky) as monitor: ...

They are hooks of torch, which ``accelerate`` refuses: record with the plain loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lavalike.arguments import FLAG, FUNCTION, TEXT, Rule, arguments, did_you_mean, shown
from lavalike.errors import InputError, InputTypeError, NotRecordedError
from lavalike.snn.neuron import NET, Stateful

Instance = type[nn.Module] | tuple[type[nn.Module], ...] | None
_KINDS = Rule(
    "a class of modules, a tuple of such, or None",
    lambda v: v is None or isinstance(v, type) or (isinstance(v, tuple) and _classes(v)),
)
_RULES = {"net": NET, "instance": _KINDS}


def _classes(values: tuple[Any, ...]) -> bool:
    return bool(values) and all(isinstance(v, type) for v in values)


def _same(x: Any) -> Any:
    return x


def _single(x: Any) -> Any:
    """What a tuple of one holds."""
    return x[0] if isinstance(x, tuple) and len(x) == 1 else x


class BaseMonitor:
    """What monitors have in common.

    Attributes: ``records``, a list of all that was recorded; ``monitored_layers``, names of the
    layers; ``name_records_index``, by layer, the places of its records in the list.

    ``monitor[k]`` is record k, ``monitor["name"]`` a list of the records of a layer.

    Example:
        >>> net = torch.nn.Linear(10, 5)
        >>> with snn.functional.probe.OutputMonitor(net, instance=torch.nn.Linear) as monitor:
        ...     out = net(torch.rand(4, 10))
        ...
        >>> isinstance(monitor, snn.functional.probe.BaseMonitor)
        True
    """

    def __init__(self) -> None:
        self.hooks: list[Any] = []
        self.monitored_layers: list[str] = []
        self.records: list[Any] = []
        self.name_records_index: dict[str, list[int]] = {}
        self._enable = True

    def _watch(
        self, net: nn.Module, instance: Instance, register: Callable[[str, nn.Module], Any]
    ) -> None:
        kinds = type(net) if instance is None else instance
        for name, module in net.named_modules():
            if isinstance(module, kinds):
                self.monitored_layers.append(name)
                self.name_records_index[name] = []
                self.hooks.append(register(name, module))
        if not self.monitored_layers:
            raise InputError(
                f"{type(self).__name__}: instance: the network has no module of {shown(instance)}"
            )

    def _between(
        self,
        net: nn.Module,
        instance: Instance,
        register: Callable[..., Any],
        place: int,
        function: str,
    ) -> None:
        """Record what hooks by ``register`` get of modules' inputs (``place`` 0) or outputs (1),
        after the attribute ``function`` of it."""

        def registered(name: str, module: nn.Module) -> Any:
            def hook(m: nn.Module, *both: Any) -> None:
                self._add(name, lambda: getattr(self, function)(_single(both[place])))

            return register(module, hook)

        self._watch(net, instance, registered)

    def _add(self, name: str, value: Callable[[], Any]) -> None:
        if self._enable:
            record = value()
            self.name_records_index[name].append(len(self.records))
            self.records.append(record)

    def __getitem__(self, i: int | str) -> Any:
        if isinstance(i, int):
            if not -len(self.records) <= i < len(self.records):
                raise NotRecordedError(
                    f"{type(self).__name__}: {len(self.records)} records, got {i}"
                )
            return self.records[i]
        if not isinstance(i, str):
            raise InputTypeError(
                f"{type(self).__name__}: a number or the name of a layer is expected, got {shown(i)} ({type(i).__name__})"
            )
        if i not in self.name_records_index:
            raise NotRecordedError(
                f"{type(self).__name__}: layers are {', '.join(self.monitored_layers)}, got {i!r}"
                f"{did_you_mean(i, self.monitored_layers)}"
            )
        return [self.records[k] for k in self.name_records_index[i]]

    def clear_recorded_data(self) -> None:
        """Forget the records."""
        self.records.clear()
        for places in self.name_records_index.values():
            places.clear()

    def enable(self) -> None:
        """Record from now on."""
        self._enable = True

    def disable(self) -> None:
        """Record nothing from now on."""
        self._enable = False

    def is_enable(self) -> bool:
        """Whether it records."""
        return self._enable

    def remove_hooks(self) -> None:
        """Let the network go; the records stay."""
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()

    def __enter__(self) -> BaseMonitor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove_hooks()


class OutputMonitor(BaseMonitor):
    """Records what modules return.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(10, 5), torch.nn.ReLU())
        >>> monitor = snn.functional.probe.OutputMonitor(net, instance=torch.nn.Linear)
        >>> out = net(torch.rand(4, 10))
        >>> monitor.monitored_layers, monitor.records[0].shape
        (['0'], torch.Size([4, 5]))

    Args:
        net: the network.
        instance: the class of the modules, or a tuple of classes. Default: the network's own.
        function_on_output: what becomes of a record. Default: nothing.
    """

    @arguments(**_RULES, function_on_output=FUNCTION)
    def __init__(
        self,
        net: nn.Module,
        instance: Instance = None,
        function_on_output: Callable[[Any], Any] = _same,
    ) -> None:
        super().__init__()
        self.function_on_output = function_on_output
        self._between(net, instance, nn.Module.register_forward_hook, 1, "function_on_output")


class InputMonitor(BaseMonitor):
    """Records what modules are called with, by position; of one argument that alone.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(10, 5), torch.nn.ReLU())
        >>> monitor = snn.functional.probe.InputMonitor(net, instance=torch.nn.ReLU)
        >>> out = net(torch.rand(4, 10))
        >>> monitor.records[0].shape
        torch.Size([4, 5])

    Args:
        net, instance: see :class:`OutputMonitor`.
        function_on_input: what becomes of a record. Default: nothing.
    """

    @arguments(**_RULES, function_on_input=FUNCTION)
    def __init__(
        self,
        net: nn.Module,
        instance: Instance = None,
        function_on_input: Callable[[Any], Any] = _same,
    ) -> None:
        super().__init__()
        self.function_on_input = function_on_input
        self._between(net, instance, nn.Module.register_forward_hook, 0, "function_on_input")


class AttributeMonitor(BaseMonitor):
    """Records an attribute of modules (``"weight"``, ``"mem"``) in every call.

    A state of a neuron of lavalike.snn is found whether the layer keeps it (init_hidden) or a call
    takes and returns it.

    Example:
        >>> net = torch.nn.Sequential(snn.Leaky(0.9, init_hidden=True))
        >>> monitor = snn.functional.probe.AttributeMonitor("mem", False, net, instance=snn.Leaky)
        >>> out = net(torch.rand(4, 10))
        >>> monitor.records[0].shape
        torch.Size([4, 10])

    Args:
        attribute_name: of the modules.
        pre_forward: record it as it is before the call, or after.
        net, instance: see :class:`OutputMonitor`.
        function_on_attribute: what becomes of a record. Default: nothing.
    """

    @arguments(attribute_name=TEXT, pre_forward=FLAG, **_RULES, function_on_attribute=FUNCTION)
    def __init__(
        self,
        attribute_name: str,
        pre_forward: bool,
        net: nn.Module,
        instance: Instance = None,
        function_on_attribute: Callable[[Any], Any] = _same,
    ) -> None:
        super().__init__()
        self.attribute_name, self.function_on_attribute = attribute_name, function_on_attribute

        def register(name: str, module: nn.Module) -> Any:
            def value(m: nn.Module, given: Any) -> Any:
                return self.function_on_attribute(self._read(name, m, given))

            if pre_forward:

                def before(m: nn.Module, x: Any, named: Any) -> None:
                    given = {**dict(zip(_states(m), x[1:], strict=False)), **named}
                    self._add(name, lambda: value(m, given))

                return module.register_forward_pre_hook(before, with_kwargs=True)

            def after(m: nn.Module, x: Any, y: Any) -> None:
                states = _states(m)
                last = y if isinstance(y, tuple) else ()
                given = dict(zip(states, last[-len(states) :], strict=False)) if states else {}
                self._add(name, lambda: value(m, given))

            return module.register_forward_hook(after)

        self._watch(net, instance, register)

    def _read(self, name: str, module: nn.Module, given: dict[str, Any]) -> Any:
        if self.attribute_name in given:
            return given[self.attribute_name]
        if not hasattr(module, self.attribute_name):
            raise InputError(
                f"AttributeMonitor: {name or 'the network'} ({type(module).__name__}) has no {self.attribute_name!r}"
            )
        return getattr(module, self.attribute_name)


def _states(module: nn.Module) -> tuple[str, ...]:
    """Names of the states that a call of ``module`` takes and returns."""
    if isinstance(module, Stateful) and not module.init_hidden:
        return module.state_names
    return ()


class GradInputMonitor(BaseMonitor):
    """Records the gradients of modules' inputs, in the order in which backward has them.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(10, 5), torch.nn.Linear(5, 2))
        >>> monitor = snn.functional.probe.GradInputMonitor(net, instance=torch.nn.Linear)
        >>> net(torch.rand(4, 10, requires_grad=True)).sum().backward()
        >>> [tuple(record.shape) for record in monitor.records]
        [(4, 5), (4, 10)]

    Args:
        net, instance: see :class:`OutputMonitor`.
        function_on_grad_input: what becomes of a record. Default: nothing.
    """

    @arguments(**_RULES, function_on_grad_input=FUNCTION)
    def __init__(
        self,
        net: nn.Module,
        instance: Instance = None,
        function_on_grad_input: Callable[[Any], Any] = _same,
    ) -> None:
        super().__init__()
        self.function_on_grad_input = function_on_grad_input
        hooks = nn.Module.register_full_backward_hook
        self._between(net, instance, hooks, 0, "function_on_grad_input")


class GradOutputMonitor(BaseMonitor):
    """Records the gradients of modules' outputs, in the order in which backward has them.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(10, 5), torch.nn.Linear(5, 2))
        >>> monitor = snn.functional.probe.GradOutputMonitor(net, instance=torch.nn.Linear)
        >>> net(torch.rand(4, 10, requires_grad=True)).sum().backward()
        >>> [tuple(record.shape) for record in monitor.records]
        [(4, 2), (4, 5)]

    Args:
        net, instance: see :class:`OutputMonitor`.
        function_on_grad_output: what becomes of a record. Default: nothing.
    """

    @arguments(**_RULES, function_on_grad_output=FUNCTION)
    def __init__(
        self,
        net: nn.Module,
        instance: Instance = None,
        function_on_grad_output: Callable[[Any], Any] = _same,
    ) -> None:
        super().__init__()
        self.function_on_grad_output = function_on_grad_output
        hooks = nn.Module.register_full_backward_hook
        self._between(net, instance, hooks, 1, "function_on_grad_output")
