"""Training: one loop, one objective a method, recipes."""

from trilemma.training.augmentation import Augmentation, Crop, Flip, augmented
from trilemma.training.checkpoints import Checkpoint
from trilemma.training.devices import Devices, launch
from trilemma.training.fit import Step, fit
from trilemma.training.history import Epoch
from trilemma.training.objectives import (
    L1,
    L2,
    TRADES,
    AbstractInterpretation,
    Adversarial,
    AdversarialRegularisation,
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
from trilemma.training.privacy import DifferentialPrivacy, Spent
from trilemma.training.recipes import (
    MLP,
    FashionCNN,
    PlainResNet,
    PooledCNN,
    Recipe,
    SmallCNN,
    WideResNet,
    YaleCNN,
    build,
)
from trilemma.training.regression import Regressed, Stopping, regress
from trilemma.training.schedule import SGD, Adam, Constant, Cosine, Steps
from trilemma.training.together import train_together
from trilemma.training.train import Trained, as_fit, train
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
    "AdversarialRegularisation",
    "Augmentation",
    "Batch",
    "Checkpoint",
    "Constant",
    "Cosine",
    "Crop",
    "Devices",
    "DifferentialPrivacy",
    "DistributionalTraining",
    "DomainAdaptation",
    "Epoch",
    "FashionCNN",
    "Flip",
    "IntervalBoundPropagation",
    "MixedAdversarial",
    "Natural",
    "Objective",
    "PlainResNet",
    "PooledCNN",
    "Recipe",
    "Regressed",
    "Scaled",
    "SmallCNN",
    "Spent",
    "Standing",
    "Step",
    "Steps",
    "Stopping",
    "Sum",
    "Term",
    "Trained",
    "Validation",
    "Verified",
    "WideResNet",
    "YaleCNN",
    "as_fit",
    "augmented",
    "build",
    "fit",
    "launch",
    "regress",
    "robust_accuracy",
    "train",
    "train_together",
]
