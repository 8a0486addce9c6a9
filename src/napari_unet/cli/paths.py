"""Checks of files and folders, made before any long work."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_unet.errors import ImageError, OutputError, UnetError


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or cannot be made.

    Raises
    ------
    OutputError
        If so.
    """
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to ({error.strerror or error}): choose "
            "another folder."
        ) from error


def check_free(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace files unless that was asked for.

    Raises
    ------
    OutputError
        If one is there already.
    """
    taken = [path for path in paths if path.exists()]
    if taken and not overwrite:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise OutputError(
            f"{taken[0]} is there already{more}: add --overwrite to replace it, or "
            "choose another name."
        )


def check_model_output(out: Path, *, overwrite: bool) -> None:
    """Refuse a checkpoint that could not be written in the end.

    Raises
    ------
    UnetError
        If its ending is unknown, its folder not there, or it would replace a file.
    """
    from napari_unet.formats.registry import WRITERS

    if out.suffix.lower() not in WRITERS:
        raise OutputError(
            f'"{out.name}" ends in {out.suffix!r}, expected one of '
            f"{', '.join(WRITERS)}: choose such a name."
        )
    folder = out.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"The folder {folder} is not there: make it first.")
    check_writable(folder)
    check_free([out], overwrite=overwrite)


def uncertainty_file(labels: Path) -> Path:
    """Return where the map of uncertainty goes that belongs to a file of labels."""
    return labels.with_name(f"{labels.stem}_uncertainty.tif")


def label_files(inputs: Sequence[Path], out: Path, *, overwrite: bool) -> list[Path]:
    """Return where the labels of each input go, all of them checked.

    Parameters
    ----------
    inputs : images, all there
    out : with a suffix and for one input: that file; else a folder
    overwrite : whether files may be replaced

    Raises
    ------
    UnetError
        If an input is absent, two would share an output, or one cannot be written.
    """
    for path in inputs:
        if not path.is_file():
            if path.is_dir():
                raise ImageError(f"{path} is a folder: give the images in it.")
            raise ImageError(f"{path} is not there: check the name.")
    files = _named(inputs, out)
    clash = next((f for f in files if files.count(f) > 1), None)
    if clash:
        raise OutputError(
            f"Two of the images would both be written to {clash}: predict them into "
            "different folders."
        )
    if {f.resolve() for f in files} & {path.resolve() for path in inputs}:
        raise OutputError(f"{out} is the image itself: choose another name.")
    check_writable(files[0].absolute().parent)
    check_free(files, overwrite=overwrite)
    return files


def _named(inputs: Sequence[Path], out: Path) -> list[Path]:
    from napari_unet.io.masks import KINDS, suffix_of

    known = suffix_of(out) is not None  # an OME-Zarr is a folder itself
    if not known and (out.is_dir() or not out.suffix):
        return [out / f"{path.stem}_labels.tif" for path in inputs]
    if len(inputs) > 1:
        raise OutputError(
            f"{len(inputs)} images cannot go into the one file {out}: give a folder."
        )
    if not known:
        raise OutputError(
            f"{out} ends in {out.suffix!r}, expected {', '.join(KINDS)} or a "
            "folder: choose another name."
        )
    return [out]


def label_pairs(predicted: Path, truth: Path) -> list[tuple[str, Path, Path]]:
    """Return name, predicted file and true file of every pair.

    Parameters
    ----------
    predicted, truth : two files, or two folders with equal stems; "_labels" at the end
        of a predicted stem, as ``predict`` writes it, may be missing in the truth

    Raises
    ------
    UnetError
        If one is absent, only one is a folder, or no stems agree.
    """
    for path in (predicted, truth):
        if not path.exists():
            raise ImageError(f"{path} is not there: check the name.")
    if predicted.is_file() and truth.is_file():
        return [(truth.stem, predicted, truth)]
    if not (predicted.is_dir() and truth.is_dir()):
        raise UnetError(
            f"One of {predicted} and {truth} is a folder and the other a file: give "
            "two files or two folders."
        )
    found, true = label_stems(predicted), label_stems(truth)
    pairs = [(stem, found[stem], true[stem]) for stem in true if stem in found]
    if not pairs:
        raise UnetError(
            f"No file in {predicted} has the same name as one in {truth}: expected "
            "equal names, whatever their endings."
        )
    return pairs


def label_stems(folder: Path) -> dict[str, Path]:
    """Return the label files of a folder by stem, "_labels" taken off."""
    from napari_unet.io.images import READABLE

    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in READABLE)
    return {path.stem.removesuffix("_labels"): path for path in files}
