"""Connections and neurons that learn, under Lava's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lavalike import proc
from lavalike.arguments import did_you_mean
from lavalike.compat.library import Stored, Weighted, models
from lavalike.compat.ports import InPort, OutPort
from lavalike.compat.process import DRESSED, AbstractProcess, Library
from lavalike.compat.rules import TARGETS, GradedSpikeCfg, LoihiLearningRule
from lavalike.compat.var import Var
from lavalike.errors import RuleError
from lavalike.learning.parse import parsed
from lavalike.learning.rule import RANGES
from lavalike.proc.learning import GRADED, TAGS, RuleText as CoreText

NUMBERS = tuple(f"{n}_{k}" for n in ("x1", "x2", "y1", "y2", "y3") for k in ("tau", "impulse"))


class RuleText(Var, CoreText):
    """How a variable changes, as text; none where it is empty."""

    def _checked(self, value: Any, dtype: np.dtype | None) -> np.ndarray:
        out = Var._checked(self, "" if value is None else value, dtype)
        if str(out[0]):
            parsed(str(out[0]), self.name)
        return out


DRESSED[CoreText] = RuleText


def _tell(process: Any, given: Mapping[str, Any]) -> None:
    """Let models read these among what the process was made with."""
    for name, value in given.items():
        process.proc_params.overwrite(name, value)


def _rule(owner: str, given: Any, graded: GradedSpikeCfg) -> LoihiLearningRule:
    if not isinstance(given, LoihiLearningRule):
        raise RuleError(f"{owner}: learning_rule is a LoihiLearningRule, got {given!r:.60}")
    if graded not in (*GradedSpikeCfg,):
        raise RuleError(f"{owner}: graded_spike_cfg is a GradedSpikeCfg, got {graded!r:.60}")
    if graded != GradedSpikeCfg.USE_REGULAR_IMPULSE:
        given.x1_impulse = 0  # the message is what x1 grows by
    return given


class _Learning(Weighted):
    """What connections that learn have in common: all Vars that Lava's have."""

    tag_1: Any
    tag_2: Any

    def __init__(
        self,
        *,
        weights: Any,
        tag_2: Any = None,
        tag_1: Any = None,
        learning_rule: Any = None,
        graded_spike_cfg: GradedSpikeCfg = GradedSpikeCfg.USE_REGULAR_IMPULSE,
        **kwargs: Any,
    ) -> None:
        rule = _rule(type(self).__name__, learning_rule, graded_spike_cfg)
        super().__init__(
            weights=weights, tag_2=tag_2, tag_1=tag_1, learning_rule=rule.core,
            graded_spikes=GRADED[graded_spike_cfg], **kwargs,
        )  # fmt: skip
        n_out, n_in = self.a_out.size, self.s_in.size  # type: ignore[attr-defined]  # of the connection that this is mixed into
        self.x0, self.y0 = Var((n_in,), 0), Var((n_out,), 0)
        for target in TARGETS:
            if target not in self.__dict__:
                setattr(self, target, RuleText((1,), "", name=target))
                getattr(self, target).role = "parameter"
        for tag in TAGS.values():
            if tag not in self.__dict__:
                setattr(self, tag, Var(self.weights.shape, 0, name=tag))
        given = {"weights": weights, "learning_rule": rule, "graded_spike_cfg": graded_spike_cfg}
        _tell(self, {**given, "shape": (n_out, n_in)})

    def fit(self) -> None:
        super().fit()
        for variable, tag in TAGS.items():
            var: Any = getattr(self, tag)
            var.settle()
            cut = np.clip(np.trunc(var.value), *RANGES[variable])
            self._cut(var, cut, f"whole numbers in {RANGES[variable]}")


class LearningDense(_Learning, proc.LearningDense):
    __doc__ = proc.LearningDense.__doc__


class LearningSparse(_Learning, Stored, proc.LearningSparse):
    __doc__ = proc.LearningSparse.__doc__
    listed = ("weights", *TAGS.values())


class LearningConnectionProcess(AbstractProcess):
    """Base of a program's own connections that learn, whose models are a program's own too: ports
    and Vars of the rule, in front of those of another base
    (``class Mine(LearningConnectionProcess, AbstractProcess)``).

    Args:
        shape: (out, in).
        learning_rule: a LoihiLearningRule.
    """

    def __init__(self, shape: tuple[int, ...], learning_rule: Any, **kwargs: Any) -> None:
        rule = _rule(type(self).__name__, learning_rule, GradedSpikeCfg.USE_REGULAR_IMPULSE)
        tags = {tag: kwargs.get(tag) for tag in TAGS.values()}
        super().__init__(shape=shape, learning_rule=rule, **kwargs)
        n_out, n_in = shape[0], shape[-1]
        for port in ("s_in_bap", "s_in_y1", "s_in_y2", "s_in_y3"):
            setattr(self, port, InPort((n_out,)))
        for name in ("x0", "tx", "x1", "x2"):
            setattr(self, name, Var((n_in,), 0))
        for name in ("y0", "ty", "y1", "y2", "y3"):
            setattr(self, name, Var((n_out,), 0))
        for tag, value in tags.items():
            setattr(self, tag, Var(tuple(shape), 0 if value is None else value))
        for target in TARGETS:
            setattr(self, target, RuleText((1,), getattr(rule, f"{target}_str") or "", name=target))
        for name in NUMBERS:
            setattr(self, name, Var((1,), float(getattr(rule, name))))


class LearningLIF(Library, proc.LearningLIF):
    __doc__ = proc.LearningLIF.__doc__

    def __init__(self, *, learning_rule: Any = None, **kwargs: Any) -> None:
        options = {k: kwargs.pop(k) for k in [*kwargs] if k not in _LIF}
        if options and type(self) is LearningLIF:  # a program's own class has models that read them
            name = next(iter(options))
            known = [*_LIF, "learning_rule"]
            raise TypeError(
                f"LearningLIF: no argument {name!r}{did_you_mean(name, known)}; it takes {', '.join(known)}, and a class of your own "
                "what its models read"
            )
        super().__init__(**kwargs, y1_impulse=0)
        _tell(self, {**options, "learning_rule": learning_rule})


_LIF = ("shape", "u", "v", "du", "dv", "bias_mant", "bias_exp", "vth", "name", "log_config")


class LearningNeuronProcess:
    """Base of a program's own neurons that send traces to connections that learn, before
    AbstractProcess or a neuron among the bases.

    Args:
        shape: of the neurons.
        learning_rule: a LoihiLearningRule, for its models.
    """

    def __init__(
        self, shape: tuple[int, ...], learning_rule: Any, *args: Any, **kwargs: Any
    ) -> None:
        given: dict[str, Any] = {"shape": shape, "learning_rule": learning_rule, **kwargs}
        super().__init__(*args, **given)
        if "a_third_factor_in" not in self.__dict__:
            self.a_third_factor_in = InPort((shape[0],))
            for port in ("s_out_bap", "s_out_y1", "s_out_y2", "s_out_y3"):
                setattr(self, port, OutPort((shape[0],)))
            for name in ("y1", "y2", "y3"):
                setattr(self, name, Var(shape, 0))


for _process, _floating, _fixed in (
    (LearningDense, "PyLearningDenseModelFloat", "PyLearningDenseModelBitApproximate"),
    (LearningSparse, "PyLearningSparseModelFloat", "PyLearningSparseModelBitApproximate"),
    (LearningLIF, "PyLearningLifModelFloat", "PyLearningLIFModelFixed"),
):
    models(_process, _floating, _fixed, "bit_approximate_loihi")
