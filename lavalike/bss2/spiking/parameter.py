"""Parameters of neurons: a value for the model and one for the chip. Voltages of the chip are in
CADC LSB, times in s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lavalike.arguments import FUNCTION, arguments, numbers, optional
from lavalike.errors import InputError

Value = float | torch.Tensor


class HXBaseParameter(torch.nn.Module):
    """A parameter of a population, one value or one a neuron. Tensors move with the layer; those
    that are not trained are not saved.

    Attributes:
        model_value: what the model is computed with; after :meth:`make_trainable` a
            torch.nn.Parameter.
        hardware_value: what the chip is set to; None where it follows from the fitted scales.
    """

    model_value: Value

    @arguments(model_value=numbers())
    def __init__(self, model_value: Value) -> None:
        super().__init__()
        self._keep("model_value", model_value)
        self.set_on_chip_func: Callable[[torch.Tensor], Any] | None = None

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
            self.register_buffer(name, value, persistent=False)
        else:
            setattr(self, name, value)

    @property
    def hardware_value(self) -> Value | None:
        raise NotImplementedError(f"{type(self).__name__}: a parameter has a hardware_value")

    @property
    def trainable(self) -> bool:
        return isinstance(self.model_value, torch.nn.Parameter)

    @arguments(set_on_chip_func=optional(FUNCTION))
    def make_trainable(
        self, set_on_chip_func: Callable[[torch.Tensor], Any] | None = None
    ) -> HXBaseParameter:
        """Let the optimiser change the model's value; ``set_on_chip_func`` turns it into the
        chip's, without it a chip cannot follow."""
        now = torch.as_tensor(self.model_value)
        kind = (
            now.dtype
            if isinstance(self.model_value, torch.Tensor) and now.is_floating_point()
            else torch.get_default_dtype()
        )
        self.model_value = torch.nn.Parameter(now.detach().to(kind, copy=True))
        self.set_on_chip_func = set_on_chip_func
        return self

    def on_chip(self, name: str) -> Value | None:
        """The chip's value; ValueError where a trained one was given no way there."""
        if not isinstance(self.model_value, torch.nn.Parameter):
            return self.hardware_value
        if self.set_on_chip_func is None:
            raise InputError(
                f"{name}: it is trained, but make_trainable was given no set_on_chip_func that turns it into the chip's value"
            )
        return self.set_on_chip_func(self.model_value.detach())

    def extra_repr(self) -> str:
        return f"{self.model_value!r}"


class HXParameter(HXBaseParameter):
    """The same value in the model and on the chip."""

    @property
    def hardware_value(self) -> Value | None:
        return self.model_value


class ModelParameter(HXBaseParameter):
    """A value of the model alone."""

    @property
    def hardware_value(self) -> Value | None:
        return None


class MixedHXModelParameter(HXBaseParameter):
    """A value for the model and another for the chip."""

    _hardware_value: Value

    @arguments(hardware_value=numbers())
    def __init__(self, model_value: Value, hardware_value: Value) -> None:
        super().__init__(model_value)
        self._keep("_hardware_value", hardware_value)

    @property
    def hardware_value(self) -> Value | None:
        return self._hardware_value

    def extra_repr(self) -> str:
        return f"{self.model_value!r}, {self._hardware_value!r}"


class HXTransformedModelParameter(HXBaseParameter):
    """The chip's value is ``func`` of the model's."""

    @arguments(func=FUNCTION)
    def __init__(self, model_value: Value, func: Callable[[Value], Value]) -> None:
        super().__init__(model_value)
        self.func = func

    @property
    def hardware_value(self) -> Value | None:
        return self.func(self.model_value)


class Plain(HXParameter):
    """A number given without saying whose: the model's, and the chip's where the chip can hold
    it."""


def as_parameter(value: Value | HXBaseParameter) -> HXBaseParameter:
    return value if isinstance(value, HXBaseParameter) else Plain(value)
