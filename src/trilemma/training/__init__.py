"""Training: one loop, one objective a method, recipes."""

from trilemma.training.augmentation import Augmentation, Crop, Flip, augmented
from trilemma.training.checkpoints import Checkpoint
from trilemma.training.fit import Step, fit
from trilemma.training.objectives import (
    L1,
    L2,
    TRADES,
    AbstractInterpretation,
    Adversarial,
    Batch,
    DistributionalTraining,
    DomainAdaptation,
    IntervalBoundPropagation,
    MixedAdversarial,
    Natural,
    Objective,
    Scaled,
    Standing,
    Sum,
    Term,
    Verified,
)
from trilemma.training.recipes import MLP, FashionCNN, Recipe, SmallCNN, YaleCNN, build
from trilemma.training.schedule import SGD, Adam, Constant, Cosine, Steps
from trilemma.training.train import Epoch, Trained, as_fit, train
from trilemma.training.validation import Validation, robust_accuracy

__all__ = [
    "L1",
    "L2",
    "MLP",
    "SGD",
    "TRADES",
    "AbstractInterpretation",
    "Adam",
    "Adversarial",
    "Augmentation",
    "Batch",
    "Checkpoint",
    "Constant",
    "Cosine",
    "Crop",
    "DistributionalTraining",
    "DomainAdaptation",
    "Epoch",
    "FashionCNN",
    "Flip",
    "IntervalBoundPropagation",
    "MixedAdversarial",
    "Natural",
    "Objective",
    "Recipe",
    "Scaled",
    "SmallCNN",
    "Standing",
    "Step",
    "Steps",
    "Sum",
    "Term",
    "Trained",
    "Validation",
    "Verified",
    "YaleCNN",
    "as_fit",
    "augmented",
    "build",
    "fit",
    "robust_accuracy",
    "train",
]
