"""The command and its door: windows open here, errors become exit codes here."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from napari_unet import __version__
from napari_unet.cli import checkpoints, evaluation, prediction, replay, training
from napari_unet.errors import UnetError

DONE, MENDABLE, INTERRUPTED = 0, 2, 130
# click's ClickException, which newer versions of typer carry inside themselves
Refused: type[Exception] = typer.BadParameter.mro()[2]

app = typer.Typer(
    name="napari-unet",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    checkpoints.info,
    prediction.predict,
    training.train,
    training.finetune,
    evaluation.evaluate,
    checkpoints.export,
    replay.replay,
)
for command in COMMANDS:
    app.command()(command)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    args : without the program's name; None: those of the process

    Returns
    -------
    code : 0 done; 2 the user can mend it, one sentence on standard error says how; 130
        interrupted. A bug leaves with its traceback, which makes 1.
    """
    program = typer.main.get_command(app)
    try:
        code = program.main(args=args, prog_name="napari-unet", standalone_mode=False)
    except UnetError as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Refused as error:
        return _refuse(_usage(error))
    if code == INTERRUPTED:
        typer.echo("Interrupted: no unfinished file was left behind.", err=True)
    return code or DONE


def _refuse(sentence: str) -> int:
    typer.echo(" ".join(sentence.split()), err=True)
    return MENDABLE


def _usage(error: BaseException) -> str:
    """Return one sentence about arguments that cannot be understood."""
    said = getattr(error, "format_message", error.__str__)()
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "napari-unet"
    return f'{said.rstrip(".")}: see "{path} --help".'


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-unet-workbench {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def workbench(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Say the version."
        ),
    ] = False,
) -> None:
    """Load any trained U-Net, predict, correct, fine-tune.

    Without a command: opens napari with the U-Net workbench.
    """
    del version
    if context.invoked_subcommand is None:
        _check_window()
        from napari_unet.qt.app import run_workbench

        run_workbench()


@app.command()
def demo(
    screenshot: Annotated[
        Path | None, typer.Option(help="Save a picture of the window in this PNG file.")
    ] = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="Close the window when all is shown.")
    ] = False,
) -> None:
    """Open a sample image, the bundled model and its prediction, ready to correct."""
    from napari_unet.cli.paths import check_writable

    if screenshot is not None:
        check_writable(screenshot.absolute().parent)
    _check_window()
    from napari_unet.qt.app import run_demo

    run_demo(screenshot, leave)


def _check_window() -> None:
    """Refuse with a sentence where napari or Qt is not installed."""
    try:
        import napari  # noqa: F401
        import qtpy.QtWidgets  # noqa: F401
    except ImportError as error:
        raise UnetError(
            f"The window cannot open, a library is missing ({error}): install "
            '"napari-unet-workbench[all]".'
        ) from error
