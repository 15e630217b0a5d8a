"""Training: one loop, one objective a method, recipes."""

from trilemma.training.checkpoints import Checkpoint
from trilemma.training.fit import Step, fit
from trilemma.training.objectives import Adversarial, Batch, Natural, Objective, Scaled, Sum, Term
from trilemma.training.recipes import MLP, FashionCNN, Recipe, SmallCNN, YaleCNN, build
from trilemma.training.schedule import SGD, Adam, Constant, Cosine, Steps
from trilemma.training.train import Epoch, Trained, as_fit, train

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "Adversarial",
    "Batch",
    "Checkpoint",
    "Constant",
    "Cosine",
    "Epoch",
    "FashionCNN",
    "Natural",
    "Objective",
    "Recipe",
    "Scaled",
    "SmallCNN",
    "Step",
    "Steps",
    "Sum",
    "Term",
    "Trained",
    "YaleCNN",
    "as_fit",
    "build",
    "fit",
    "train",
]
