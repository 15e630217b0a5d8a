"""Small networks written out: their matrices, and their exact minimum over a ball."""

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn


def matrices(model, x):
    """(W, b) of what lies between the ReLUs of a model in a row."""
    segments, shapes = [[]], [x.shape[1:]]
    for layer in model:
        if isinstance(layer, nn.ReLU):
            segments.append([])
            shapes.append(x.shape[1:])
        else:
            segments[-1].append(layer)
        x = layer(x)
    found = []
    for segment, shape in zip(segments, shapes, strict=True):
        part = nn.Sequential(*segment)
        units = torch.eye(shape.numel()).double().view(-1, *shape)
        b = part(torch.zeros(1, *shape).double()).flatten()
        found.append(((part(units).flatten(1) - b).T, b))
    return found


def exact_minimum(model, x, radius, v):
    """min <v, model(x')> over the L_inf ball, as a mixed integer program; and the minimiser.

    Variables: x', and for each ReLU its value h and a switch q, with
    h >= z, h >= 0, h <= z - l (1 - q), h <= u q on interval bounds l <= z <= u.
    """
    layers = [(W.numpy(), b.numpy()) for W, b in matrices(model, x[None])]
    low, high = [x.numpy() - radius], [x.numpy() + radius]
    sizes = [len(x), *(len(b) for _, b in layers[:-1])]
    starts = np.cumsum([0, len(x), *(2 * size for size in sizes[1:])])
    total, rows, above = int(starts[-1]), [], []

    def constrain(at, value):
        """Sum of blocks (first column, matrix) >= value."""
        row = np.zeros((len(value), total))
        for start, block in at:
            row[:, start : start + block.shape[1]] += block
        rows.append(row)
        above.append(value)

    for depth, (W, b) in enumerate(layers[:-1]):
        m, before, h = len(b), starts[depth], starts[depth + 1]
        q, eye = h + m, np.eye(m)
        middle, reach = (low[-1] + high[-1]) / 2, (high[-1] - low[-1]) / 2
        under, over = W @ middle + b - abs(W) @ reach, W @ middle + b + abs(W) @ reach
        under, over = np.minimum(under, 0), np.maximum(over, 0)
        constrain([(h, eye), (before, -W)], b)
        constrain([(before, W), (h, -eye), (q, np.diag(under))], under - b)
        constrain([(q, np.diag(over)), (h, -eye)], np.zeros(m))
        low.append(np.zeros(m))
        high.append(over)
    W, b = layers[-1]
    cost, integral = np.zeros(total), np.zeros(total)
    cost[starts[-2] : starts[-2] + W.shape[1]] = v.numpy() @ W
    least, most = np.zeros(total), np.zeros(total)
    least[: len(x)], most[: len(x)] = low[0], high[0]
    for depth in range(1, len(sizes)):
        middle = starts[depth] + sizes[depth]
        most[starts[depth] : middle] = high[depth]
        most[middle : starts[depth + 1]] = integral[middle : starts[depth + 1]] = 1
    found = milp(
        cost,
        constraints=LinearConstraint(np.concatenate(rows), np.concatenate(above), np.inf),
        bounds=Bounds(least, most),
        integrality=integral,
        options={"mip_rel_gap": 0.0},
    )
    assert found.success
    return found.fun + v.numpy() @ b, torch.from_numpy(found.x[: len(x)])
