"""Connections whose synapses learn while the network runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.arguments import arguments, choice, instance, optional
from lavalike.dynamics.weights import SignMode
from lavalike.errors import RuleError, VarError
from lavalike.learning.rule import LearningRule
from lavalike.proc.dense import _Matrix, _matrix
from lavalike.proc.parameters import array
from lavalike.process import InPort, Var

TAGS = {"d": "tag_2", "t": "tag_1"}  # the Var of a rule's variable


class LearningDense(_Matrix):
    """A :class:`Dense` whose synapses learn by a rule, at the end of each of its epochs.

    What an epoch's end in step t makes of the weights is used from the messages of step t + 1 on, which arrive in step t + 2.

    Args:
        weights: (out, in), at first. fixed_pt: integers as in Dense; what ``num_weight_bits`` drops is dropped before the first step
            only.
        learning_rule: a :class:`lavalike.learning.LearningRule`.
        tag_1, tag_2: the rule's ``t`` and ``d``, one number or (out, in), where it uses them. Default 0. fixed_pt: integers,
            -257..255 and 0..255. ``tag_2`` is no delay here.
        plastic_batch: ``"per_sample"``: in a batch each sample learns weights of its own, from the same ones. Default None: a batch
            is refused.
        num_message_bits, weight_exp, num_weight_bits, sign_mode: see :class:`Dense`; ``sign_mode`` is MIXED by default, and
            learnt weights do not leave it.

    Ports: ``s_in`` (in,), ``a_out`` (out,), ``s_in_bap`` (out,), the spikes of the outputs, in the step in which they are sent (any
    non-zero counts 1), and ``s_in_y1``, ``s_in_y2``, ``s_in_y3`` (out,), the traces that the rule receives.

    Vars: ``weights``, the tags and the traces that the rule uses; ``tx`` (in,) and ``ty`` (out,), in which step of the epoch, from 1,
    the last spike was; 0: in none. What is set beyond the epoch counts as its last step.

    Raises:
        RuleError: a tag given that the rule does not use. VarError: as Dense. When it is compiled: GraphError where ``s_in_bap`` or a
            received trace is not connected though the rule looks at it, RuleError for a number that fixed_pt does not hold.

    Example::

        stdp = LearningRule(dw="x1 * y0 - x0 * y1", x1=Trace(1, 10), y1=Trace(1, 10))
        dense = LearningDense(weights=np.zeros((3, 5)), learning_rule=stdp)
        pre.s_out.connect(dense.s_in)
        dense.a_out.connect(post.a_in)
        post.s_out.connect(dense.s_in_bap)
    """

    @arguments(
        error=VarError,
        learning_rule=instance(LearningRule),
        plastic_batch=optional(choice("per_sample")),
    )
    def __init__(
        self,
        *,
        weights: Any,
        learning_rule: LearningRule,
        tag_1: Any = None,
        tag_2: Any = None,
        plastic_batch: str | None = None,
        weight_exp: int = 0,
        num_weight_bits: int = 8,
        sign_mode: SignMode = SignMode.MIXED,
        num_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        owner = type(self).__name__
        w = _matrix(owner, weights)
        super().__init__(
            weight_exp=weight_exp,
            num_weight_bits=num_weight_bits,
            sign_mode=sign_mode,
            num_message_bits=num_message_bits,
            name=name,
        )
        self.learning_rule, self.plastic_batch = learning_rule, plastic_batch
        if self.sign_mode is SignMode.NULL:
            raise VarError(
                f"{owner}: sign_mode says which signs learnt weights may have, MIXED, EXCITATORY or INHIBITORY, not NULL"
            )
        n_out, n_in = w.shape
        self._keep(w, plastic=True)
        self.s_in_bap = InPort((n_out,))
        self.s_in_y1, self.s_in_y2, self.s_in_y3 = (InPort((n_out,)) for _ in range(3))
        self.a_buff = Var((n_out,), 0, name="a_buff")
        for variable, given in (("d", tag_2), ("t", tag_1)):
            tag = TAGS[variable]
            if variable in learning_rule.variables:
                value = np.broadcast_to(
                    0 if given is None else array(f"{owner}: {tag}", given), w.shape
                )
                setattr(self, tag, Var(w.shape, value, name=tag))
            elif given is not None:
                raise RuleError(
                    f"{owner}: {tag} is the rule's variable {variable}, which it does not use; leave it out"
                )
        for trace in learning_rule.traces:
            setattr(self, trace, Var((n_in if trace[0] == "x" else n_out,), 0, name=trace))
        self.tx, self.ty = Var((n_in,), 0, name="tx"), Var((n_out,), 0, name="ty")
