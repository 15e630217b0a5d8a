"""The command line: arguments to specs, outcomes to an exit status. No logic of its own.

Only what `--help` needs is imported here; everything heavier inside the commands.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from trilemma import __version__
from trilemma.core.errors import BadInput, MissingExtra, TrilemmaError

if TYPE_CHECKING:
    from trilemma.experiments.deliver import Outputs
    from trilemma.experiments.store import Store

app = typer.Typer(
    name="trilemma",
    help="Measure what a classifier leaks about its training data, and what robustness costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The data sets that are known here.", no_args_is_help=True)
app.add_typer(data_app, name="data")
claims_app = typer.Typer(help="The papers' findings: reproduced, not reproduced, not run.")
app.add_typer(claims_app, name="claims")

PIPED = 160  # columns of a table that no terminal shows
EXIT = (
    "Exit status: 0 done; 1 an attack failed; 2 bad input; 3 a --fail-if condition holds;"
    " 4 a --fail-if condition cannot be evaluated."
)
Html = Annotated[
    Path | None, typer.Option("--html", help="The report page. Default: NAME.audit.html here.")
]
NoHtml = Annotated[bool, typer.Option("--no-html", help="Write no report page.")]
JsonFile = Annotated[
    str | None, typer.Option("--json", help="The audit document; '-' for standard output.")
]
Junit = Annotated[
    Path | None, typer.Option("--junit", help="Conditions and self-tests as JUnit XML.")
]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="A summary in Markdown.")]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        help="'[model:]attack.metric[.value|.low|.high] op number', also with 'accuracy.METRIC' or"
        " 'stolen.THIEF.PATH' for 'attack.metric'; repeatable.",
    ),
]
StoreRoot = Annotated[
    Path | None,
    typer.Option("--store", help="Where results are kept. Default: $TRILEMMA_STORE or the cache."),
]
Workers = Annotated[int, typer.Option(min=0, help="Compute in this many local processes.")]
Scheduler = Annotated[
    str | None, typer.Option(help="A Dask cluster: tcp://host:8786 or tls://host:8786.")
]
Devices = Annotated[
    str | None,
    typer.Option(
        help="Train each model on several devices: 2, 4xcuda. Default: $TRILEMMA_DEVICES."
    ),
]
File = Annotated[Path | None, typer.Argument(help="A declared experiment (YAML).")]
Factory = Annotated[
    str | None, typer.Option("--model", help="Your own model: package.module:factory.")
]
Weights = Annotated[Path | None, typer.Option(help="Its weights, a safetensors file.")]
Members = Annotated[
    Path | None,
    typer.Option(help="Rows it was trained on: npz (x, y), CSV, Parquet, or images by class."),
]
Nonmembers = Annotated[Path | None, typer.Option(help="Rows it never saw, in any of these forms.")]
Eps = Annotated[str | None, typer.Option(help="L_inf budget of adversarial inputs; 8/255 is fine.")]
Thoroughly = Annotated[
    bool, typer.Option("--thorough", help="Measure robustness by AutoAttack, too: slow.")
]
ThoroughRows = Annotated[
    int | None,
    typer.Option(min=1, help="--thorough, on at most so many rows of each part. [default: 512]"),
]
Classes = Annotated[
    int | None, typer.Option(min=2, help="Classes of --model, where labels do not name all.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of a --model audit. [default: 0]")]
Recorded = Annotated[
    list[Path] | None, typer.Option("--predictions", help="Recorded answers; repeatable.")
]
Names = Annotated[
    list[str] | None, typer.Option("--name", help="Name of the model; one for each --predictions.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command(epilog=EXIT)
def audit(  # noqa: PLR0913  # one parameter an option, as typer wants it
    file: File = None,
    model: Factory = None,
    weights: Weights = None,
    members: Members = None,
    nonmembers: Nonmembers = None,
    eps: Eps = None,
    thorough: Thoroughly = False,
    thorough_rows: ThoroughRows = None,
    classes: Classes = None,
    seed: Seed = None,
    predictions: Recorded = None,
    name: Names = None,
    json_file: JsonFile = None,
    html: Html = None,
    no_html: NoHtml = False,
    markdown: Markdown = None,
    junit: Junit = None,
    fail_if: FailIf = None,
    store: StoreRoot = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    devices: Devices = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Audit a model: a declared experiment, your own model, or recorded predictions."""

    def run() -> int:
        from trilemma.experiments.declared import Own, Thorough, choose

        own = Own(
            factory=model,
            weights=weights,
            members=members,
            nonmembers=nonmembers,
            eps=eps,
            classes=classes,
            seed=seed,
        )
        costly = Thorough(asked=thorough, rows=thorough_rows)
        table = choose(file, own, predictions or [], name or [], costly)
        outputs = _outputs(json_file, html, markdown, junit, page=not no_html, quiet=quiet)
        return _deliver(table, fail_if, outputs, store, workers, scheduler, devices)

    _finish(run, debug)


