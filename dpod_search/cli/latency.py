"""The ``latency`` commands: what to measure, measuring it on any device, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from dpod_search.cli.options import AsJson
from dpod_search.cli.options import Quiet
from dpod_search.cli.options import Run
from dpod_search.cli.options import Seed
from dpod_search.cli.options import Sets
from dpod_search.cli.options import Study
from dpod_search.cli.options import load_config
from dpod_search.cli.options import make_console
from dpod_search.cli.places import find_study_of
from dpod_search.cli.terminal import make_bars
from dpod_search.cli.terminal import say
from dpod_search.cli.terminal import show_json
from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.quantities import kib


if TYPE_CHECKING:
    from dpod_search.config import StudyConfig
    from dpod_search.supernet import Supernet


latency = typer.Typer(
    name="latency",
    help="Measure latency, on this or another device. For `latency` as objective and budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Example: dpod-search latency request --study digits",
)

_Written = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write.")]
_Backend = Annotated[
    str | None,
    typer.Option("--backend", metavar="NAME", help="eager, compile or onnxruntime."),
]
_Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")
]


@latency.command(epilog="Example: dpod-search latency request --study digits")
def request(
    study: Study = None,
    run: Run = None,
    out: _Written = Path("latency_request.json"),
    backend: _Backend = None,
    threads: _Threads = None,
    sets: Sets = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Write what a device has to measure for a study: one file, without weights and data."""
    from dpod_search.latency import make_request
    from dpod_search.latency import pack_nets
    from dpod_search.latency import write_request

    changes = list(sets or ())
    changes += [f'latency.backend="{backend}"'] if backend else []
    changes += [f"latency.n_threads={threads}"] if threads else []
    config = load_config(find_study_of(study, run, None), changes, seed)
    supernet = _build(config)
    wanted = make_request(supernet, config.latency, seed=config.seed)
    with make_bars(is_quiet=quiet) as bars:
        packed = pack_nets(wanted, supernet, progress=bars)
    write_request(packed, out)
    if not quiet:
        size = kib(out.stat().st_size)
        say(
            f"{out}: {len(packed.layers)} layers at {packed.n_cells} widths and "
            f"{len(packed.nets)} nets, {size} KiB; on the device: "
            f"dpod-search latency measure {out.name} --out latency_table.json"
        )


@latency.command(epilog="Example: dpod-search latency measure latency_request.json")
def measure(
    request_file: Annotated[Path, typer.Argument(metavar="REQUEST", help="The request file.")],
    out: _Written = Path("latency_table.json"),
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:<n> or mps.")
    ] = "cpu",
    quiet: Quiet = False,
) -> None:
    """Measure on this device what a request asks for; needs no model and no data."""
    import torch

    from dpod_search.latency import measure_request
    from dpod_search.latency import read_request
    from dpod_search.latency import read_table
    from dpod_search.placement import parse_device

    wanted = read_request(request_file)
    known = read_table(out) if out.is_file() else None
    where = parse_device(device)
    try:
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        reason = shorten(str(error).splitlines()[0], 300)
        raise ConfigError(f"device {device!r} cannot be used ({reason})") from error
    with make_bars(is_quiet=quiet) as bars:
        table = measure_request(
            wanted,
            device=where,
            known=known,
            progress=bars,
            keep=lambda found: found.write(out),
        )
    table.write(out)
    if not quiet:
        say(
            f"{out}: {len(table.layers)} layers and {len(table.nets)} nets on "
            f"{table.device.processor}, {table.device.version}; use it: "
            f"dpod-search run --study <study> --latency-table {out.name}"
        )


@latency.command(
    epilog="Example: dpod-search latency show --study digits --table latency_table.json"
)
def show(
    study: Study = None,
    run: Run = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", "-t", metavar="FILE", help="The table; that of the run folder by default."
        ),
    ] = None,
    sets: Sets = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Show how right a table makes the latency model of a study."""
    from dpod_search.cli.show import show_latency
    from dpod_search.latency import fit_latency
    from dpod_search.latency import read_table
    from dpod_search.pipeline.latency_table import TABLE

    config = load_config(find_study_of(study, run, None), sets, seed)
    if table is None and run is None:
        raise ConfigError(
            "no table was given; give --table with a file that `dpod-search latency measure` "
            "wrote, or --run with the folder of a run that has one"
        )
    held = read_table(table or Path(run or "") / TABLE)
    supernet = _build(config)
    model = fit_latency(
        supernet, held, n_held_out=config.latency.n_held_out, max_error=float("inf")
    )
    found = {
        "device": held.device.to_json(),
        "full_ms": float(f"{model.measure(supernet.space.full):.4g}"),
        "smallest_ms": float(f"{model.measure(supernet.space.smallest):.4g}"),
        "max_error": config.latency.max_error,
        **model.to_json(),
    }
    if as_json:
        show_json(found)
    else:
        show_latency(make_console(), found)


def _build(config: StudyConfig) -> Supernet:
    from dpod_search.data import load_data
    from dpod_search.pipeline.nets import build_study

    return build_study(config, load_data(config.data, config.seed))
