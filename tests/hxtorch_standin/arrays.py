"""Operations and layers of perceptron mode: as documented, without noise. Without mock they need a
chip."""

from __future__ import annotations

import torch

from tests.hxtorch_standin import connection


class MockParameter:
    def __init__(self, noise_std=2.0, gain=0.002):
        self.noise_std, self.gain = noise_std, gain


_mock = [MockParameter()]


def get_mock_parameter():
    return _mock[0]


def set_mock_parameter(parameter):
    _mock[0] = parameter


def _need(mock):
    if not mock and not connection.held:
        raise RuntimeError("hardware is not initialised")


def _mac(x, weights, num_sends):
    out = 0
    for xi, wi in zip(x.round().split(128, -1), weights.round().split(128, 0), strict=True):
        out = out + (xi @ wi * (num_sends * _mock[0].gain)).floor().clamp(-128, 127)
    return out.clamp(-128, 127)


def matmul(
    input,
    other,
    num_sends=1,
    wait_between_events=5,
    mock=False,
    madc_recording_neuron_id=0,
    madc_recording_path="",
):
    _need(mock)
    return _mac(input, other, num_sends)


def mac(
    x,
    weights,
    num_sends=1,
    wait_between_events=5,
    mock=False,
    madc_recording_neuron_id=0,
    madc_recording_path="",
):
    _need(mock)
    return _mac(x, weights, num_sends)


def add(input, other, alpha=1, mock=False):
    _need(mock)
    return (input.floor() + other.floor()).clamp(-128, 127)


def argmax(input, dim=None, keepdim=False, mock=False):
    _need(mock)
    return input.floor().argmax(dim, keepdim)


def relu(input, mock=False):
    _need(mock)
    return input.floor().clamp(0, 127)


def converting_relu(input, shift=2, mock=False):
    _need(mock)
    return (input.floor().clamp(0, 127) / 2**shift).floor().clamp(0, 31)


def measure_mock_parameter():
    _need(False)
    return MockParameter(1.9, 0.00186)


def clamp_weight_(w):
    w.data.clamp_(-63, 63)
    return w


class Layer(torch.nn.Module):
    def __init__(self, mock=False):
        super().__init__()
        self.mock = mock


class Linear(torch.nn.Linear):
    def __init__(
        self,
        in_features,
        out_features,
        bias=True,
        num_sends=None,
        wait_between_events=5,
        mock=False,
        *,
        avg=1,
        input_transform=None,
        weight_transform=clamp_weight_,
    ):
        super().__init__(in_features, out_features, bias)
        self.num_sends, self.wait_between_events, self.mock, self.avg = (
            num_sends or 1,
            wait_between_events,
            mock,
            avg,
        )
        self.input_transform, self.weight_transform = input_transform, weight_transform

    def forward(self, x):
        w = self.weight if self.weight_transform is None else self.weight_transform(self.weight)
        x = x if self.input_transform is None else self.input_transform(x)
        out = matmul(
            x,
            w.t().repeat_interleave(self.avg, -1),
            self.num_sends,
            self.wait_between_events,
            self.mock,
        )
        out = out.unflatten(-1, (-1, self.avg)).mean(-1)
        return out if self.bias is None else add(out, self.bias, mock=self.mock)


class Conv1d(torch.nn.Conv1d):
    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        num_sends=None,
        wait_between_events=5,
        mock=False,
        *,
        input_transform=None,
        weight_transform=clamp_weight_,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
        )
        self.num_sends, self.wait_between_events, self.mock = num_sends, wait_between_events, mock
        self.input_transform, self.weight_transform = input_transform, weight_transform


class Conv2d(torch.nn.Conv2d):
    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        num_sends=None,
        wait_between_events=5,
        mock=False,
        *,
        input_transform=None,
        weight_transform=clamp_weight_,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
        )
        self.num_sends, self.wait_between_events, self.mock = num_sends, wait_between_events, mock
        self.input_transform, self.weight_transform = input_transform, weight_transform


class ExpandedConv1d(Conv1d):
    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        num_expansions=None,
        num_sends=None,
        wait_between_events=5,
        mock=False,
        *,
        input_transform=None,
        weight_transform=clamp_weight_,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            num_sends,
            wait_between_events,
            mock,
            input_transform=input_transform,
            weight_transform=weight_transform,
        )
        self.num_expansions = num_expansions


class ReLU(Layer):
    def forward(self, x):
        return relu(x, self.mock)


class ConvertingReLU(Layer):
    def __init__(self, shift=2, mock=False):
        super().__init__(mock)
        self.shift = shift

    def forward(self, x):
        return converting_relu(x, self.shift, self.mock)