@app.command(epilog=EXIT)
def demo(  # noqa: PLR0913  # as above
    json_file: JsonFile = None,
    html: Html = None,
    no_html: NoHtml = False,
    markdown: Markdown = None,
    junit: Junit = None,
    fail_if: FailIf = None,
    store: StoreRoot = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a natural and a robust model on real digits and audit both side by side."""

    def run() -> int:
        from trilemma.experiments.declared import DEMO, read

        outputs = _outputs(json_file, html, markdown, junit, page=not no_html, quiet=quiet)
        return _deliver(read(DEMO), fail_if, outputs, store, workers)

    _finish(run, debug)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the audit document."""
    import json

    from trilemma.experiments.reports import schema as published

    typer.echo(json.dumps(published(), indent=2))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@data_app.command("list")
def data_list() -> None:
    """Which data sets are present, from where, their size, licence and deviations."""
    from trilemma.data.catalogue import listing
    from trilemma.experiments.tables import data_table

    _show(data_table(listing()))


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="As `trilemma data list` names it.")],
) -> None:
    """Download a data set from its own published address, with its checksum."""

    def run() -> int:
        from trilemma.data.catalogue import absent, known, locate
        from trilemma.data.download import fetch

        entry = known(name)
        found = locate(entry)
        if found is None and not entry.remotes:
            raise absent(entry)
        paths = fetch(entry) if found is None else found.paths
        typer.echo("\n".join(map(str, paths)) or f"{name} ships with {entry.ships_with}")
        return 0

    _finish(run, debug=False)


@claims_app.callback(invoke_without_command=True)
def claims(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="The ledger as JSON.")] = False,
) -> None:
    """The papers' findings: reproduced, not reproduced, not run."""
    if context.invoked_subcommand is None:
        from trilemma.experiments.claims import ledger
        from trilemma.experiments.tables import claims_table

        found = ledger()
        if as_json:
            typer.echo(json.dumps([each.to_json() for each in found], indent=1))
        else:
            _show(claims_table(found))


@claims_app.command("studies")
def claims_studies() -> None:
    """The declared studies: what each shows, how long it takes, and whether it was run."""

    def run() -> int:
        from trilemma.experiments.study import studies, study
        from trilemma.experiments.tables import studies_table

        _show(studies_table(list(map(study, studies()))))
        return 0

    _finish(run, debug=False)


@claims_app.command("run", epilog=EXIT)
def claims_run(  # noqa: PLR0913  # as above
    study: Annotated[str, typer.Argument(help="As `trilemma claims studies` names it.")],
    scale: Annotated[
        str, typer.Option(help="'cpu' ends on two cores, 'paper' has the paper's sizes.")
    ] = "cpu",
    json_file: JsonFile = None,
    html: Html = None,
    no_html: NoHtml = False,
    store: StoreRoot = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    devices: Devices = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a study anew (up to hours on two cores; interrupted, it continues) and report on it."""

    def run() -> int:
        from trilemma.experiments.study import study as declared

        outputs = _outputs(json_file, html, page=not no_html, quiet=quiet)
        table = declared(study).table(scale)
        return _deliver(table, None, outputs, store, workers, scheduler, devices)

    _finish(run, debug)


def main() -> None:
    """Run the command line."""
    from trilemma.experiments.allocation import keep_freed_memory

    keep_freed_memory()
    app()


def _store(root: Path | None) -> "Store":
    from trilemma.experiments.store import Store

    return Store(root) if root is not None else Store()


def _show(table: object) -> None:
    from rich.console import Console

    terminal = sys.stdout.isatty()
    Console(width=None if terminal else PIPED, soft_wrap=not terminal).print(table)


def _outputs(
    json_file: str | None,
    html: Path | None,
    markdown: Path | None = None,
    junit: Path | None = None,
    *,
    page: bool,
    quiet: bool,
) -> "Outputs":
    from trilemma.experiments.deliver import Outputs

    return Outputs(
        json=json_file, html=html, page=page, markdown=markdown, junit=junit, quiet=quiet
    )


def _deliver(
    table: dict[str, Any],
    conditions: list[str] | None,
    outputs: "Outputs",
    store: Path | None,
    workers: int,
    scheduler: str | None = None,
    devices: str | None = None,
) -> int:
    from trilemma.experiments.deliver import deliver

    return deliver(
        table,
        conditions or [],
        outputs,
        store=_store(store),
        workers=workers,
        scheduler=scheduler,
        devices=devices,
    )


def _finish(run: Callable[[], int], debug: bool) -> NoReturn:
    """Run; an error of ours is one sentence and shows no traceback unless asked.

    Bad input and a missing extra are status 2; what goes wrong later (a full disk, a download that
    fails) is status 1.
    """
    try:
        raise typer.Exit(run())
    except TrilemmaError as error:
        if debug:
            raise
        typer.echo(f"trilemma: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, BadInput | MissingExtra) else 1) from None
    except KeyboardInterrupt:
        typer.echo("trilemma: stopped; what was finished is kept, run again to go on", err=True)
        raise typer.Exit(130) from None
