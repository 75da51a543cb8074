"""Learned codes in plain PyTorch and F64: positions on the points of a grid, moved by Adam with a factored second moment."""
import math

import numpy as np
import torch

BETA1, BETA2, MOST_START = 0.9, 0.95, 0.45


class Positions:
    """Of one weight: value = table[point] * scale + minimum, between two points linear.

    points: [out, groups, columns]; table: the code of each point, ascending; scales, minima: [out, groups, 1]
    """

    def __init__(self, weight, points, table, scales, minima):
        self.table, self.scales, self.minima = torch.tensor(table).double(), scales.double(), minima.double()
        wide = np.array([2 * table[0] - table[1], *table, 2 * table[-1] - table[-2]], np.float64)
        codes = (weight.double().reshape(points.shape) - self.minima) / self.scales
        wanted = torch.from_numpy(np.interp(codes.numpy(), wide, np.arange(-1, len(table) + 1)))
        self.values = self.start = points + (wanted - points).clamp(-MOST_START, MOST_START)
        self.momentum = self.rows = self.columns = self.steps = 0

    def points(self):
        return self.values.round().clamp(0, len(self.table) - 1)

    def weight(self):
        return (self.table[self.points().long()] * self.scales + self.minima).flatten(1).float()

    def step(self, gradient, rate, decay):
        gradient = (gradient.double().reshape(self.values.shape) * self.scales.sign()).flatten(1)
        self.steps += 1
        self.momentum = BETA1 * self.momentum + (1 - BETA1) * gradient
        self.rows = BETA2 * self.rows + (1 - BETA2) * gradient.square().mean(1, keepdim=True)
        self.columns = BETA2 * self.columns + (1 - BETA2) * gradient.square().mean(0, keepdim=True)
        second = self.rows * self.columns / self.rows.mean() / (1 - BETA2 ** self.steps)
        change = self.momentum / (1 - BETA1 ** self.steps) / second.sqrt()
        change = change.reshape(self.values.shape) + decay * (self.values - self.start)
        self.values = (self.values - rate * change).clamp(-0.5, len(self.table) - 0.5)


def trained(make_model, positions, texts, rate, warmup, decay=0, learns=lambda name: True):
    """The points after each step, by linear. positions: those of the linears that are quantized; texts: the ids of each
    step."""
    teacher, student, steps = make_model(), make_model(), len(texts)
    linears = {name: student.get_submodule(name) for name in positions}
    trajectory = []
    for step, ids in enumerate(texts):
        wanted = teacher(ids).logits.detach().log_softmax(-1)
        for name, linear in linears.items():
            linear.weight.data, linear.weight.grad = positions[name].weight(), None
        found = student(ids).logits.log_softmax(-1)
        (wanted.exp() * (wanted - found)).sum(-1).mean().backward()
        now = rate * min(1, (step + 1) / warmup) * (1 + math.cos(math.pi * step / steps)) / 2
        for name, linear in linears.items():
            if learns(name):
                positions[name].step(linear.weight.grad, now, decay)
        trajectory.append({name: each.points() for name, each in positions.items()})
    return trajectory
