"""Connections whose synapses learn while the network runs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import numpy as np

from lavalike.arguments import arguments, choice, instance, integer, optional
from lavalike.dynamics.weights import SignMode
from lavalike.errors import GraphError, RuleError, VarError
from lavalike.learning.parse import parsed
from lavalike.learning.rule import TARGETS, TRACES, LearningRule, Trace
from lavalike.proc.dense import _Matrix, _matrix, _Weighted
from lavalike.proc.parameters import array
from lavalike.proc.sparse import _Entries, _Stored
from lavalike.process import InPort, Var

TAGS = {"d": "tag_2", "t": "tag_1"}  # the Var of a rule's variable
GRADED = ("impulse", "set", "add", "overflow")


class RuleText(Var):
    """How a variable changes, as text; RuleError with the place for one that cannot be read."""

    def _checked(self, value: Any, dtype: np.dtype | None) -> np.ndarray:
        out = super()._checked(value, dtype)
        if out.dtype.kind != "U":
            raise RuleError(f"{self.path}: a rule is a text, got {value!r:.60}")
        parsed(str(out[0]), self.path)
        return out


@functools.lru_cache(256)
def _ruled(
    rule: LearningRule, texts: tuple[tuple[str, str], ...], traces: tuple[tuple[str, Trace], ...]
) -> LearningRule:
    given: dict[str, Any] = {**dict(texts), **dict(traces)}
    return LearningRule(epoch=rule.epoch, seed=rule.seed, **given)


def rule_of(process: Any, values: Mapping[str, np.ndarray]) -> LearningRule:
    """The rule of a connection that learns, as the values of its Vars have it by now. RuleError
    where they make none, GraphError where it looks at what is not connected."""
    rule: LearningRule = process.learning_rule
    given = {f"d{v}": str(values[f"d{v}"][0]) for v in TARGETS if f"d{v}" in values}
    texts = tuple((target, text) for target, text in given.items() if text)
    traces = tuple(
        (n, Trace(float(values[f"{n}_impulse"][0]), float(values[f"{n}_tau"][0]), t.received))
        for n, t in rule.traces.items()
    )
    try:
        now = _ruled(rule, texts, traces)
    except RuleError as e:
        raise RuleError(f"{process.path}: {e}") from None
    missing = sorted(now.variables - process.variables - {"w"})
    if missing:
        tag = TAGS[missing[0]]
        raise RuleError(
            f"{process.path}: its rule uses {missing[0]}, and there is no {tag}; give {tag}=0 when it is made"
        )
    _hears(process, now)
    return now


def _hears(process: Any, rule: LearningRule) -> None:
    """GraphError unless what ``rule`` looks at is connected, and no more than that."""
    read = {f.name for ps in rule.products.values() for p in ps for f in p.factors}
    posts = {n for n in rule.traces if n[0] == "y" and n not in rule.received}
    looked = sorted({"y0"} & rule.gates | posts & read)
    if looked and not process.s_in_bap.sources:
        raise GraphError(
            f"{process.path}: its rule looks at {', '.join(looked)}, and nothing is connected to s_in_bap; "
            "connect the spikes of its output neurons: post.s_out.connect(dense.s_in_bap)"
        )
    for name in TRACES[2:]:
        port = getattr(process, f"s_in_{name}")
        if port.sources and name not in rule.received:
            raise GraphError(
                f"{process.path}: {port.name} is connected, and its rule does not receive {name}; say so with "
                f"{name}=Trace(received=True), or leave it unconnected"
            )
        if name in rule.received and name in read and not port.sources:
            raise GraphError(
                f"{process.path}: its rule receives {name}, and nothing is connected to {port.name}"
            )


class _Options(TypedDict, total=False):
    """What every connection that learns takes besides, for editors."""

    graded_spikes: str
    plastic_batch: str | None
    weight_exp: int
    num_weight_bits: int
    sign_mode: SignMode
    num_message_bits: int
    name: str | None


class _Plastic(_Weighted):
    """What connections that learn have in common."""

    weights: Var

    @arguments(
        error=VarError,
        learning_rule=instance(LearningRule),
        graded_spikes=choice(*GRADED),
        plastic_batch=optional(choice("per_sample")),
    )
    def __init__(
        self,
        *,
        learning_rule: LearningRule,
        graded_spikes: str = "impulse",
        plastic_batch: str | None = None,
        weight_exp: int = 0,
        num_weight_bits: int = 8,
        sign_mode: SignMode = SignMode.MIXED,
        num_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(
            weight_exp=weight_exp,
            num_weight_bits=num_weight_bits,
            sign_mode=sign_mode,
            num_message_bits=num_message_bits,
            name=name,
        )
        owner = type(self).__name__
        self.learning_rule, self.plastic_batch = learning_rule, plastic_batch
        self.graded_spikes = graded_spikes
        if self.sign_mode is SignMode.NULL:
            raise VarError(
                f"{owner}: sign_mode says which signs learnt weights may have, MIXED, EXCITATORY or INHIBITORY, not NULL"
            )
        if graded_spikes != "impulse" and learning_rule.x1 is None:
            raise RuleError(
                f"{owner}: graded_spikes={graded_spikes!r} writes the trace x1, which the rule does not have; give it x1=Trace(0, tau)"
            )
        if graded_spikes != "impulse" and not num_message_bits:
            raise VarError(
                f"{owner}: graded_spikes={graded_spikes!r} takes messages for their values; give num_message_bits=8"
            )

    def _learns(self, tags: Mapping[str, np.ndarray | None]) -> None:
        """Ports and Vars of the rule, beside the weights. ``tags``: by variable, as given, one a
        synapse."""
        rule, n_out, n_in = self.learning_rule, self.a_out.size, self.s_in.size
        self.s_in_bap = InPort((n_out,))
        self.s_in_y1, self.s_in_y2, self.s_in_y3 = (InPort((n_out,)) for _ in range(3))
        held = [v for v in TAGS if v in rule.variables or tags[v] is not None]
        self.variables = frozenset(("w", *held))
        for v in held:
            value = 0 if tags[v] is None else tags[v]
            setattr(self, TAGS[v], Var(self.weights.shape, value, name=TAGS[v]))
        self.traces = (*rule.traces,)
        for trace, given in rule.traces.items():
            size = n_in if trace[0] == "x" else n_out
            setattr(self, trace, Var((size,), 0, name=trace))
            for key in ("impulse", "tau"):
                name = f"{trace}_{key}"
                var = Var((1,), float(getattr(given, key)), role="parameter", name=name)
                setattr(self, name, var)
        for v in rule.products:
            text = RuleText((1,), getattr(rule, f"d{v}"), role="parameter", name=f"d{v}")
            setattr(self, f"d{v}", text)
        self.tx, self.ty = Var((n_in,), 0, name="tx"), Var((n_out,), 0, name="ty")


class LearningDense(_Matrix, _Plastic):
    """A :class:`Dense` whose synapses learn by a rule, at the end of each of its epochs.

    What an epoch's end in step t makes of the weights is used from the messages of step t + 1 on,
    which arrive in step t + 2.

    Args:
        weights: (out, in), at first. fixed_pt: integers as in Dense; what ``num_weight_bits`` drops
            is dropped before the first step only.
        learning_rule: a :class:`lavalike.learning.LearningRule`.
        tag_1, tag_2: the rule's ``t`` and ``d``, one number or (out, in), where it uses them, or
            where a rule that is set later does. Default: 0 where it uses them. fixed_pt: integers,
            -257..255 and 0..255. ``tag_2`` is no delay here.
        graded_spikes: what a message does to the trace ``x1``. ``"impulse"``, the default: any
            makes it grow by its impulse, as a spike does. ``"set"``: it becomes half the message,
            in its step; ``"add"``: that is added, up to 127 in fixed_pt; ``"overflow"``: as that in
            floating_pt; in fixed_pt only what is above 127 stays of it, and a message counts as a
            spike (to ``x0`` and ``x2``) only where it goes above. The impulse of ``x1`` is added
            besides: give 0. fixed_pt takes messages of 0 to 255.
        plastic_batch: ``"per_sample"``: in a batch each sample learns weights of its own, from the
            same ones. Default None: a batch is refused.
        num_message_bits, weight_exp, num_weight_bits, sign_mode: see :class:`Dense`; ``sign_mode``
            is MIXED by default, and learnt weights do not leave it.

    Ports: ``s_in`` (in,), ``a_out`` (out,), ``s_in_bap`` (out,), the spikes of the outputs, in the
    step in which they are sent (any non-zero counts 1), and ``s_in_y1``, ``s_in_y2``, ``s_in_y3``
    (out,), the traces that the rule receives.

    Vars: ``weights``, the tags and the traces that the rule uses; ``tx`` (in,) and ``ty`` (out,),
    in which step of the epoch, from 1, the last spike was; 0: in none. What is set beyond the epoch
    counts as its last step. And the rule, which may be set between runs: the texts ``dw``, ``dd``,
    ``dt`` that there are, and of each trace ``x1_impulse``, ``x1_tau`` and so on.

    Raises:
        RuleError: ``graded_spikes`` without ``x1``; a text or number set that makes no rule.
            VarError: as Dense. When it is compiled, and when a rule is set after that: GraphError
            where ``s_in_bap`` or a received trace is not connected though the rule looks at it,
            RuleError for a number that fixed_pt does not hold.

    Example::

        stdp = LearningRule(dw="x1 * y0 - x0 * y1", x1=Trace(1, 10), y1=Trace(1, 10))
        dense = LearningDense(weights=np.zeros((3, 5)), learning_rule=stdp)
        pre.s_out.connect(dense.s_in)
        dense.a_out.connect(post.a_in)
        post.s_out.connect(dense.s_in_bap)
    """

    @arguments(error=VarError)
    def __init__(
        self,
        *,
        weights: Any,
        learning_rule: LearningRule,
        tag_1: Any = None,
        tag_2: Any = None,
        **kwargs: Unpack[_Options],
    ) -> None:
        owner = type(self).__name__
        w = _matrix(owner, weights)
        _Plastic.__init__(self, learning_rule=learning_rule, **kwargs)
        self._keep(w, plastic=True)
        self.a_buff = Var(self.a_out.shape, 0, name="a_buff")
        self._learns({"d": _tag(owner, "tag_2", tag_2), "t": _tag(owner, "tag_1", tag_1)})


def _tag(owner: str, name: str, given: Any) -> np.ndarray | None:
    return None if given is None else array(f"{owner}: {name}", given)


class _Listed(_Stored, _Plastic):
    """Stored synapses that learn."""

    def _tags(
        self, tag_1: Any, tag_2: Any, entries: _Entries, matrix: bool
    ) -> dict[str, np.ndarray | None]:
        tags = {"d": ("tag_2", tag_2), "t": ("tag_1", tag_1)}
        return {
            v: None if x is None else self._of_each(n, x, entries, matrix)
            for v, (n, x) in tags.items()
        }

    def _begin(
        self, weights: Any, rows: Any, cols: Any, data: Any, shape: Any, kwargs: Mapping[str, Any]
    ) -> _Entries:
        entries = _Entries.of(type(self).__name__, weights, rows, cols, data, shape)
        _Plastic.__init__(self, **kwargs)
        self._keep(entries)
        self.weights.role, self.weights.trainable = "state", False
        return entries


class LearningSparse(_Listed):
    """A :class:`LearningDense` that stores only the non-zero weights: synapses that are not there
    do not learn.

    An epoch's end goes to the synapses of the neurons that spiked, where the rule asks for no more.

    Args:
        weights, or rows, cols, data and shape: see :class:`Sparse`.
        tag_1, tag_2: one number, (out, in) as an array or a SciPy sparse matrix, or one for each of
            ``rows``.

    All else as in :class:`LearningDense`; the Vars ``weights`` and the tags hold the stored
    synapses, as in :class:`Sparse`.

    Example::

        LearningSparse(rows=[0, 2], cols=[1, 1], data=0.5, shape=(3, 2), learning_rule=LearningRule(dw="-2^-3 * x0 * w"))
    """  # noqa: W505

    @arguments(error=VarError)
    def __init__(
        self,
        *,
        learning_rule: LearningRule,
        weights: Any = None,
        rows: Any = None,
        cols: Any = None,
        data: Any = None,
        shape: Any = None,
        tag_1: Any = None,
        tag_2: Any = None,
        **kwargs: Unpack[_Options],
    ) -> None:
        given = {"learning_rule": learning_rule, **kwargs}
        entries = self._begin(weights, rows, cols, data, shape, given)
        self.a_buff = Var(self.a_out.shape, 0, name="a_buff")
        self._learns(self._tags(tag_1, tag_2, entries, weights is not None))


class DelayLearningSparse(_Listed):
    """A :class:`LearningSparse` with a delay for every synapse: a message of step t arrives in step
    ``t + 1 + delays``.

    What a synapse learns from is not delayed: ``x0`` and the traces ``x1``, ``x2`` are those of its
    input in the step, and a delay is not learnt.

    Example:
        >>> two = {"rows": [0, 1], "cols": [2, 0], "data": [0.5, 0.5], "shape": (2, 3)}
        >>> rule = learning.STDP()
        >>> synapses = proc.DelayLearningSparse(**two, delays=[0, 2], learning_rule=rule)
        >>> synapses.weights.get()
        array([0.5, 0.5])

    Args:
        delays, max_delay: see :class:`DelaySparse`.

    All else as in :class:`LearningSparse`.
    """

    kind = "delays"
    delays: Var
    a_buff: Var

    @arguments(error=VarError, max_delay=integer(0))
    def __init__(
        self,
        *,
        delays: Any,
        learning_rule: LearningRule,
        weights: Any = None,
        rows: Any = None,
        cols: Any = None,
        data: Any = None,
        shape: Any = None,
        max_delay: int = 0,
        tag_1: Any = None,
        tag_2: Any = None,
        **kwargs: Unpack[_Options],
    ) -> None:
        given = {"learning_rule": learning_rule, **kwargs}
        entries = self._begin(weights, rows, cols, data, shape, given)
        matrix = weights is not None
        self._later(delays, entries, matrix, max_delay)
        self._learns(self._tags(tag_1, tag_2, entries, matrix))
