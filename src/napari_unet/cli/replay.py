"""``napari-unet replay``: the fine-tunings of a project, repeated without a window."""

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_unet.cli.options import Json
from napari_unet.cli.output import speaking
from napari_unet.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet.project.replaying import Replayed


def replay(
    project: Annotated[
        Path, typer.Argument(help="The folder of a project; nothing in it is changed.")
    ],
    version: Annotated[
        int | None, typer.Option(help="Only this version; default: all in turn.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or mps; default: where it was fine-tuned."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Repeat every fine-tuning of a project and compare the weights."""
    with speaking(as_json) as output:
        from napari_unet.project.replaying import Replay

        replaying = Replay(project, device)
        numbers = replaying.numbers(version)
        done = [output.follow(replaying.steps(n), f"version {n}") for n in numbers]
        same = all(each.same for each in done)
        output.result(
            "\n".join(map(_in_words, done)) or _nothing(project),
            {
                "project": str(project), "same": same,
                "versions": [_facts(each) for each in done],
            },
        )  # fmt: skip
        if not same:
            raise ProjectError(_refusal(done))


def _facts(done: "Replayed") -> dict[str, Any]:
    """Return what JSON can hold."""
    facts = asdict(done)
    largest = done.largest_difference
    if largest is not None and not isfinite(largest):
        facts["largest_difference"] = None
    return facts


def _in_words(done: "Replayed") -> str:
    number = f"version {done.version}"
    if done.largest_difference is None:
        return f"{number}: could not be repeated, {done.why}"
    found = "the same weights to the bit"
    if not done.same:
        found = f"weights differ by up to {done.largest_difference:.2g}, {done.why}"
    threads = "1 thread" if done.threads == 1 else f"{done.threads} threads"
    return (
        f"{number}: {found}; {done.steps} steps in {done.seconds:.1f} s on "
        f"{done.device} with {threads}"
    )


def _nothing(project: Path) -> str:
    return f"There is nothing to repeat in {project}: no version was fine-tuned."


def _refusal(done: "Sequence[Replayed]") -> str:
    """Return one sentence on what did not come to the same."""
    other = [each for each in done if not each.same]
    reasons = "; ".join(f"version {each.version}: {each.why}" for each in other)
    return (
        f"{len(other)} of {len(done)} fine-tunings did not come to the same weights "
        f"({reasons})."
    )
