"""What is lost when the program is killed at a random moment.

A real napari with a person at work in it (_fault_hand.py) is killed (SIGKILL) while it
paints, uses tools, predicts, trains, saves or closes. Then its project is opened again:
what is there must be exactly what was there at some moment within the last two seconds,
and the project must be valid. Written masks must be whole.

Then the same on disks that fail (needs the right to mount, on Linux): a full disk and
a folder that became read-only, both mended later, after which all must be kept; and the
image's disk taken away.

    python benchmarks/faults.py --kills 50 --disks
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import arguments, machine, report, say, stop
from _fault_hand import PHASES, checksums
from _window import ensure_display

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

LOSS = 2.0  # seconds of work that may be lost
LONGEST = 4.0  # seconds of work before the kill
FAILING = 8.0  # seconds that a disk is broken
RETRIED = 32.0  # seconds after which a failed writing was tried again
SMALL = "3m"  # size of a small disk
START = 240  # seconds that a start may take on a loaded machine


def main() -> None:
    options = _options()
    ensure_display()
    began = machine()
    rng = np.random.default_rng(options.seed)
    rows = []
    for number in range(options.kills):
        phase = PHASES[number % len(PHASES)]
        rows.append(one_kill(phase, number, float(rng.random()) * LONGEST))
        say(f"{number + 1:3d}  {json.dumps(rows[-1])}")
    for disk in DISKS if options.disks else ():
        rows.append(one_disk(disk))
        say(json.dumps(rows[-1]))
    lost = [row["lost_s"] for row in rows if row["lost_s"] is not None]
    summary = {
        "kills": options.kills,
        "failed": sum(not row["good"] for row in rows),
        "lost_s_median": float(np.median(lost)) if lost else None,
        "lost_s_longest": max(lost, default=None),
    }
    report("faults", rows, summary, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disks", action="store_true", help="also disks that fail")
    return parser.parse_args()


def one_kill(phase: str, number: int, moment: float) -> dict[str, Any]:
    """Let a person work, kill the program, open the project, compare."""
    with workplace(number) as folder:
        person = start(folder, phase, number)
        time.sleep(moment)
        killed = kill(person)
        return judged(folder, phase, moment, killed)


def one_disk(disk: str) -> dict[str, Any]:
    """Let a disk fail while a person works; mend it where it can be; kill."""
    where = "image" if disk == "image unmounted" else "projects"
    phase = "predict" if disk == "image unmounted" else "paint"
    with workplace(0) as folder, mounted(folder / where):
        write_image(folder / "image" / "cells.tif", 0)
        person = start(folder, phase, 0)
        DISKS[disk][0](folder)
        time.sleep(FAILING)
        DISKS[disk][1](folder)
        time.sleep(RETRIED)
        row = judged(folder, disk, FAILING + RETRIED, kill(person))
        told = '"trouble"' in (folder / "log.jsonl").read_text()
        row["good"] = bool(row["good"] and told == (where == "projects"))
        return row


@contextmanager
def workplace(seed: int) -> Iterator[Path]:
    """Give a folder with an image, for as long as it is needed."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        (folder / "projects").mkdir()
        (folder / "image").mkdir()
        write_image(folder / "image" / "cells.tif", seed)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Let a folder be a small disk of its own."""
    mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(  # noqa: S603 - of this program's own folder
            ["umount", "-l", str(folder)],  # noqa: S607
            check=False, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def mount(*how: str) -> None:
    done = subprocess.run(["mount", *how], check=False)  # noqa: S603, S607
    if done.returncode:
        stop("Mounting is not allowed here: leave --disks out, or run this as root.")


def fill_disk(folder: Path) -> None:
    """Write until nothing fits any more."""
    with (folder / "projects" / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass


def free_disk(folder: Path) -> None:
    (folder / "projects" / "filler").unlink()


def make_read_only(folder: Path) -> None:
    """Take away the right to write from all folders of the project, and its files."""
    for path in [folder / "projects", *(folder / "projects").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def make_writable(folder: Path) -> None:
    for path in [folder / "projects", *(folder / "projects").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def take_image_away(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder / "image")], check=True)  # noqa: S603, S607


def leave(_: Path) -> None:
    """Mend nothing."""


DISKS = {
    "disk full": (fill_disk, free_disk),
    "read-only": (make_read_only, make_writable),
    "image unmounted": (take_image_away, leave),
}


def judged(folder: Path, phase: str, moment: float, killed: float) -> dict[str, Any]:
    """Open the project again and return a row of the table."""
    good, lost, problem = compare(folder, reopened(folder), killed)
    whole = masks_whole(folder)
    return {
        "phase": phase, "killed_after_s": round(moment, 2), "good": good and whole,
        "lost_s": lost, "masks_whole": whole, "problem": problem,
    }  # fmt: skip


def write_image(path: Path, seed: int) -> None:
    import tifffile

    from napari_unet.sample_data import synthesize

    tifffile.imwrite(path, synthesize((384, 384), np.random.default_rng(seed)).image)


def surroundings(folder: Path) -> dict[str, str]:
    """Return the environment of the person: everything is kept in the folder."""
    names = ("PROJECTS", "SETTINGS", "CACHE")
    own = {f"NAPARI_UNET_{name}": str(folder / name.lower()) for name in names}
    return {**os.environ, **own, "NAPARI_CONFIG": str(folder / "napari.yaml")}


def start(folder: Path, phase: str, seed: int) -> subprocess.Popen[bytes]:
    """Start the program with a person in it; return when work has begun."""
    hand = Path(__file__).with_name("_fault_hand.py")
    command = [*mortal(), sys.executable, str(hand), str(folder), phase, str(seed)]
    with (folder / "said.txt").open("w") as said:
        person = subprocess.Popen(  # noqa: S603 - ourselves
            command, env=surroundings(folder), stdout=subprocess.PIPE, stderr=said,
            start_new_session=True,
        )  # fmt: skip
    wait_until_ready(person, folder)
    return person


def mortal() -> list[str]:
    """Return what makes a program of root's heed the rights of files."""
    if os.geteuid() or shutil.which("setpriv") is None:
        return []
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


