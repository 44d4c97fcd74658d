"""Spikes from data and from labels, by snnTorch's names, arguments and defaults; time is the first
axis.

Draws take a ``generator=`` (torch.Generator) and are then reproducible. Results have the data's
floating-point dtype, those of labels and of integer data float32. Data are finite; InputError
otherwise.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from lavalike.arguments import (
    FLAG,
    TENSOR,
    TEXT,
    Rule,
    arguments,
    instance,
    integer,
    is_integer,
    optional,
    real,
)
from lavalike.errors import InputError, InputTypeError

_NUMBER = real()
_PATTERNS = ("regular", "uniform", "poisson")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("data", "targets", "spike_time", "one_hot_targets", "one_hot_label"), TENSOR),
    "num_steps": Rule(
        "a whole number >= 1 (or False, where it may be left out)",
        lambda v: isinstance(v, bool) or is_integer(v),
    ),
    **dict.fromkeys(
        (
            "gain",
            "offset",
            "threshold",
            "tau",
            "on_target",
            "off_target",
            "correct_rate",
            "incorrect_rate",
        ),
        _NUMBER,
    ),
    **dict.fromkeys(
        (
            "time_var_input",
            "clip",
            "normalize",
            "linear",
            "interpolate",
            "bypass",
            "padding",
            "off_spike",
        ),
        FLAG,
    ),
    "first_spike_time": integer(),
    "num_classes": integer(1),
    "epsilon": real(above=0),
    "code": TEXT,
    "firing_pattern": Rule(
        "'regular', 'uniform' or 'poisson'",
        lambda v: isinstance(v, str),
        lambda v: v.lower() in _PATTERNS,
        _PATTERNS,
    ),
    "generator": optional(instance("torch._C.Generator", words="a torch.Generator")),
}


def _door(function: Any) -> Any:
    """Kinds of arguments; their values are looked at where they are used. ``rate`` is a number."""
    names = inspect.signature(function).parameters
    return arguments(**{n: _NUMBER if n == "rate" else _RULES[n] for n in names})(function)


def _floating(data: torch.Tensor, who: str) -> torch.Tensor:
    if not isinstance(data, torch.Tensor):
        raise InputTypeError(f"spikegen.{who}: data is a torch.Tensor, got {type(data).__name__}")
    x = data if data.is_floating_point() else data.to(torch.float32)
    if not torch.isfinite(x).all():
        raise InputError(
            f"spikegen.{who}: {int((~torch.isfinite(x)).sum())} values of data are NaN or infinite"
        )
    return x


def _steps(num_steps: int | bool, first_spike_time: int, who: str) -> int:
    if isinstance(num_steps, bool) or num_steps < 1:
        raise InputError(f"spikegen.{who}: num_steps is a whole number >= 1, got {num_steps}")
    if not 0 <= first_spike_time < num_steps:
        raise InputError(
            f"spikegen.{who}: first_spike_time is in 0..num_steps - 1 = {num_steps - 1}, got {first_spike_time}"
        )
    return num_steps


@_door
def rate(
    data: torch.Tensor,
    num_steps: int | bool = False,
    gain: float = 1,
    offset: float = 0,
    first_spike_time: int = 0,
    time_var_input: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Spikes with probability ``gain data + offset`` (below 0 never, above 1 always).

    Args:
        data: ``[B, ...]``, the same at all ``num_steps`` steps; with ``time_var_input``
            ``[T, B, ...]``, without ``num_steps``.
        first_spike_time: no spikes before this step; with ``time_var_input``, so many silent steps
            are put before.

    Returns:
        ``[num_steps, B, ...]``, with ``time_var_input`` ``[first_spike_time + T, B, ...]``.
    """
    p = _floating(data, "rate") * gain + offset
    if not time_var_input:
        spikes = rate_conv(
            p.expand(_steps(num_steps, first_spike_time, "rate"), *p.shape), generator=generator
        )
        spikes[:first_spike_time] = 0
        return spikes
    if num_steps is not False or first_spike_time < 0 or p.dim() == 0:
        raise InputError(
            f"spikegen.rate: with time_var_input=True data has a time axis, num_steps is left out and first_spike_time >= 0, "
            f"got shape {tuple(p.shape)}, num_steps={num_steps}, first_spike_time={first_spike_time}"
        )
    return torch.cat(
        [p.new_zeros(first_spike_time, *p.shape[1:]), rate_conv(p, generator=generator)]
    )


