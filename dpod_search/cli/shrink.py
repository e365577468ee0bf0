"""The guided command: a model, data and a goal in, the smaller net out."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dpod_search.cli.options import AsJson
from dpod_search.cli.options import Jobs
from dpod_search.cli.options import LatencyTableFile
from dpod_search.cli.options import Out
from dpod_search.cli.options import Quiet
from dpod_search.cli.options import Seed
from dpod_search.cli.options import Sets
from dpod_search.cli.terminal import hearing_models
from dpod_search.cli.terminal import make_bars
from dpod_search.cli.terminal import say
from dpod_search.cli.terminal import show_json
from dpod_search.goals import parse_goal


EXAMPLE = (
    "shrink --model my_models:make --weights net.pth --data pictures/ "
    '--goal "latency<=50%, accuracy>=-1pt" --formats onnx'
)

_UNMET = 1  # exit code of a goal that was shown to be out of reach


def shrink(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Your model: package.module:function, file.py:function, or a name such as "
            "torchvision:mobilenet_v2.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="DATA",
            help="A folder of pictures in class folders, a .txt or .npz file, a function of yours, or "
            "data as studies name them.",
        ),
    ],
    goal: Annotated[
        str,
        typer.Option(
            "--goal",
            metavar="GOAL",
            help="What is wanted: 'latency<=50%, accuracy>=-1pt', 'fastest within 1 point', "
            "'best under 100 kB'; without it the whole front.",
        ),
    ] = "front",
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Trained weights, .pth or .safetensors."),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--formats",
            metavar="FORMATS",
            help="What to write: safetensors, torch_export, onnx, onnx_int8, a comma between them.",
        ),
    ] = None,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    latency_table: LatencyTableFile = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Shrink a model to a goal. Chooses the way, goes on until it is reached, exports what fulfils it."""
    parse_goal(goal)
    # PyTorch takes seconds to import, which nobody has to wait who asks for help or errs.
    from dpod_search.pipeline.shrinking import ShrinkRequest
    from dpod_search.pipeline.shrinking import plan_shrinking
    from dpod_search.pipeline.shrinking import read_shrunk
    from dpod_search.pipeline.shrinking import shrink as work

    plan = plan_shrinking(
        ShrinkRequest(
            model=model,
            data=data,
            goal=goal,
            weights=weights,
            formats=None if formats is None else _split(formats),
            sets=tuple(sets or ()),
            seed=seed,
            latency_table=latency_table,
            n_jobs=jobs,
        )
    )
    folder = out or Path("runs") / plan.config.name
    is_silent = quiet or as_json
    with (
        make_bars(is_quiet=is_silent) as bars,
        nullcontext() if quiet else hearing_models(bars.say),
    ):
        record = work(plan, folder, progress=bars, tell=None if is_silent else bars.say)
    found = read_shrunk(folder, record)
    if as_json:
        show_json(found.to_json())
    elif not quiet:
        for line in found.describe(plan.goal):
            say(line)
        say(f"report: {folder / 'report.html'}")
    if record.state == "unmet":
        raise typer.Exit(_UNMET)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
