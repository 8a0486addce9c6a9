"""What the documents say is so: controls, commands, shortcuts, names, pictures."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

import napari_unet
from napari_unet.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL_CARD = ROOT / "src" / "napari_unet" / "models" / "nuclei-2d.md"
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")), MODEL_CARD,
]  # fmt: skip
ROW = re.compile(r"^\| `(unet\.\w+\.\w+)` \| `(\w+)` \| (.+) \|$", re.MULTILINE)
PICTURE_LIMIT = 500_000  # bytes


def qt_class(widget: object) -> str:
    """Return the first class of Qt itself that a widget is made of."""
    kinds = type(widget).__mro__
    return next(
        k.__name__ for k in kinds if k.__module__.startswith(("PyQt", "PySide"))
    )


def docks() -> list[str]:
    manifest = (ROOT / "src" / "napari_unet" / "napari.yaml").read_text()
    widgets = manifest.partition("  widgets:")[2].partition("  sample_data:")[0]
    return re.findall(r"display_name: (.+)", widgets)


def test_the_table_of_controls_is_complete_and_true(make_napari_viewer_proxy) -> None:
    from qtpy.QtWidgets import QWidget

    viewer = make_napari_viewer_proxy(show=True)
    found: dict[tuple[str, str], list[str]] = {}
    for name in docks():
        _, dock = viewer.window.add_plugin_dock_widget("napari-unet-workbench", name)
        for widget in dock.findChildren(QWidget):
            if widget.objectName().startswith("unet."):
                key = widget.objectName(), qt_class(widget)
                found.setdefault(key, []).append(name)

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    stated = {
        (name, kind): where.split(", ") for name, kind, where in ROW.findall(page)
    }
    assert stated == found


def test_object_names_are_unique_within_a_dock() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = [name for name, _, _ in ROW.findall(page)]

    assert len(names) > 40
    assert len(names) == len(set(names))


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {t for page in PAGES for t in _code(page, r"^make ([a-z-]+)")}

    assert {"demo", "test"} <= named <= targets


def _code(page: Path, pattern: str) -> list[str]:
    """Find a pattern at the start of lines of code and of inline code."""
    text = page.read_text(encoding="utf-8")
    blocks = "".join(
        re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    )
    inline = "\n".join(re.findall(r"`([^`\n]+)`", text))
    return re.findall(pattern, f"{blocks}\n{inline}", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_the_documents_exist(page) -> None:
    commands = typer.main.get_command(app).commands
    for name, rest in _code(page, r"^napari-unet ([a-z]+)\b(.*)$"):
        options = {o for p in commands[name].params for o in p.opts} | {"--help"}
        written = re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest.partition("#")[0])
        assert set(written) <= options, (name, rest)


def test_readme_names_every_command() -> None:
    named = set(re.findall(r"^napari-unet ([a-z]+)", README, re.MULTILINE))

    assert named == set(typer.main.get_command(app).commands)


def test_readme_states_the_shortcuts_that_are_bound() -> None:
    actions = pytest.importorskip("napari_unet.qt.actions")
    keys = {keys.replace("-", "+") for keys, _ in actions.ACTIONS.values()}

    assert set(re.findall(r"^\| (Shift\+\w+) \|", README, re.MULTILINE)) == keys


def test_python_example_uses_public_names_and_compiles() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    imports = [n for n in ast.walk(ast.parse(example)) if isinstance(n, ast.ImportFrom)]
    names = {a.name for n in imports if n.module == "napari_unet" for a in n.names}

    assert names
    assert names <= set(napari_unet.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [t for t in targets if t and not t.startswith("http")]

    assert [t for t in local if not (page.parent / t).exists()] == []


def test_scripts_named_in_the_documents_exist() -> None:
    named = {s for page in PAGES for s in _code(page, r"^python (\w+/\w+\.py)")}

    assert "benchmarks/accuracy.py" in named
    assert [script for script in sorted(named) if not (ROOT / script).is_file()] == []


def test_pictures_are_small_and_used() -> None:
    pictures = sorted((ROOT / "docs" / "images").glob("*.png"))
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)

    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < PICTURE_LIMIT, picture.name
        assert f"images/{picture.name})" in text, picture.name


def test_model_card_states_the_network_that_is_shipped() -> None:
    spec = napari_unet.load_model("nuclei-2d", device="cpu").spec
    card = MODEL_CARD.read_text(encoding="utf-8")

    assert "-".join(map(str, spec.architecture.widths)) in card
    assert f"{spec.normalization.low:g} percentile" in card
    assert f"{spec.normalization.high:g} percentile" in card
