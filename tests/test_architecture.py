"""The rooms keep to themselves: who may import what, tried in fresh interpreters."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "napari_unet"
QT_LIBRARIES = [
    "napari", "qtpy", "superqt", "magicgui", "pyqtgraph",
    "PyQt5", "PyQt6", "PySide2", "PySide6",
]  # fmt: skip

# Stands first in sys.meta_path and says that the named packages are not installed.
BLOCKER = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def modules_in(folder: Path, package: str) -> Iterator[str]:
    """Name a package and every module below it, without importing any."""
    yield package
    for module in pkgutil.iter_modules([str(folder)], f"{package}."):
        if module.ispkg:
            yield from modules_in(folder / module.name.rpartition(".")[2], module.name)
        else:
            yield module.name


MODULES = sorted(modules_in(PACKAGE, "napari_unet"))
QT_MODULES = [name for name in MODULES if name.startswith("napari_unet.qt")]
BELOW_QT = [name for name in MODULES if name not in QT_MODULES]


def run_python(code: str) -> str:
    """Run code in a fresh interpreter; return its standard output."""
    done = subprocess.run(  # noqa: S603  our own code, no shell
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(modules: list[str], watched: list[str]) -> list[str]:
    """Import modules in a fresh interpreter; return the watched packages it loaded."""
    imports = "\n".join(f"import {name}" for name in modules)
    report = f"print(*sorted(set({watched!r}) & set(sys.modules)))"
    return run_python(f"import sys\n{imports}\n{report}").split()


def import_without(modules: list[str], blocked: list[str]) -> None:
    """Import modules in a fresh interpreter in which blocked packages are absent."""
    imports = "\n".join(f"import {name}" for name in modules)
    run_python(BLOCKER.format(blocked=set(blocked)) + imports)


def test_guards_see_the_whole_package() -> None:
    on_disk = {path.stem for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}

    assert on_disk <= {name.rpartition(".")[2] for name in MODULES}
    assert {"napari_unet.engine.networks.unet", "napari_unet.formats"} <= set(BELOW_QT)


def test_a_blocked_package_cannot_be_imported() -> None:
    with pytest.raises(AssertionError, match="No module named 'tomllib'"):
        import_without(["tomllib"], ["tomllib"])


def test_importing_the_package_loads_neither_torch_nor_napari_nor_qt() -> None:
    assert loaded_by(["napari_unet"], ["torch", "monai", *QT_LIBRARIES]) == []


def test_everything_below_qt_imports_where_napari_and_qt_are_absent() -> None:
    import_without([name for name in BELOW_QT if "__main__" not in name], QT_LIBRARIES)


def test_everything_below_session_imports_where_psygnal_is_absent() -> None:
    above = {
        "napari_unet.session", "napari_unet.session_project",
        "napari_unet.session_model", "napari_unet.session_tools",
        "napari_unet.session_finetune",
        "napari_unet.session_holdout",
        "napari_unet.session_places",
        "napari_unet.session_progress",
        "napari_unet.distributed", "napari_unet.cli",
    }  # fmt: skip
    rooms = [name for name in BELOW_QT if ".".join(name.split(".")[:2]) not in above]

    import_without([name for name in rooms if "__main__" not in name], ["psygnal"])


def test_config_spec_places_and_progress_load_no_torch() -> None:
    torch_free = [
        f"napari_unet.engine.{name}"
        for name in ("config", "spec", "places", "progress", "visits", "pace")
    ]

    assert loaded_by(torch_free, ["torch", "monai"]) == []


@pytest.mark.skipif(not QT_MODULES, reason="the package has no qt room")
@pytest.mark.skipif(find_spec("napari") is None, reason="napari is not installed")
def test_panels_load_no_torch() -> None:
    assert loaded_by(QT_MODULES, ["torch", "monai"]) == []


def test_every_panel_is_named_in_the_contract_of_independence() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (named,) = [set(c["modules"]) for c in contracts if c["type"] == "independence"]

    assert {name for name in QT_MODULES if name.endswith("_panel")} <= named


@pytest.mark.skipif(find_spec("importlinter") is None, reason="no import-linter here")
def test_import_contracts_hold() -> None:
    lint = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(  # noqa: S603  our own code, no shell
        [sys.executable, "-c", lint, "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
