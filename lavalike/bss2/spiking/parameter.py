"""Parameters of neurons: a value for the model and one for the chip. Voltages of the chip are in
CADC LSB, times in s.

Both are read and set: ``parameter.model_value = 2.0``, ``parameter.hardware_value = 90.0``; the
next run takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lavalike.arguments import FUNCTION, arguments, numbers, optional
from lavalike.errors import InputError

Value = float | torch.Tensor
_VALUES = ("model_value", "_hardware_value")


class HXBaseParameter(torch.nn.Module):
    """A parameter of a population, one value or one a neuron. Tensors move with the layer; those
    that are not trained are not saved.

    Attributes:
        model_value: what the model is computed with; after :meth:`make_trainable` a
            torch.nn.Parameter.
        hardware_value: what the chip is set to.
    """

    model_value: Value

    @arguments(model_value=numbers())
    def __init__(self, model_value: Value) -> None:
        super().__init__()
        self.model_value = model_value
        self.set_on_chip_func: Callable[[torch.Tensor], Any] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """A tensor that is a value is a buffer, another number or a torch.nn.Parameter none."""
        if name not in _VALUES:
            super().__setattr__(name, value)
            return
        if name in self.__dict__ or name in self._buffers or name in self._parameters:
            delattr(self, name)
        if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
            self.register_buffer(name, value, persistent=False)
        else:
            super().__setattr__(name, value)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *more: Any) -> None:
        """hxtorch saves a trained value under another name."""
        theirs = f"{prefix}_model_value"
        if theirs in state_dict:
            state_dict[f"{prefix}model_value"] = state_dict.pop(theirs)
        super()._load_from_state_dict(state_dict, prefix, *more)

    @property
    def hardware_value(self) -> Value | None:
        raise NotImplementedError(f"{type(self).__name__}: a parameter has a hardware_value")

    @hardware_value.setter
    def hardware_value(self, value: Value) -> None:
        raise InputError(
            f"{type(self).__name__}: the chip's value follows from the model's; set model_value, or use a "
            "MixedHXModelParameter(model, chip)"
        )

    @property
    def trainable(self) -> bool:
        return isinstance(self.model_value, torch.nn.Parameter)

    def is_trainable(self) -> bool:
        """Whether the optimiser changes it."""
        return self.trainable

    def forward(self) -> Value:
        """The model's value."""
        return self.model_value

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

    def told(self) -> Value | None:
        """The chip's value as far as the user told one; None: it follows from the scales."""
        return self.hardware_value

    def on_chip(self, name: str) -> Value | None:
        """The chip's value; ValueError where a trained one was given no way there."""
        if not isinstance(self.model_value, torch.nn.Parameter):
            return self.told()
        if self.set_on_chip_func is None:
            raise InputError(
                f"{name}: it is trained, but make_trainable was given no set_on_chip_func that turns it into the chip's value"
            )
        return self.set_on_chip_func(self.model_value.detach())

    def extra_repr(self) -> str:
        return f"{self.model_value!r}"


class HXParameter(HXBaseParameter):
    """The same value in the model and on the chip.

    Example:
        >>> bss2.spiking.HXParameter(80).hardware_value
        80
    """

    @arguments(value=numbers())
    def __init__(self, value: Value) -> None:
        super().__init__(value)

    @property
    def hardware_value(self) -> Value | None:
        return self.model_value

    @hardware_value.setter
    def hardware_value(self, value: Value) -> None:
        self.model_value = value


class ModelParameter(HXBaseParameter):
    """A value of the model alone: the chip's follows from it and the fitted scales. It reads as the
    model's.

    Example:
        >>> bss2.spiking.ModelParameter(0.5).model_value
        0.5
    """

    @property
    def hardware_value(self) -> Value | None:
        return self.model_value

    @hardware_value.setter
    def hardware_value(self, value: Value) -> None:
        HXBaseParameter.hardware_value.fset(self, value)  # type: ignore[attr-defined]  # a property has one

    def told(self) -> Value | None:
        return None


class MixedHXModelParameter(HXBaseParameter):
    """A value for the model and another for the chip.

    Example:
        >>> threshold = bss2.spiking.MixedHXModelParameter(1.0, 150)
        >>> threshold.model_value, threshold.hardware_value
        (1.0, 150)
    """

    _hardware_value: Value

    @arguments(hardware_value=numbers())
    def __init__(self, model_value: Value, hardware_value: Value) -> None:
        super().__init__(model_value)
        self._hardware_value = hardware_value

    @property
    def hardware_value(self) -> Value | None:
        return self._hardware_value

    @hardware_value.setter
    def hardware_value(self, value: Value) -> None:
        self._hardware_value = value

    def extra_repr(self) -> str:
        return f"{self.model_value!r}, {self._hardware_value!r}"


class HXTransformedModelParameter(HXBaseParameter):
    """The chip's value is ``transform_func`` of the model's.

    Example:
        >>> tau = bss2.spiking.HXTransformedModelParameter(6e-6, lambda t: t * 1e6)
        >>> tau.hardware_value
        6.0
    """

    @arguments(transform_func=FUNCTION)
    def __init__(self, model_value: Value, transform_func: Callable[[Value], Value]) -> None:
        super().__init__(model_value)
        self.func = transform_func

    @property
    def hardware_value(self) -> Value | None:
        return self.func(self.model_value)

    @hardware_value.setter
    def hardware_value(self, value: Value) -> None:
        HXBaseParameter.hardware_value.fset(self, value)  # type: ignore[attr-defined]  # a property has one


class Plain(HXParameter):
    """A number given without saying whose: the model's, and the chip's where the chip can hold
    it."""


def as_parameter(value: Value | HXBaseParameter) -> HXBaseParameter:
    return value if isinstance(value, HXBaseParameter) else Plain(value)