def kill(person: subprocess.Popen[bytes]) -> float:
    """Return when the program was killed, in seconds since the epoch."""
    killed = time.time()
    os.killpg(person.pid, signal.SIGKILL)
    person.wait()
    return killed


def wait_until_ready(person: subprocess.Popen[bytes], folder: Path) -> None:
    assert person.stdout is not None
    os.set_blocking(person.stdout.fileno(), False)
    until = time.monotonic() + START
    while not (person.stdout.read() or b"").startswith(b"ready"):
        if person.poll() is not None or time.monotonic() > until:
            person.kill()
            raise SystemExit((folder / "said.txt").read_text()[-3000:])
        time.sleep(0.05)


def reopened(folder: Path) -> dict[str, Any]:
    """Open the project as the program does; return what is there."""
    from napari_unet.errors import UnetError
    from napari_unet.jobs import run_now
    from napari_unet.session import Session

    projects = [path.parent for path in (folder / "projects").glob("*/project.json")]
    if len(projects) != 1:
        return {"problem": f"{len(projects)} projects found"}
    session = Session()
    try:
        run_now(session.open_project_job(projects[0]))
    except UnetError as error:
        return {"problem": str(error)}
    if session.project is None or session.project.read_only:
        return {"problem": "opened read-only"}
    labels, states = checksums(session.waiting[0].corrections)
    versions = len(session.versions)
    session.close_project()
    return {"labels": labels, "states": states, "versions": versions}


def compare(
    folder: Path, found: dict[str, Any], killed: float
) -> tuple[bool, float | None, str]:
    """Return whether what was found was so within LOSS seconds, and how long ago."""
    if "problem" in found:
        return False, None, found["problem"]
    lines = (folder / "log.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines if line.endswith("}")]
    fits = [
        number for number, line in enumerate(log)
        if line["labels"] == found["labels"]
        and line.get("states", found["states"]) == found["states"]
    ]  # fmt: skip
    if not fits:
        return False, None, "the labels never were so"
    last = fits[-1]
    replaced = log[last + 1]["time"] if last + 1 < len(log) else killed
    lost = max(killed - replaced, 0.0)
    return lost <= LOSS, round(lost, 3), ""


def masks_whole(folder: Path) -> bool:
    """Tell whether the masks that were written, if any, can be read."""
    from napari_unet.errors import UnetError
    from napari_unet.io.images import read_image

    masks = folder / "masks.tif"
    if not masks.exists():
        return True
    try:
        return read_image(masks).shape == (384, 384)
    except UnetError:
        return False


if __name__ == "__main__":
    main()
