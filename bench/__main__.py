"""
``python -m bench``: measure ours against what else could be used, and write docs/performance.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import compare, page, policies, rules
from bench.goals import LARGE, MIDDLE, NO_HOOKS, OURS, SERVICES, WITH_SERVICES
from bench.results import Results
from bench.tools import ROOT, FloorTool, PulumiTool, TerraformTool, Tool
from toolchain import engine, golang, terraform

PARTS = ("tools", "policies", "rules")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_out = Console(highlight=False, soft_wrap=True)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _say(line: str) -> None:
    _out.print(f"--- {line}", markup=False)


@app.command()
def main(
    sizes: Annotated[str, typer.Option(help="numbers of resources")] = "100,1000,3000,10000",
    repeat: Annotated[int, typer.Option(help="how often each is measured")] = 3,
    tools: Annotated[str, typer.Option(help="only these, by the names in the tables; ';'")] = "",
    parts: Annotated[str, typer.Option(help="of what is measured")] = ",".join(PARTS),
    once: Annotated[float, typer.Option(help="repeat nothing that takes longer, seconds")] = 300,
    limit: Annotated[float, typer.Option(help="leave out what takes longer, seconds")] = 1200,
    broker: Annotated[str, typer.Option(help="RabbitMQ's version")] = "4.0",
    keep: Annotated[bool, typer.Option(help="add to what was measured before")] = False,
    results: Annotated[Path, typer.Option(help="where the measurements are kept")] = page.KEPT,
    write: Annotated[bool, typer.Option(help="write docs/performance.md")] = True,
) -> None:
    """Measure ours against what else could be used, and write docs/performance.md."""
    result = Results.load(results) if keep and results.exists() else Results()
    chosen = parts.split(",")
    result.here({"Python": sys.version.split()[0], "Pulumi's SDK": installed("pulumi")})
    if "tools" in chosen:
        chosen_tools = _tools(result, tools)
        planned = list(compare.runs(chosen_tools, _numbers(sizes), repeat))
        _compare(result, planned, broker, once=once, limit=limit, path=results)
    if "policies" in chosen:
        result.policies = policies.measure(broker, (MIDDLE, LARGE), (1, 10, 100), _say)
    if "rules" in chosen:
        result.rules = rules.measure((MIDDLE, LARGE), repeat)
    result.save(results)
    if write:
        page.write(result)
        _say(f"written: {page.PAGE.relative_to(ROOT)}")


def _tools(results: Results, chosen: str) -> list[Tool]:
    engine_env = engine.ensure(_say)
    every: list[Tool] = [
        PulumiTool(
            name=OURS,
            about="this program, its state saved once at the end, as `make up` runs it",
            program="ours",
            engine_env=engine_env,
            env=engine.QUICK,
        ),
        PulumiTool(
            name="ours, checkpoints",
            about="this program with Pulumi as it comes: its whole state saved at every step",
            program="ours",
            engine_env=engine_env,
        ),
        PulumiTool(
            name=NO_HOOKS,
            about="this program with its safety hooks switched off, for what they cost",
            program="no_hooks",
            engine_env=engine_env,
            env=engine.QUICK,
            largest=MIDDLE,
        ),
        PulumiTool(
            name=WITH_SERVICES,
            about="this program with as many services besides, each with a user of its own",
            program="ours",
            engine_env=engine_env,
            env=engine.QUICK,
            smallest=MIDDLE,
            largest=MIDDLE,
            services=SERVICES,
        ),
        PulumiTool(
            name="plain Pulumi",
            about="the program that everyone writes first: the provider's resources, no hooks",
            program="plain",
            engine_env=engine_env,
        ),
    ]
    try:
        built = terraform.ensure(_say)
        every.append(TerraformTool(terraform=built))
        results.versions |= {"Terraform": built.version, "its provider": built.provider}
    except golang.BuildError as error:
        _say(str(error))
        results.left_out["Terraform"] = "it could not be built here"
    every.append(FloorTool())
    names = [one.name for one in every]
    wanted = [one.strip() for one in chosen.split(";")] if chosen else names
    if unknown := set(wanted) - set(names):
        raise typer.BadParameter(f"no tool {unknown}; there are {'; '.join(names)}")
    results.programs |= {one.name: one.about for one in every if one.name in wanted}
    return [one for one in every if one.name in wanted]


def _compare(
    results: Results,
    planned: Sequence[tuple[int, Tool]],
    broker: str,
    *,
    once: float,
    limit: float,
    path: Path,
) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_out) as progress:
        task = progress.add_task("", total=len(planned))
        for size, tool in planned:
            compare.measure(
                tool,
                size,
                broker,
                once=once,
                limit=limit,
                results=results,
                report=lambda line: progress.update(task, description=line),
            )
            progress.advance(task)
            results.save(path)  # what is measured so far survives an interrupt


if __name__ == "__main__":
    app()
