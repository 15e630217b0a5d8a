"""Several devices for one training: processes that Lightning Fabric starts, one a device."""

import importlib
import logging
import multiprocessing
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from typing import Annotated, Any, Literal, TypeAlias, cast

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from trilemma.core.errors import BadInput, MissingExtra, TrilemmaError
from trilemma.training.engine import Engine, Together

VARIABLE = "TRILEMMA_DEVICES"
Accelerator: TypeAlias = Literal["auto", "cpu", "cuda"]
Progress: TypeAlias = Callable[[int, int, str], None]
Work: TypeAlias = Callable[..., Any]  # (engine, progress, *args)
SPELLED = re.compile(r"(\d+)(?:x(cpu|cuda))?")
PLACES = ("MASTER_PORT", "MASTER_ADDR")  # environment variables by which the processes meet


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Devices:
    """On how many devices, of which kind, one model is trained.

    It says where a training runs, and changes its result by rounding only.

    Args:
        count: of devices. One of the kind is used by this process; for more, processes are
            started, one a device, which share the rows of every batch.
        accelerator: their kind; "auto" are the GPUs of this machine, else its CPU, on which
            processes share the cores.
    """

    count: Annotated[int, Field(ge=1)] = 1
    accelerator: Accelerator = "auto"


def read_devices(text: str) -> Devices:
    """What a number of devices, or a number and a kind, says.

    Raises:
        BadInput: it is neither.

    Example:
        >>> read_devices("2"), read_devices("4xcuda")
        (Devices(count=2, accelerator='auto'), Devices(count=4, accelerator='cuda'))
    """
    match = SPELLED.fullmatch(text.strip())
    if match is None or int(match[1]) < 1:
        raise BadInput("devices", f"got {text!r}", "Give a number (2), or a kind too (2xcuda)")
    return Devices(count=int(match[1]), accelerator=cast(Accelerator, match[2] or "auto"))


def devices_here() -> Devices | None:
    """The devices that this process is told to train on, by $TRILEMMA_DEVICES; None if it is not.

    Raises:
        BadInput: the variable's value is no devices.
        MissingExtra: there is nothing to use them with.
    """
    text = os.environ.get(VARIABLE, "")
    if not text.strip():
        return None
    devices = read_devices(text)
    _fabric()
    return devices


def launch(devices: Devices, work: Work, *args: Any, progress: Progress | None = None) -> Any:
    """Run `work` in one process for each device and hand back what the leading one returns.

    Args:
        devices: how many, of which kind.
        work: called in each process with its `Engine`, a function that reports progress here, and
            `args`. With several devices it must be importable, and a script that calls this needs
            the usual `if __name__ == "__main__":`.
        args: for `work`; with several devices they are pickled, and so is what it returns.
        progress: called in this process with what the leading one reports.

    Raises:
        BadInput: devices that this machine does not have; processes that may not be started here.
        MissingExtra: Lightning Fabric is not installed.
        TrilemmaError: what `work` raised, or that a process died.
    """
    fabric = _started(devices)
    if devices.count == 1:
        return fabric.launch(_in_this_process, work, args, progress or unheard)
    channel = multiprocessing.get_context("spawn").SimpleQueue()
    said = _Said(channel, progress or unheard)
    died: Exception | None = None
    with said.listening(), _own_places():
        try:
            fabric.launch(_in_its_own_process, _Quiet(), channel, pickle.dumps((work, args)))
        except Exception as error:  # torch's own, which quotes the traceback
            died = error
    if said.error is not None:
        raise said.error from died
    if died is not None:
        raise TrilemmaError(f"a training process died: {died}") from died
    return said.result


def unheard(done: int, total: int, note: str) -> None:
    """Nobody asked."""


def _fabric() -> Any:
    try:
        return importlib.import_module("lightning_fabric")
    except ModuleNotFoundError as error:
        if error.name != "lightning_fabric":
            raise
        raise MissingExtra("lightning-fabric", "devices", "Training on devices of choice") from None


def _started(devices: Devices) -> Any:
    fabric = _fabric()
    if devices.count > 1 and multiprocessing.current_process().daemon:
        raise BadInput(
            "devices",
            f"{devices.count} need as many processes, which a Dask worker under a nanny cannot"
            " start",
            "Start workers with `dask worker --no-nanny`, and leave out --workers",
        )
    kind: str = devices.accelerator
    if kind == "auto":  # the engine's own would be a GPU without float64, too
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    strategy = "auto" if devices.count == 1 else "ddp_spawn"
    try:
        return fabric.Fabric(accelerator=kind, devices=devices.count, strategy=strategy)
    except Exception as error:  # each release has its own
        asked = f"{devices.count} x {kind}"
        raise BadInput("devices", f"{asked} is not to be had here ({error})") from error


def _in_this_process(fabric: Any, work: Work, args: tuple[Any, ...], progress: Progress) -> Any:
    return work(Together(fabric), progress, *args)


def _in_its_own_process(
    fabric: Any, quiet: object, channel: "SimpleQueue[Any]", packed: bytes
) -> None:
    try:
        work, args = pickle.loads(packed)  # noqa: S301 - from the process that started this one
        engine: Engine = Together(fabric)

        def report(*how_far: object) -> None:
            channel.put(("progress", how_far))

        result = work(engine, report if engine.leads else unheard, *args)
    except Exception as error:
        channel.put(("error", _sendable(error)))  # before the others miss this process
        raise
    if engine.leads:
        channel.put(("result", pickle.dumps(result)))  # as bytes: tensors would go by shared memory
    fabric.barrier()
    torch.distributed.destroy_process_group()  # its threads outlive no process


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    except Exception:
        return TrilemmaError(f"{type(error).__name__}: {error}")
    return error


class _Said:
    """What the processes say: how far they are, an error, the result."""

    def __init__(self, channel: "SimpleQueue[Any]", progress: Progress) -> None:
        self.channel, self.progress = channel, progress
        self.error: Exception | None = None
        self.result: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """In a thread: a process that says more than a pipe holds would wait, and be waited for."""
        thread = threading.Thread(target=self._listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.channel.put(("end", None))
            thread.join()

    def _listen(self) -> None:
        while True:
            kind, content = self.channel.get()
            if kind == "end":
                return
            if kind == "progress":
                self._report(content)
            elif kind == "result":
                self.result = pickle.loads(content)  # noqa: S301 - from a process started here
            else:
                self.error = self.error or content

    def _report(self, how_far: tuple[int, int, str]) -> None:
        try:
            self.progress(*how_far)
        except Exception as error:
            self.error = self.error or error


class _Quiet:
    """Makes the engine announce nothing in the process that it is sent to."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _hush, ()


def _hush() -> None:
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


@contextmanager
def _own_places() -> Iterator[None]:
    """A port of its own for each launch: the engine would go on with the first one it found."""
    before = {name: os.environ[name] for name in PLACES if name in os.environ}
    try:
        yield
    finally:
        for name in PLACES:
            os.environ.pop(name, None)
        os.environ.update(before)
