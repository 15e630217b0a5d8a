"""What a private training promises, and what its steps have cost of it."""

import dataclasses
import functools
import importlib
import math
import warnings
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from trilemma.core.errors import BadInput, MissingExtra

Delta: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Length: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Noise: TypeAlias = Annotated[float, Field(ge=0.01, allow_inf_nan=False)]
Epsilon: TypeAlias = Annotated[float, Field(gt=0, le=1e4)]
NEAR = 1e-3  # of a declared epsilon: how far below it the found noise may stay
# Orders of the Renyi divergence: each gives a valid bound, and the least of them counts
ORDERS = (
    *(1.01, 1.02, 1.05),
    *(1 + x / 10 for x in range(1, 40)),
    *(x / 2 for x in range(10, 24)),
    *range(12, 64),
    *(2**power for power in range(6, 13)),
)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class DifferentialPrivacy:
    r"""Each row's gradient shortened, and noise on their sum: DP-SGD and DP-Adam (Abadi et al.).

    .. math:: \tilde g = \frac1L \Big(\sum_{i \in B} g_i \min\big(1, \tfrac{C}{\|g_i\|_2}\big)
        + \mathcal N(0, \sigma^2 C^2 I)\Big)

    is what the recipe's optimiser (`SGD`, `Adam`) gets for the gradient. Each of the n rows is in
    the batch B of a step with probability L / n by itself (Poisson sampling), L the recipe's
    `batch`; an epoch has ceil(n / L) steps. Gradients by row, noise and accountant are those of
    Opacus. Rows are added or removed to get from a data set to its neighbour; their number n, the
    recipe and the box count as public.

    The accounted epsilon is of the weights after all declared epochs, early stop or not, and holds
    if nobody knows the noise. That comes from the training's seed, so that an audit repeats: who
    releases a model keeps the seed secret. It comes from recipe, objective and data, too, as does
    which rows a step has, so that trainings which differ in anything, with one seed or several,
    draw independently of each other, and what they cost adds up. What Opacus calls its secure mode
    (a cryptographic generator, and noise that withstands attacks on floating point numbers) is not
    used.

    Args:
        clip_norm: C, the longest gradient of a row that is left as it is (Euclidean, over all
            parameters).
        noise_multiplier: sigma, from 0.01 on; None finds the least that keeps `epsilon`.
        epsilon: what the whole training may cost, up to 10,000; None where the noise is given.
        delta: of the (epsilon, delta)-privacy; less than 1 / n.

    Raises:
        ValueError: neither noise nor epsilon is given, or both.

    Source:
        Abadi et al., "Deep learning with differential privacy", CCS 2016, algorithm 1; Mironov,
        Talwar, Zhang, "Renyi differential privacy of the sampled Gaussian mechanism", 2019 (the
        accountant); Yousefpour et al., "Opacus: user-friendly differential privacy library in
        PyTorch", 2021. Li & Zhang 2021, section 6, take the noise multipliers 0.1, 0.5 and 1.1.
    """

    REVISION: ClassVar[int] = 2

    clip_norm: Length = 1.0
    noise_multiplier: Noise | None = None
    epsilon: Epsilon | None = None
    delta: Delta = 1e-5

    def __post_init__(self) -> None:
        if (self.noise_multiplier is None) == (self.epsilon is None):
            given = "neither is" if self.epsilon is None else "both are"
            raise ValueError(
                f"noise_multiplier and epsilon: {given} given; give one, the other follows from it"
            )


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a private training has cost: it is (epsilon, delta)-differentially private.

    Args:
        epsilon: by the accountant, an upper bound; infinite where it finds none.
        delta: the probability left to chance.
        noise_multiplier: sigma; the noise has a deviation of sigma * clip_norm.
        clip_norm: longest gradient of a row.
        sampling_rate: probability of a row to be in the batch of a step.
        steps: accounted for.
        mechanism: `DP-SGD` or `DP-Adam`.
        accountant: by which epsilon was found.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    clip_norm: float
    sampling_rate: float
    steps: int
    mechanism: str
    accountant: str = "RDP"

    def to_json(self) -> dict[str, Any]:
        """As plain values; no number stands for an infinite epsilon."""
        finite = math.isfinite(self.epsilon)
        return {**dataclasses.asdict(self), "epsilon": self.epsilon if finite else None}


