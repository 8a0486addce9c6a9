"""The line above the steps: where the work is kept, and which projects there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QWidget,
)

from napari_unet.io.project import projects_folder
from napari_unet.opened import OpenImage
from napari_unet.qt.layers import stroke_goes_on
from napari_unet.qt.parts import Panel, duration, enable, side_by_side, when

if TYPE_CHECKING:
    from napari_unet.qt.bench import Bench
    from napari_unet.session_project import ProjectInfo

HEIGHT = 74  # pixels of the list of images
SHOWN = 20  # recent projects
NOT_KEPT = "Not kept automatically: save the masks, or the project."


class ProjectPanel(Panel):
    """Tells where the work is kept; opens, saves and goes on with projects."""

    name = "project"
    title = "Project"
    attention = Signal(bool)  # something is offered that should be seen, or no longer

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        bench.desk.hosted = True
        self._offered: ProjectInfo | None = None
        self._refused = False  # what was offered; it stays in the list of projects
        self._noticed = False  # attention was asked for
        self._told = ""  # why what was asked for last could not be done
        self._make_offer()
        self._make_files()
        self._make_images()
        self.rows.addWidget(self.summary)
        session, desk = bench.session, bench.desk
        bench.corrections_changed.connect(self._update)
        bench.layers_changed.connect(self._update)
        bench.autosave.changed.connect(self._update)
        session.project_changed.connect(self._on_session_project_changed)
        session.images_changed.connect(self._on_session_images_changed)
        desk.changed.connect(self._on_desk_changed)
        desk.began.connect(self._on_desk_began)
        desk.listed.connect(self._on_desk_listed)
        self._on_desk_listed()
        self._update()

    def _make_offer(self) -> None:
        self.offer = QLabel()
        self.offer.setObjectName("unet.project.offer")
        self.offer.setWordWrap(True)
        self.go_on = self.button(
            "go_on", "Go on",
            "Open what was not closed properly, with every stroke that was kept",
            self._on_go_on_clicked,
        )  # fmt: skip
        self.not_now = self.button(
            "not_now", "Not now",
            "Leave it as it is; it stays in the list of recent projects",
            self._on_not_now_clicked,
        )  # fmt: skip
        self._offer_row = QWidget()
        row = side_by_side(self.go_on, self.not_now)
        row.setContentsMargins(0, 0, 0, 0)
        self._offer_row.setLayout(row)
        self.rows.addWidget(self.offer)
        self.rows.addWidget(self._offer_row)

    def _make_files(self) -> None:
        self.open = self.button(
            "open", "Open...", "Open the folder of a project", self._on_open_clicked
        )
        self.save_as = self.button(
            "save_as", "Save as...",
            "Save images' labels, history and model versions as a project of its own, "
            "and go on there",
            self._on_save_as_clicked,
        )  # fmt: skip
        self.folder = self.button(
            "folder", "Show folder", "Show the project's folder in the file manager",
            self._on_folder_clicked,
        )  # fmt: skip
        self.recent = QComboBox()
        self.recent.setObjectName("unet.project.recent")
        self.recent.setToolTip("Projects that were open lately; choosing opens one")
        self.recent.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.recent.activated.connect(self._on_recent_activated)
        self.autosave = QCheckBox("Keep my work automatically")
        self.autosave.setObjectName("unet.project.autosave")
        self.autosave.setToolTip(
            "Write every stroke within two seconds, without being asked; else closing "
            "asks about what is not kept.\nA project that was saved under a name is "
            "always kept"
        )
        self.autosave.setChecked(self.bench.session.autosave)
        self.autosave.toggled.connect(self._on_autosave_toggled)
        self.row(self.open, self.save_as, self.folder)
        self.rows.addWidget(self.recent)
        self.rows.addWidget(self.autosave)

    def _make_images(self) -> None:
        self.images = QListWidget()
        self.images.setObjectName("unet.project.images")
        self.images.setToolTip(
            "The images of the project, what was corrected in them and for how long, "
            "pauses left out"
        )
        self.images.setFixedHeight(HEIGHT)
        self.images.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.images.currentRowChanged.connect(lambda _: self._update_show())
        self.show_image = self.button(
            "show", "Show",
            "Bring a removed labels layer back, or say where an image is now",
            self._on_show_clicked,
        )  # fmt: skip
        self.total = QLabel()
        self.total.setObjectName("unet.project.total")
        self.rows.addWidget(self.images)
        self.row(self.show_image, self.total)

    # -- what the user does

    def _on_go_on_clicked(self) -> None:
        if self._offered is not None:
            self.bench.desk.open(self._offered.folder)

    def _on_not_now_clicked(self) -> None:
        self._refused = True
        self._update_offer()
        self._ask_for_attention(False)

    def _on_open_clicked(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Open a project", str(self._around())
        )
        if chosen:
            self.bench.desk.open(Path(chosen))

    def _on_save_as_clicked(self) -> None:
        project = self.bench.session.project
        name = project.name if project else "project"
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the project as a new folder", str(Path.home() / name)
        )
        if chosen:
            self.bench.desk.save_as(Path(chosen))

    def _on_folder_clicked(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._place())))

    def _on_recent_activated(self, index: int) -> None:
        folder = self.recent.itemData(index)
        self.recent.setCurrentIndex(0)
        if folder is not None:
            self.bench.desk.open(folder)

    def _on_autosave_toggled(self, checked: bool) -> None:
        self.bench.session.autosave = checked
        self.bench.autosave.retry()
        self._update()

    def _on_show_clicked(self) -> None:
        item = self.images.currentItem()
        if item is None:
            return
        about = item.data(Qt.ItemDataRole.UserRole)
        if isinstance(about, OpenImage):
            self.bench.show(about)
            return
        around = about.path.parent if about.path else Path.home()
        chosen, _ = QFileDialog.getOpenFileName(
            self, f"Where is {about.name} now?", str(around)
        )
        if chosen:
            self.bench.desk.find(about, Path(chosen))

    # -- what changes

    def _on_bench_said(self, panel: str, sentence: str) -> None:
        if panel == self.name:
            self._told = sentence
            self._update()

    def _on_desk_began(self) -> None:
        self._told = ""

    def _on_desk_changed(self) -> None:
        self._update()
        if self.bench.session.project is not None and not self.bench.session.waiting:
            self._ask_for_attention(False)

    def _on_session_project_changed(self) -> None:
        self._update()

    def _on_session_images_changed(self) -> None:
        self._update()

    def _on_desk_listed(self) -> None:
        self.recent.clear()
        self.recent.addItem("Recent projects")
        for info in self.bench.desk.recent[:SHOWN]:
            self.recent.addItem(describe(info), info.folder)
            self.recent.setItemData(
                self.recent.count() - 1, str(info.folder), Qt.ItemDataRole.ToolTipRole
            )
        self._update_offer()

    def _update_offer(self) -> None:
        """Offer what a crash left, as long as nothing else is under way."""
        found = self.bench.desk.unfinished
        idle = not self.bench.session.images and not self._refused
        self._offered = found[0] if found and idle else None
        shown = self._offered is not None
        if shown:
            self._ask_for_attention(True)
        self.offer.setVisible(shown)
        self._offer_row.setVisible(shown)
        self.go_on.setVisible(shown)
        self.not_now.setVisible(shown)
        if self._offered is not None:
            self.offer.setText(offer_of(self._offered, len(found) - 1))

    def _ask_for_attention(self, wanted: bool) -> None:
        if wanted != self._noticed:
            self._noticed = wanted
            self.attention.emit(wanted)

    def _update(self) -> None:
        if not isalive(self):  # the session outlives the window
            return
        self._update_offer()
        if not stroke_goes_on():  # the stroke's end updates the images
            self._update_images()
        folder = self._place()
        enable(self.folder, "" if folder.is_dir() else "nothing is kept yet")
        something = self.bench.session.project or self.bench.session.images
        enable(self.save_as, "" if something else "there is nothing to save yet")
        self.summary.setText(self._state())
        self.summary.setToolTip(str(folder))

    def _update_images(self) -> None:
        session, row = self.bench.session, self.images.currentRow()
        self.images.clear()
        for opened in session.images:
            self._add(opened, self._about(opened))
        for waiting in session.waiting:
            self._add(waiting, f"{waiting.name}  (image not found)", waiting.reason)
        for part in (self.images, self.show_image, self.total):
            part.setVisible(self.images.count() > 0)
        self.images.setCurrentRow(min(max(row, 0), self.images.count() - 1))
        seconds = session.hand_seconds()
        self.total.setText(f"{duration(seconds)} of work in all" if seconds else "")
        self._update_show()

    def _add(self, about: object, text: str, tip: str = "") -> None:
        item = QListWidgetItem(text)
        item.setToolTip(tip or text)
        item.setData(Qt.ItemDataRole.UserRole, about)
        self.images.addItem(item)

    def _about(self, opened: OpenImage) -> str:
        tally = opened.corrections.tally()
        parts = [
            f"{tally.edited_objects:,} edited, {tally.accepted_objects:,} accepted"
            if tally else "nothing corrected",
            duration(opened.corrections.work.seconds),
        ]  # fmt: skip
        if not opened.shown:
            parts.append("(layer removed)")
        elif opened.source is None or opened.source.path is None:
            parts.append("(no file: a copy is kept)")
        return f"{opened.name}  {', '.join(parts[:2])}  {' '.join(parts[2:])}".rstrip()

    def _update_show(self) -> None:
        item = self.images.currentItem()
        about = item.data(Qt.ItemDataRole.UserRole) if item else None
        reason = ""
        if about is None:
            reason = "choose an image in the list first"
        elif isinstance(about, OpenImage) and about.shown:
            reason = "its labels are shown"
        enable(self.show_image, reason)

    def _place(self) -> Path:
        project = self.bench.session.project
        return projects_folder() if project is None else project.folder

    def _around(self) -> Path:
        """Return a folder in which the user may look for projects."""
        folder = projects_folder()
        return folder if folder.is_dir() else Path.home()

    def _state(self) -> str:
        """Say whether and where the work is kept."""
        session, problem = self.bench.session, self.bench.autosave.problem
        project = session.project
        if self._told:
            return self._told
        if project is not None and project.read_only:
            return f"Read-only: {project.reason}"
        if problem:
            return f"Cannot be written. Your corrections are in memory. {problem}"
        if project is None and not session.autosave:
            return NOT_KEPT
        if project is None:
            return (
                "Nothing to keep yet; corrections will be kept in "
                f"{short(projects_folder())}"
            )
        if not session.autosave and project.automatic:
            return NOT_KEPT
        if session.waiting and self.bench.desk.idle:
            return session.waiting[0].reason
        seconds = session.hand_seconds()
        work = f", {duration(seconds)} of work" if seconds else ""
        return f"Kept in {short(project.folder)}{work}"


def short(folder: Path) -> str:
    """Return a path with the home folder as ~ and long middles left out."""
    home = Path.home()
    start, parts = folder.anchor, list(folder.parts[1:])
    if folder.is_relative_to(home):
        start, parts = "~/", list(folder.relative_to(home).parts)
    if len(parts) > 2:
        parts = ["...", *parts[-1:]]
    return start + "/".join(parts)


def describe(info: ProjectInfo) -> str:
    """Return a line about a project."""
    state = ""
    if info.locked:
        state = "  (open in a window)"
    elif not info.closed:
        state = "  (not closed properly)"
    return f"{info.name}, {when(info.when)}{state}"


def offer_of(info: ProjectInfo, others: int) -> str:
    """Say what was not closed properly."""
    what = ", ".join(dict.fromkeys(info.images)) or info.name
    more = f" {others} more in the list of recent projects." if others > 0 else ""
    return f"Work on {what} of {when(info.when)} was not closed properly.{more}"
