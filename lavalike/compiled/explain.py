"""A compiled graph as text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

from lavalike.backends.numpy import NumpyModel
from lavalike.compiler import cut
from lavalike.compiler.flat import Flat, Node
from lavalike.compiler.order import names, unique
from lavalike.compiler.parts import Part, Plan
from lavalike.compiler.refs import resolve
from lavalike.model.config import RunConfig
from lavalike.process.ports import Port
from lavalike.process.var import resolved
from lavalike.runtime.engine import Engine
from lavalike.runtime.workers import Workers
from lavalike.text import table

GUARDS = {"lrn_guard": "run_lrn", "pre_guard": "run_pre_mgmt", "post_guard": "run_post_mgmt"}


def text(engine: Engine | Workers) -> str:
    """What ``engine`` walks, in words."""
    plan, flat = engine.plan, engine.flat
    called = names(flat.nodes)
    sections = [
        _head(flat),
        "order of a step\n" + _order(plan, called),
        "\n".join(["parts, each computed by one backend", *_parts(plan, called)]),
    ]
    for title, lines in (
        ("after a step", [*_phases(flat.nodes, called)]),
        ("references", [*_references(flat.nodes)]),
        ("recorded", [*_recorded(flat)]),
        ("workers", [] if engine.cut is None else [*cut.told(engine.cut, called.__getitem__)]),
    ):
        if lines:
            sections.append("\n".join([title, *(f"  {line}" for line in lines)]))
    return "\n\n".join(sections)


def _head(flat: Flat) -> str:
    given = [
        f"{f.name}={getattr(flat.config, f.name)!r}"
        for f in fields(RunConfig)
        if getattr(flat.config, f.name) != getattr(RunConfig(), f.name)
    ]
    count = len(flat.nodes)
    return (
        f"{flat.processes[0].path}: {count} process{'es' * (count != 1)} computed, after step {flat.step}, "
        f"RunConfig({', '.join(given)})"
    )


def _order(plan: Plan, called: dict[Node, str]) -> str:
    number = {n: k for k, p in enumerate(plan.parts, 1) for n in p.nodes}
    rows = []
    for k, node in enumerate(plan.flat.nodes, 1):
        heard = dict.fromkeys(t.source for terms in node.inputs.values() for t in terms)
        config = node.model.config
        rows.append(
            [
                str(k),
                called[node],
                type(node.process).__name__,
                type(node.model).__name__,
                node.target.backend,
                config.precision if config.fixed else f"{config.precision} {config.dtype}",
                "when it says so" if node.model.inline else _delay(node),
                str(number[node]),
                ", ".join(_port(p, plan.flat, called) for p in heard) or "-",
            ]
        )
    head = ["", "process", "class", "model", "backend", "precision", "delay", "part", "hears"]
    return table(head, rows)


def _delay(node: Node) -> str:
    most = getattr(node.process, "max_delay", 0)
    return f"{node.model.delay}..{node.model.delay + most}" if most else str(node.model.delay)


def _port(port: Port, flat: Flat, called: dict[Node, str]) -> str:
    node = flat.node_of(port.process)
    return port.path if node is None else f"{called[node]}.{port.name}"


def _parts(plan: Plan, called: dict[Node, str]) -> Iterator[str]:
    number: dict[Part, int] = {p: k for k, p in enumerate(plan.parts, 1)}
    for group in plan.groups:
        longest = plan.stretch(group)
        for part in group:
            how = (
                "all steps of a run at once"
                if part.target.whole
                else "step by step"
                if part.turns or any(n.model.inline for n in part.nodes)
                else "any number of steps at once"
                if math.isinf(longest)
                else f"{int(longest)} step{'s' * (longest > 1)} in turn with part "
                + ", ".join(str(number[p]) for p in group if p is not part)
            )
            inside = ", ".join(called[n] for n in part.nodes)
            yield f"  {number[part]} {part.target.backend or 'none'}: {inside or 'nothing'}; {how}"
            for turn in part.turns:
                if isinstance(turn, Part):
                    yield f"    {turn.target.backend} in its turn: {', '.join(called[n] for n in turn.nodes)}"
    for edge in plan.edges:
        yield (
            f"  part {number[edge.source]} -> part {number[edge.target]}: {called[edge.node]}.{edge.port.name}, "
            f"settled {edge.lag} step{'s' * (edge.lag != 1)} before"
        )


def _phases(nodes: list[Node], called: dict[Node, str]) -> Iterator[str]:
    for node in nodes:
        rule = getattr(node.process, "learning_rule", None)
        if rule is not None and hasattr(rule, "epoch"):
            yield f"{called[node]}: learns in every {rule.epoch}. step"
    for guard, phase in GUARDS.items():
        asking = [
            called[n]
            for n in nodes
            if isinstance(n.model, NumpyModel) and n.model._overrides(guard)
        ]
        if asking:
            yield f"{phase} where {guard} is true: {', '.join(asking)}"


def _references(nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        for port in node.process.ref_ports:
            yield f"{port.path} -> {resolve(port).var.path}"


def _recorded(flat: Flat) -> Iterator[str]:
    probes = [(p, probe) for p in flat.processes for probe in p.probes]
    owners = dict.fromkeys(probe.owner for _, probe in probes)
    called = dict(zip(owners, unique(o.path for o in owners), strict=True))
    for _, probe in probes:
        target = resolved(probe.target)
        how = "every step" if probe.every == 1 else f"every {probe.every}. step"
        how += "" if probe.index is None else f", {probe.index.size} of {target.size} elements"
        how += ", as bits" if probe.packed else ""
        how += "" if probe.num_steps is None else f", at most {probe.num_steps} steps"
        yield f"{probe.target.path} by {called[probe.owner]}: {how}"
