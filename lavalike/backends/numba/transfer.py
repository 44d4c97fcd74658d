"""Kernels that move messages: into the graph, out of it, and between ports."""

from __future__ import annotations


def feed(target, rows, t, first):
    row = rows[t - first]
    for i in range(target.size):
        target[i] = row[i]


def record(source, rows, t, first):
    row = rows[t - first]
    for i in range(source.size):
        row[i] = source[i]


def clear(target):
    for i in range(target.size):
        target[i] = 0


def copy(source, target):
    for i in range(target.size):
        target[i] = source[i]


def add(source, target):
    for i in range(target.size):
        target[i] += source[i]


def add_two(a, b, target):
    for i in range(target.size):
        target[i] = a[i] + b[i]


def gather(source, target, src):
    for k in range(source.shape[0]):
        for i in range(src.size):
            target[k, i] = source[k, src[i]]


def gather_add(source, target, src, dst):
    for k in range(source.shape[0]):
        for i in range(src.size):
            target[k, dst[i]] += source[k, src[i]]
