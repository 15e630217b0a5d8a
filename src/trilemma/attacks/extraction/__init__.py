"""Extraction: a student that answers as a victim does. The union is the registry."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Generator, Tensor, nn

from trilemma.attacks.extraction.active_thief import (
    DFAL,
    ActiveThief,
    AtRandom,
    DFALKCenter,
    KCenter,
    Strategy,
    Uncertainty,
    active_thief_method,
)
from trilemma.attacks.extraction.adversarial_training import ExtractionAT, extraction_at_method
from trilemma.attacks.extraction.best import BEST, best_method
from trilemma.attacks.extraction.cloud_leak import (
    CloudLeak,
    FeatureFool,
    cloud_leak_method,
    feature_fool,
)
from trilemma.attacks.extraction.distillation import (
    ARD,
    IAD,
    RSLAD,
    ard_method,
    iad_method,
    rslad_method,
)
from trilemma.attacks.extraction.fine_tune import FineTune, fine_tune_method
from trilemma.attacks.extraction.jacobian import JBDA, jbda_method
from trilemma.attacks.extraction.knockoff_nets import (
    Adaptive,
    KnockoffNets,
    knockoff_nets_method,
)
from trilemma.attacks.extraction.label_dataset import (
    CleanRows,
    LabelDataset,
    SelfAdaptive,
    label_dataset_method,
)
from trilemma.attacks.extraction.learner import Learner
from trilemma.attacks.extraction.method import Method, Thief
from trilemma.attacks.extraction.posterior import (
    infer,
    posterior_interval,
    posterior_intervals,
)
from trilemma.attacks.extraction.rounds import RoundMethod, RoundThief, steal_in_rounds
from trilemma.attacks.extraction.steal import Keeper, Pass, Stolen, steal
from trilemma.attacks.extraction.vanilla import (
    RandomQueries,
    Vanilla,
    random_queries_method,
    vanilla_method,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.types import Rows
from trilemma.oracles import Oracle

# what asks and learns batch by batch
Stepwise: TypeAlias = (
    BEST | Vanilla | RandomQueries | CloudLeak | JBDA | ARD | IAD | RSLAD | ExtractionAT
)
# what searches a pool
Searching: TypeAlias = KnockoffNets | ActiveThief | LabelDataset | FineTune
Extraction: TypeAlias = Stepwise | Searching

EXTRACTIONS: Mapping[type[Stepwise], Callable[[Any], Method]] = {
    BEST: best_method,
    Vanilla: vanilla_method,
    RandomQueries: random_queries_method,
    CloudLeak: cloud_leak_method,
    JBDA: jbda_method,
    ARD: ard_method,
    IAD: iad_method,
    RSLAD: rslad_method,
    ExtractionAT: extraction_at_method,
}
SEARCHES: Mapping[type[Searching], Callable[[Any], RoundMethod]] = {
    KnockoffNets: knockoff_nets_method,
    ActiveThief: active_thief_method,
    LabelDataset: label_dataset_method,
    FineTune: fine_tune_method,
}


def extract(
    oracle: Oracle,
    pool: Rows | Dataset,
    learner: Learner,
    config: Extraction,
    *,
    box: Box = UNIT,
    rng: Generator,
    keeper: Keeper | None = None,
    watch: Callable[[int, Pass], None] | None = None,
) -> Stolen:
    """Steal by the method of `config`; arguments as of `steal` and `steal_in_rounds`.

    A pool with labels of its owner's is a `Dataset`; `KnockoffNets` may look at them, others do
    not.

    What searches a pool in rounds keeps nothing but its ledger: after a kill it begins anew, and
    is answered from there.

    Raises:
        BadInput: an argument that is not what it should be, as a model where an oracle is asked.
    """
    _check(oracle, pool, learner, config, rng)
    if isinstance(config, RoundThief):
        searching = SEARCHES[type(config)](config)
        return steal_in_rounds(
            oracle, pool, learner, config, searching, box=box, rng=rng, watch=watch
        )
    rows = pool.x if isinstance(pool, Dataset) else pool
    method = EXTRACTIONS[type(config)](config)
    return steal(
        oracle, rows, learner, config, method, box=box, rng=rng, keeper=keeper, watch=watch
    )


def _check(oracle: Any, pool: Any, learner: Any, config: Any, rng: Any) -> None:
    """What a user of PyTorch gets wrong first."""
    if isinstance(oracle, nn.Module) or not callable(oracle):
        fix = "Give Local(model, classes=...), or TopLabel around it"
        raise BadInput("oracle", f"is a {type(oracle).__name__}", fix)
    if not isinstance(pool, Tensor | Dataset):
        fix = "Give a tensor, as by torch.from_numpy, or a Dataset"
        raise BadInput("pool", f"is a {type(pool).__name__}", fix)
    if isinstance(learner, nn.Module) or not isinstance(learner, Learner):
        raise BadInput("learner", f"is a {type(learner).__name__}", "Give a Student, or a Learner")
    if type(config) not in (*EXTRACTIONS, *SEARCHES):
        kind = config.__name__ if isinstance(config, type) else type(config).__name__
        known = ", ".join(each.__name__ for each in (*EXTRACTIONS, *SEARCHES))
        raise BadInput("config", f"is {kind}, which is no method", f"Give one of {known}")
    if not isinstance(rng, Generator):
        raise BadInput("rng", f"is a {type(rng).__name__}", "Give a generator: seeded(0)")


def best(
    oracle: Oracle,
    pool: Rows,
    learner: Learner,
    config: BEST | None = None,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> Stolen:
    """Boundary Entropy Searching Thief.

    Args:
        oracle: the victim; only the first of its most probable classes is looked at.
        pool: (m, *x) rows that the thief has, without labels.
        learner: the student; taught in place.
        config: budgets and the search for uncertain examples.
        box: the valid inputs.
        rng: of every draw.

    Source:
        Li et al., "Extracting robust models with uncertain examples", ICLR 2023, algorithm 1.
    """
    return extract(oracle, pool, learner, config or BEST(), box=box, rng=rng)


__all__ = [
    "ARD",
    "BEST",
    "DFAL",
    "EXTRACTIONS",
    "IAD",
    "JBDA",
    "RSLAD",
    "SEARCHES",
    "ActiveThief",
    "Adaptive",
    "AtRandom",
    "CleanRows",
    "CloudLeak",
    "DFALKCenter",
    "Extraction",
    "ExtractionAT",
    "FeatureFool",
    "FineTune",
    "KCenter",
    "Keeper",
    "KnockoffNets",
    "LabelDataset",
    "Learner",
    "Method",
    "Pass",
    "RandomQueries",
    "RoundMethod",
    "RoundThief",
    "Searching",
    "SelfAdaptive",
    "Stepwise",
    "Stolen",
    "Strategy",
    "Thief",
    "Uncertainty",
    "Vanilla",
    "best",
    "extract",
    "feature_fool",
    "infer",
    "posterior_interval",
    "posterior_intervals",
    "steal",
    "steal_in_rounds",
]