@dataclass(frozen=True, kw_only=True)
class Account:
    """The steps of a private training as its accountant sees them.

    Args:
        mechanism: `DP-SGD` or `DP-Adam`.
        clip_norm: C.
        noise_multiplier: sigma.
        delta: of the privacy.
        rows: n.
        batch: L, rows of a step on average.
    """

    mechanism: str
    clip_norm: float
    noise_multiplier: float
    delta: float
    rows: int
    batch: int

    @property
    def sampling_rate(self) -> float:
        """L / n."""
        return self.batch / self.rows

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return math.ceil(self.rows / self.batch)

    def after(self, epochs: int) -> Spent:
        """What so many epochs cost."""
        steps = epochs * self.steps
        epsilon = epsilon_of(self.noise_multiplier, self.sampling_rate, steps, self.delta)
        return Spent(
            epsilon=epsilon,
            delta=self.delta,
            noise_multiplier=self.noise_multiplier,
            clip_norm=self.clip_norm,
            sampling_rate=self.sampling_rate,
            steps=steps,
            mechanism=self.mechanism,
        )


def account_of(
    privacy: DifferentialPrivacy, mechanism: str, *, rows: int, batch: int, epochs: int
) -> Account:
    """The account of a training that is to last `epochs`; noise is found where it is not given.

    Args:
        privacy: what is promised.
        mechanism: `DP-SGD` or `DP-Adam`.
        rows: of the training set.
        batch: rows of a step on average; all where there are fewer.
        epochs: of the whole training.

    Raises:
        BadInput: a delta that promises nothing, or an epsilon that no noise keeps.
        MissingExtra: Opacus is not installed.
    """
    opacus_here()
    if privacy.delta * rows >= 1:
        raise BadInput(
            "privacy.delta",
            f"is {privacy.delta:g} with {rows} rows: to publish one of them at random would do",
            f"Give less than {1 / rows:.2g}",
        )
    batch = min(batch, rows)
    noise = privacy.noise_multiplier
    if noise is None:
        steps = epochs * math.ceil(rows / batch)
        noise = noise_for(privacy.epsilon or math.inf, batch / rows, steps, privacy.delta)
    return Account(
        mechanism=mechanism,
        clip_norm=privacy.clip_norm,
        noise_multiplier=noise,
        delta=privacy.delta,
        rows=rows,
        batch=batch,
    )


def epsilon_of(noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    r"""Upper bound of the epsilon of some steps of the sampled Gaussian mechanism (Opacus, RDP).

    Args:
        noise_multiplier: sigma.
        sampling_rate: q, in (0, 1].
        steps: how many.
        delta: of the privacy, in (0, 1).

    Returns:
        Epsilon >= 0; 0 without steps, infinite where the divergence is beyond the numbers.

    Example:
        >>> [round(epsilon_of(1.0, 1.0, steps, 1e-5), 2) for steps in (1, 2)]
        [4.73, 7.08]
    """
    if steps == 0:
        return 0.0
    rdp = [steps * each for each in _of_one_step(noise_multiplier, sampling_rate)]
    analysis = opacus_here("accountants.analysis.rdp")
    with _extreme_orders():
        epsilon, _ = analysis.get_privacy_spent(orders=ORDERS, rdp=rdp, delta=delta)
    return math.inf if math.isnan(epsilon) else max(0.0, float(epsilon))


@functools.lru_cache(maxsize=64)
def _of_one_step(noise_multiplier: float, sampling_rate: float) -> tuple[float, ...]:
    """Renyi divergence at each order; over steps it adds up."""
    analysis = opacus_here("accountants.analysis.rdp")
    found = analysis.compute_rdp(
        q=sampling_rate, noise_multiplier=noise_multiplier, steps=1, orders=ORDERS
    )
    return tuple(map(float, found))


def noise_for(epsilon: float, sampling_rate: float, steps: int, delta: float) -> float:
    """The least noise multiplier, to a thousandth of epsilon, under which so many steps keep it.

    Raises:
        BadInput: no noise does.
    """
    found = opacus_here("accountants.utils").get_noise_multiplier
    try:
        with _extreme_orders():
            return float(
                found(
                    target_epsilon=epsilon,
                    target_delta=delta,
                    sample_rate=sampling_rate,
                    steps=steps,
                    accountant="rdp",
                    epsilon_tolerance=NEAR * epsilon,
                    alphas=list(ORDERS),
                )
            )
    except (ValueError, ArithmeticError) as error:
        raise BadInput(
            "privacy.epsilon",
            f"{epsilon:g} is not to be kept over {steps} steps with delta {delta:g} ({error})",
            "Give more, or the noise_multiplier",
        ) from error


def opacus_here(part: str = "") -> Any:
    """Opacus, or a module of it.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(f"opacus.{part}" if part else "opacus")
    except ModuleNotFoundError as error:
        if error.name != "opacus":
            raise
        raise MissingExtra("opacus", "private", "Training with differential privacy") from None


def _extreme_orders() -> "warnings.catch_warnings[None]":
    """Without Opacus's advice to try further orders: any order's bound is valid."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
