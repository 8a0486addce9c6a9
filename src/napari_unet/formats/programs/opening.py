"""What opening a program has in common, whatever its kind: trust, probing, the spec."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_unet.engine.model import Model
from napari_unet.engine.spec import ModelSpec, ProgramSpec
from napari_unet.errors import CheckpointError, Interrupted
from napari_unet.formats.interrupt import Interrupt
from napari_unet.formats.programs.child import Child, ChildError
from napari_unet.formats.programs.facts import Facts
from napari_unet.formats.programs.program import Program, request
from napari_unet.formats.remembered import remembered

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.spec import Activation, Output, Source
    from napari_unet.formats.programs.facts import Family

MEASURING = 12.0  # seconds, after which what is not known is guessed
PATIENCE = 60.0  # seconds, after which the process is killed
PROBE_MEMORY = 3 * 2**30  # bytes beyond the libraries, for images of 512 x 64 pixels
WEIGHT_COPIES = 6  # of the file's size, that opening may hold at once
LARGEST_CODE = 2**26  # bytes of unpacked source in an archive


def require_trust(path: Path, family: Family, trust: bool) -> None:
    """Refuse a program that the user does not trust.

    Raises
    ------
    CheckpointError
        Saying what it is, and what can be done.
    """
    if not trust:
        raise CheckpointError(
            f"{path.name} is a program ({family}): opening it runs its code. Tick "
            '"I trust this file" (--trust) if you know where it comes from.'
        )


def open_program(
    path: Path, family: Family, interrupt: Interrupt | None = None, owner: object = None
) -> Model:
    """Open a program in a process of its own and find out what it takes and gives.

    Parameters
    ----------
    path : the file
    family : its kind
    interrupt : ends the wait from another thread
    owner : kept as long as the model, such as the temporary folder of the file

    Raises
    ------
    CheckpointError
        If it is no network of images, fails, or takes too much memory or time.
    Interrupted
        If the wait was ended.
    """
    child = Child()
    try:
        with (interrupt or Interrupt()).ending(child.kill):
            facts = _probed(child, path, family)
    except ChildError as error:
        child.close()
        raise _as_sentence(path.name, family, error) from error
    spec = remembered(path, _spec(path, family, facts))
    program = Program(path, spec.architecture, facts.output, child=child, owner=owner)  # type: ignore[arg-type]  # _spec made it
    return Model(program, spec)


def _probed(child: Child, path: Path, family: Family) -> Facts:
    size = path.stat().st_size
    header: dict[str, Any] = {
        **request("probe", path, family, "cpu"), "seconds": MEASURING,
    }  # fmt: skip
    header["memory"] = min(header["memory"], PROBE_MEMORY + WEIGHT_COPIES * size)
    answer, _ = child.ask(header, seconds=PATIENCE)
    try:
        return Facts.model_validate(answer.get("facts"))
    except ValidationError as error:
        raise ChildError("failed", "it is not clear what it does") from error


def _as_sentence(
    name: str, family: Family, error: ChildError
) -> CheckpointError | Interrupted:
    if error.problem == "interrupted":
        return Interrupted(f"Opening {name} was interrupted.")
    if error.problem == "refused":
        return CheckpointError(f"{name} {error.words}")
    what = {
        "memory": "takes more memory than it may for a small image, expected a network "
        "that computes one",
        "late": f"gave no answer for a small image within {PATIENCE:.0f} s, expected "
        "scores",
        "absent": f"needs the package {error.words}, which is not installed: install "
        "napari-unet-workbench[onnx], or",
        "failed": f"cannot be used by {family} ({error.words}), expected a program "
        "that gives scores for an image",
    }.get(error.problem, f"ended by itself ({error.words}), expected scores")
    link = "" if error.problem == "absent" else ":"
    return CheckpointError(f"{name} {what}{link} choose another file.")


def _spec(path: Path, family: Family, facts: Facts) -> ModelSpec:
    """Return what is known of a program; what its output means is a guess."""
    shared = set(ProgramSpec.model_fields) & set(Facts.model_fields)
    architecture = ProgramSpec(
        family=family, **{name: getattr(facts, name) for name in shared}
    )
    activation, output = _meaning(facts)
    remarks = list(facts.remarks)
    if not facts.limited:
        remarks.append("the memory of the program cannot be limited on this system")
    sources: dict[str, Source] = {
        "architecture": "inferred", "output": "guessed", "normalization": "guessed",
        "activation": "inferred" if activation else "guessed",
    }  # fmt: skip
    return ModelSpec(
        name=path.stem, architecture=architecture, output=output,
        activation=activation, remarks=tuple(remarks), sources=sources,
    )  # fmt: skip


def _meaning(facts: Facts) -> tuple[Activation | None, Output]:
    """Return whether the program's output are scores already, and of what."""
    scores = facts.low >= 0 and facts.high <= 1
    if facts.out_channels == 1:
        return ("none" if scores else None), "foreground"
    if scores:
        return "none", ("classes" if facts.whole else "multilabel")
    return None, "classes"


def members(path: Path) -> list[str]:
    """Return the names in an archive without its own folder; none if it is not one."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return [name.partition("/")[2] for name in archive.namelist()]


def check_archive(path: Path) -> None:
    """Refuse an archive that is damaged, or that would unpack to more than it shows.

    Raises
    ------
    CheckpointError
        Naming the member.
    """
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        packed = [info for info in infos if info.compress_type]
        code = sum(info.file_size for info in packed)
        held = path.stat().st_size
        if any(info.file_size > held for info in infos if not info.compress_type):
            raise CheckpointError(
                f"{path.name} states members larger than itself: copy it again."
            )
        names = [info.filename for info in packed]
        strange = [n for n in names if not n.partition("/")[2].startswith("code/")]
        if strange or code > LARGEST_CODE:
            name = strange[0] if strange else "code/"
            raise CheckpointError(
                f"{path.name} has the packed member {name[:80]}, expected packed code "
                "only: save it again with torch."
            )
        checked = any(info.CRC for info in infos)  # torch may write none (B8)
        damaged = archive.testzip() if checked else None
    if damaged:
        raise CheckpointError(
            f"{path.name} is damaged, the checksum of {damaged[:80]} differs: copy it "
            "again."
        )
