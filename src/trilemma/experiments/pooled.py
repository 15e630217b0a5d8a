"""Several trainings in one artifact, each by its seed: packed by the stage that makes them at once,
picked by those that stand for one.
"""

from collections.abc import Mapping
from dataclasses import asdict

from trilemma.experiments.artifact import Artifact
from trilemma.models import parameters
from trilemma.training.train import Trained


def packed(trained: Mapping[int, Trained]) -> Artifact:
    """Arrays `<seed>/<weight>`. Facts: of each seed what `stages.Train` says of a training."""
    arrays, facts = {}, {}
    for seed, done in trained.items():
        for name, weight in done.model.state_dict().items():
            arrays[f"{seed}/{name}"] = weight.detach().cpu().numpy()
        history = [asdict(epoch) for epoch in done.history]
        facts[str(seed)] = {"history": history, "parameters": parameters(done.model)}
    return Artifact(arrays=arrays, facts=facts)


def picked(artifact: Artifact, seed: int) -> Artifact | None:
    """One of them; None where they were not trained at once."""
    if str(seed) not in artifact.facts:
        return None
    start = f"{seed}/"
    own = {k.removeprefix(start): v for k, v in artifact.arrays.items() if k.startswith(start)}
    facts = artifact.facts[str(seed)]
    return Artifact(arrays=own, facts=facts)
