"""Networks that bounds are tried on: every supported step occurs in one of them."""

import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Normalises its input, adds two branches, pools twice and reshapes by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.third = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.last = nn.Linear(6 * 2 * 2, 3)
        self.register_buffer("mean", torch.tensor([0.3, 0.5]).view(1, 2, 1, 1))

    def forward(self, x):
        x = (x - self.mean) / 0.5
        before = F.relu(self.norm(self.first(x)))
        x = F.relu(before + self.second(before))
        x = F.avg_pool2d(F.relu(self.third(x)), 2, 1, padding=1)
        x = F.adaptive_avg_pool2d(x, 2)
        return self.last(x.view(x.size(0), -1))


def perceptron():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 8),
        nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)), nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding="same", dilation=2, groups=2), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6 * 1 * 2, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def padded():
    """More zeros on one side than on the other; on one none, but a row less."""
    return nn.Sequential(
        nn.ZeroPad2d((2, 1, -1, 3)), nn.Conv2d(2, 4, 4, stride=2, padding=1), nn.ReLU(),
        nn.ZeroPad2d((0, 1, 1, 0)), nn.Conv2d(4, 3, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(3 * 2 * 3, 3),
    )  # fmt: skip


NETWORKS = {
    "perceptron": perceptron,
    "convolutional": convolutional,
    "residual": Residual,
    "padded": padded,
}
SHAPES = {
    "perceptron": (6,),
    "convolutional": (2, 5, 5),
    "residual": (2, 5, 5),
    "padded": (2, 5, 5),
}


def network(name, seed=0, dtype=torch.float64):
    """One of them with random weights, in eval mode, and some rows for it.

    Batch norm knows the statistics of such rows, so that ReLUs are unstable in every layer.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = NETWORKS[name]()
        for each in model.modules():
            if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(each.weight)
                nn.init.normal_(each.bias)
                each.momentum = None  # the mean of all batches so far
        with torch.no_grad():
            model.train()(torch.rand(64, *SHAPES[name]))
        x = torch.rand(4, *SHAPES[name], dtype=dtype)
    return model.to(dtype).eval(), x