@_door
def rate_conv(data: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """Spikes with probability ``data`` (below 0 never, above 1 always); of the same shape."""
    p = _floating(data, "rate_conv")
    drawn = torch.rand(
        p.shape,
        generator=generator,
        device=p.device,
        dtype=torch.promote_types(p.dtype, torch.float32),
    )
    return (drawn < p).to(p.dtype)


@_door
def latency(
    data: torch.Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    on_target: float = 1,
    off_target: float = 0,
    clip: bool = False,
    normalize: bool = False,
    linear: bool = False,
    interpolate: bool = False,
    bypass: bool = False,
    epsilon: float = 1e-7,
) -> torch.Tensor:
    """One spike for each value, the greater the earlier; at the steps nearest to the times of
    :func:`latency_code`.

    Args:
        data: in 0..1, of any shape.
        num_steps: T; may be left out with ``bypass``, the last spike then sets it.
        threshold, tau, first_spike_time, normalize, linear, epsilon: see :func:`latency_code`.
        on_target, off_target: values at the spike and elsewhere.
        clip: no spike for data below ``threshold``.
        interpolate: rise linearly to each spike, see :func:`latency_interpolate`.
        bypass: spikes after the last step are left out; without it they are an InputError.

    Returns:
        ``[T, *data.shape]``.
    """
    x = _floating(data, "latency")
    if x.numel() == 0 or x.min() < 0 or x.max() > 1:
        span = f"{float(x.min())}..{float(x.max())}" if x.numel() else "no values"
        raise InputError(f"spikegen.latency: data is in 0..1, got {span}")
    if num_steps is False and not bypass:
        raise InputError(
            "spikegen.latency: num_steps is needed; with bypass=True the last spike sets it"
        )
    times, below = latency_code(
        x, num_steps, threshold, tau, first_spike_time, normalize, linear, epsilon
    )
    times = times.round()
    last = int(times.max())
    steps = last + 1 if num_steps is False else num_steps
    if last >= steps and not bypass:
        raise InputError(
            f"spikegen.latency: the last spike falls on step {last} of num_steps={steps}; use normalize=True, a smaller tau, "
            "more steps, or bypass=True to leave such spikes out"
        )
    if clip:
        times = torch.where(below, steps, times)  # a spike after the last step is left out
    if interpolate:
        return latency_interpolate(times, steps, on_target, off_target).to(x.dtype)
    t = torch.arange(steps, device=x.device).view(-1, *[1] * x.dim())
    return _either(t == times, on_target, off_target, x.dtype)


@_door
def latency_code(
    data: torch.Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    normalize: bool = False,
    linear: bool = False,
    epsilon: float = 1e-7,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Times of spikes, in steps and not rounded, and where ``data < threshold``; both of data's
    shape.

    Args:
        data: ``x``.
        num_steps: needed for ``normalize``.
        threshold: in 0..1, both excluded; data below it spike when data at the threshold would
            (plus ``epsilon``, unless ``linear``).
        tau: ``tau ln(x / (x - threshold))``: the time at which a leaky neuron with input x reaches
            the threshold; or with ``linear``, ``tau (1 - x)``.
        first_spike_time: added.
        normalize: scaled so that the last spike falls on ``num_steps - 1``; with ``linear``, so
            that x = 0 would.
    """
    code = (
        latency_code_linear(data, num_steps, threshold, tau, first_spike_time, normalize)
        if linear
        else latency_code_log(data, num_steps, threshold, tau, first_spike_time, normalize, epsilon)
    )
    return code, data < threshold


@_door
def latency_code_linear(
    data: torch.Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    normalize: bool = False,
) -> torch.Tensor:
    """The ``linear`` times of :func:`latency_code`; data is at most 1."""
    x = _latency_data(data, num_steps, threshold, tau, first_spike_time, normalize)
    if x.numel() and x.max() > 1:
        raise InputError(f"spikegen.latency_code_linear: data is at most 1, got {float(x.max())}")
    return (num_steps - 1 - first_spike_time if normalize else tau) * (
        1 - x.clamp(min=threshold)
    ) + first_spike_time


@_door
def latency_code_log(
    data: torch.Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    normalize: bool = False,
    epsilon: float = 1e-7,
) -> torch.Tensor:
    """The logarithmic times of :func:`latency_code`."""
    x = _latency_data(data, num_steps, threshold, tau, first_spike_time, normalize)
    # the difference itself is kept above 0: threshold + epsilon may round to threshold
    over = (x - threshold).clamp(min=epsilon)
    times = tau * torch.log1p(threshold / over)
    if normalize and times.numel():
        times = times * ((num_steps - 1 - first_spike_time) / times.max())
    return times + first_spike_time


def _latency_data(
    data: torch.Tensor,
    num_steps: int | bool,
    threshold: float,
    tau: float,
    first_spike_time: int,
    normalize: bool,
) -> torch.Tensor:
    if not 0 < threshold < 1:
        raise InputError(f"spikegen.latency: threshold is in 0..1, both excluded, got {threshold}")
    if not tau > 0:
        raise InputError(f"spikegen.latency: tau is > 0, got {tau}")
    if normalize and num_steps is False:
        raise InputError("spikegen.latency: normalize=True needs num_steps")
    if num_steps is not False:
        _steps(num_steps, first_spike_time, "latency")
    elif first_spike_time < 0:
        raise InputError(f"spikegen.latency: first_spike_time is >= 0, got {first_spike_time}")
    x = _floating(data, "latency")
    return x.to(torch.promote_types(x.dtype, torch.float32))


@_door
def latency_interpolate(
    spike_time: torch.Tensor, num_steps: int, on_target: float = 1, off_target: float = 0
) -> torch.Tensor:
    """Linearly from ``off_target`` at step 0 to ``on_target`` at each value's spike, ``off_target``
    after it.

    Args:
        spike_time: steps, rounded to whole ones, of any shape; where outside 0..num_steps - 1,
            ``off_target`` throughout.

    Returns:
        ``[num_steps, *spike_time.shape]``.
    """
    _steps(num_steps, 0, "latency_interpolate")
    x = _floating(spike_time, "latency_interpolate").round()
    t = torch.arange(num_steps, device=x.device).view(-1, *[1] * x.dim())
    share = torch.where(x == 0, 1.0, t / x.clamp(min=1))
    rising = (t <= x) & (x < num_steps)
    return torch.where(rising, off_target + (on_target - off_target) * share, float(off_target)).to(
        x.dtype
    )


@_door
def delta(
    data: torch.Tensor, threshold: float = 0.1, padding: bool = False, off_spike: bool = False
) -> torch.Tensor:
    """1 where data rose by at least ``threshold`` since the step before; with ``off_spike``, -1
    where it fell by as much.

    Args:
        data: ``[T, ...]``.
        padding: the step before the first is like the first (no spike there), else 0.
    """
    x = _floating(data, "delta")
    if x.dim() == 0 or len(x) == 0 or not threshold > 0:
        raise InputError(
            f"spikegen.delta: data [T, ...] with T >= 1 and threshold > 0 are expected, got {tuple(x.shape)}, {threshold}"
        )
    change = torch.diff(x, dim=0, prepend=x[:1] if padding else torch.zeros_like(x[:1]))
    spikes = (change >= threshold).to(x.dtype)
    return spikes - (change <= -threshold).to(x.dtype) if off_spike else spikes


@_door
def targets_convert(
    targets: torch.Tensor,
    num_classes: int,
    code: str = "rate",
    num_steps: int | bool = False,
    first_spike_time: int = 0,
    correct_rate: float = 1,
    incorrect_rate: float = 0,
    on_target: float = 1,
    off_target: float = 0,
    firing_pattern: str = "regular",
    interpolate: bool = False,
    epsilon: float = 1e-7,
    threshold: float = 0.01,
    tau: float = 1,
    clip: bool = False,
    normalize: bool = False,
    linear: bool = False,
    bypass: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Labels ``[B]`` as what the outputs should do: :func:`targets_rate` (``code="rate"``) or
    :func:`targets_latency` ("latency").

    Arguments are those of the two; one that only the other takes raises InputError unless it has
    its default.
    """
    alien = (
        {
            "correct_rate": correct_rate != 1,
            "incorrect_rate": incorrect_rate != 0,
            "firing_pattern": firing_pattern != "regular",
            "generator": generator is not None,
        }
        if code == "latency"
        else {
            "threshold": threshold != 0.01,
            "tau": tau != 1,
            "clip": clip,
            "normalize": normalize,
            "linear": linear,
            "bypass": bypass,
        }
    )
    if given := [name for name, changed in alien.items() if changed]:
        raise InputError(
            f"spikegen.targets_convert: code={code!r} does not take {', '.join(given)}"
        )
    if code == "rate":
        return targets_rate(
            targets,
            num_classes,
            num_steps,
            first_spike_time,
            correct_rate,
            incorrect_rate,
            on_target,
            off_target,
            firing_pattern,
            interpolate,
            generator=generator,
        )
    if code == "latency":
        return targets_latency(
            targets,
            num_classes,
            num_steps,
            first_spike_time,
            on_target,
            off_target,
            interpolate,
            threshold,
            tau,
            clip,
            normalize,
            linear,
            epsilon,
            bypass,
        )
    raise InputError(f"spikegen.targets_convert: code is 'rate' or 'latency', got {code!r}")


@_door
def targets_rate(
    targets: torch.Tensor,
    num_classes: int,
    num_steps: int | bool = False,
    first_spike_time: int = 0,
    correct_rate: float = 1,
    incorrect_rate: float = 0,
    on_target: float = 1,
    off_target: float = 0,
    firing_pattern: str = "regular",
    interpolate: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """``on_target`` at the spikes of the labelled class and of the others, ``off_target``
    elsewhere.

    Args:
        targets: labels ``[B]``.
        num_steps: T; needed with rates other than 1 and 0 or a first_spike_time.
        correct_rate, incorrect_rate: spikes a step of the labelled class and of the others, in
            0..1, the second not above the first.
        first_spike_time, firing_pattern: see :func:`target_rate_code`; one pattern for the labelled
            class, one for the others.
        interpolate: rise linearly to each spike, see :func:`rate_interpolate`.

    Returns:
        ``[T, B, num_classes]``; with rates 1 and 0 from the first step on, the same at all steps,
        ``[B, num_classes]``.
    """
    hot = to_one_hot(targets, num_classes) != 0
    if not 0 <= incorrect_rate <= correct_rate <= 1:
        raise InputError(
            f"spikegen.targets_rate: 0 <= incorrect_rate <= correct_rate <= 1 expected, got {incorrect_rate}, {correct_rate}"
        )
    if correct_rate == 1 and incorrect_rate == 0 and first_spike_time == 0:
        if num_steps is not False:
            _steps(num_steps, first_spike_time, "targets_rate")
        return _either(hot, on_target, off_target, torch.float32)
    rows = []
    for one in (correct_rate, incorrect_rate):
        spikes, times = target_rate_code(
            num_steps, first_spike_time, one, firing_pattern, generator=generator
        )
        row = (
            rate_interpolate(times, num_steps, on_target, off_target)
            if interpolate
            else _either(spikes != 0, on_target, off_target, torch.float32)
        )
        rows.append(row.to(hot.device)[:, None, None])
    return torch.where(hot, rows[0], rows[1])


@_door
def target_rate_code(
    num_steps: int,
    first_spike_time: int = 0,
    rate: float = 1,
    firing_pattern: str = "regular",
    *,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A neuron's spikes ``[num_steps]`` and their steps, from ``first_spike_time`` on.

    Args:
        rate: spikes a step, in 0..1.
        firing_pattern: "regular" (every ``1 / rate`` steps, rounded down), "uniform" (as many at
            random steps, those that coincide once) or "poisson" (at every step with probability
            ``rate``).
    """
    _steps(num_steps, first_spike_time, "target_rate_code")
    if not 0 <= rate <= 1:
        raise InputError(f"spikegen.target_rate_code: rate is in 0..1, got {rate}")
    pattern, span = firing_pattern.lower(), num_steps - first_spike_time
    spikes = torch.zeros(num_steps)
    device = None if generator is None else generator.device
    if pattern == "poisson":
        spikes[first_spike_time:] = (
            (torch.rand(span, generator=generator, device=device) < rate).float().cpu()
        )
    elif rate > 0:
        steps = torch.arange(0, span, 1 / rate, dtype=torch.float64).long()
        if pattern == "uniform":
            steps = torch.randint(span, steps.shape, generator=generator, device=device).cpu()
        spikes[first_spike_time + steps] = 1
    return spikes, spikes.nonzero()[:, 0]


@_door
def rate_interpolate(
    spike_time: torch.Tensor, num_steps: int, on_target: float = 1, off_target: float = 0
) -> torch.Tensor:
    """Linearly from ``off_target``, the step after a spike or at step 0, to ``on_target`` at the
    next spike; after the last ``off_target``.

    Args:
        spike_time: whole steps in 0..num_steps - 1 of one neuron's spikes, ``[spikes]``.

    Returns:
        ``[num_steps]``.
    """
    _steps(num_steps, 0, "rate_interpolate")
    times = spike_time.long().unique()
    if spike_time.dim() != 1 or (len(times) and (times[0] < 0 or times[-1] >= num_steps)):
        raise InputError(
            f"spikegen.rate_interpolate: spike_time is one axis of steps in 0..{num_steps - 1}, got {spike_time.tolist()}"
        )
    t = torch.arange(num_steps, device=times.device)
    following = torch.searchsorted(times, t)
    ends = torch.cat([times.new_tensor([-1]), times, times.new_tensor([num_steps])])
    before, after = ends[following], ends[following + 1]
    gap = after - before - 1
    share = torch.where(gap == 0, 1.0, (t - before - 1) / gap.clamp(min=1))
    return torch.where(
        following < len(times), off_target + (on_target - off_target) * share, float(off_target)
    )


@_door
def targets_latency(
    targets: torch.Tensor,
    num_classes: int,
    num_steps: int | bool = False,
    first_spike_time: int = 0,
    on_target: float = 1,
    off_target: float = 0,
    interpolate: bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    clip: bool = False,
    normalize: bool = False,
    linear: bool = False,
    epsilon: float = 1e-7,
    bypass: bool = False,
) -> torch.Tensor:
    """:func:`latency` of 1 for the labelled class and 0 for the others: ``[T, B, num_classes]``."""
    return latency(
        to_one_hot(targets, num_classes),
        num_steps,
        threshold,
        tau,
        first_spike_time,
        on_target,
        off_target,
        clip,
        normalize,
        linear,
        interpolate,
        bypass,
        epsilon,
    )


@_door
def to_one_hot(targets: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Labels ``[B]`` in 0..num_classes - 1, of any number type, as ``[B, num_classes]`` of 0 and 1
    in float32."""
    if targets.dim() != 1 or (
        targets.is_floating_point() and not torch.equal(targets, targets.trunc())
    ):
        raise InputError(
            f"spikegen.to_one_hot: targets [B] of whole numbers are expected, got {tuple(targets.shape)}, {targets.dtype}"
        )
    return one_hot(targets.long(), num_classes, "spikegen.to_one_hot")


def one_hot(labels: torch.Tensor, num_classes: int, who: str) -> torch.Tensor:
    """int64 ``labels [B]`` as float32 ``[B, num_classes]``; out of range they are an InputError of
    ``who`` (on the CPU)."""
    zeros = torch.zeros(len(labels), num_classes, device=labels.device)
    try:
        return zeros.scatter(1, labels[:, None], 1.0)
    except RuntimeError as e:
        raise InputError(f"{who}: targets are labels, integers in 0..{num_classes - 1}: {e}") from e


@_door
def to_one_hot_inverse(one_hot_targets: torch.Tensor) -> torch.Tensor:
    """1 where ``one_hot_targets`` is 0, else 0; of its shape and dtype."""
    return (one_hot_targets == 0).to(one_hot_targets.dtype)


@_door
def from_one_hot(one_hot_label: torch.Tensor) -> torch.Tensor:
    """Labels ``[...]`` from ``[..., C]`` with a single 1 in each row and 0 elsewhere."""
    ones = one_hot_label == 1
    if one_hot_label.dim() == 0 or not (
        (ones.sum(-1) == 1).all() and (ones | (one_hot_label == 0)).all()
    ):
        raise InputError(
            f"spikegen.from_one_hot: rows with a single 1 are expected, got shape {tuple(one_hot_label.shape)}"
        )
    return ones.to(torch.uint8).argmax(-1)


def _either(here: torch.Tensor, on: float, off: float, dtype: torch.dtype) -> torch.Tensor:
    yes, no = (torch.tensor(value, dtype=dtype, device=here.device) for value in (on, off))
    return torch.where(here, yes, no)
