"""The window's parts around the canvas, put in place: docks, tools, status bar, the hint of the first start."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCompleter,
    QDockWidget,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QToolBar,
    QWidget,
)

from refgguf.viz.app.canvas import SceneCanvas
from refgguf.viz.app.inspector import WIDTH, Inspector
from refgguf.viz.app.live import Live
from refgguf.viz.app.timeline import Timeline

SMALLEST = 150, 110  # pixels of the canvas
MOST_LIVE = 0.45  # of the side's height that the distribution takes at first
HINT = (
    "<b>Every box is a real tensor, every line a real flow.</b><br>"
    "Drag to turn, wheel to come closer, double click to go into a layer, a head, a cell.<br>"
    "Click a value to take it apart. → steps through the computation. Ctrl click switches a head off.<br>"
    "<b>?</b> shows all keys. A click takes this away."
)


class Panels(QMainWindow):
    """A window with a canvas and panels around it; what they do is said by the class that inherits it."""

    def __init__(self):
        super().__init__()
        self.setWindowTitle("refgguf")
        self.resize(1440, 900)
        self.canvas = SceneCanvas()
        self.view = self.canvas.view
        self.setCentralWidget(self.canvas.native)
        self.inspector, self.timeline, self.live = Inspector(), Timeline(), Live()
        right = Qt.DockWidgetArea.RightDockWidgetArea
        self.live_dock = self._dock("Next token", self.live, right)
        self.inspector_dock = self._dock("Inspector", self.inspector, right)
        self.timeline_dock = self._dock("Timeline", self.timeline, Qt.DockWidgetArea.BottomDockWidgetArea)
        self.timeline_dock.setTitleBarWidget(QWidget())  # what it is, one sees; the room is for the scene
        self.resizeDocks([self.live_dock, self.inspector_dock], [WIDTH + 24] * 2, Qt.Orientation.Horizontal)
        self.canvas.native.setMinimumSize(*SMALLEST)
        for dock in (self.live_dock, self.timeline_dock):  # nothing has run yet
            dock.hide()
        self._tools()
        self.busy, self.stop_button = QProgressBar(), QPushButton("Stop")
        self.busy.setMaximumWidth(220)
        self.stop_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for widget in (self.busy, self.stop_button):
            self.statusBar().addPermanentWidget(widget)
            widget.hide()
        self.hint = QLabel(HINT, self.canvas.native)
        self.hint.setObjectName("hint")
        self.hint.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hint.hide()

    def _dock(self, name: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(name, self)
        dock.setObjectName(name)
        dock.setWidget(widget)
        self.addDockWidget(area, dock)
        return dock

    def _tools(self) -> None:
        bar = QToolBar("Tools")
        bar.setMovable(False)
        self.prompt = QLineEdit(placeholderText="Type a prompt, Enter runs it")
        self.target = QLineEdit(placeholderText="What it has written so far, Enter runs it")
        self.next_button, self.go_button = QPushButton("Next token"), QPushButton("Generate")
        self.go_button.setCheckable(True)
        self.off_button = QPushButton("Switch all on")
        self.grid_button = QPushButton("All heads", checkable=True)
        self.grid_button.setToolTip("Every head's attention pattern in one grid, layers by heads (M)")
        self.search = QLineEdit(placeholderText="Find a tensor ( / )")
        self.search.setMaximumWidth(230)
        for field in (self.prompt, self.target):
            field.setObjectName("prompt")
        self.search.setObjectName("search")
        for button in (self.next_button, self.go_button, self.off_button, self.grid_button):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.asking = [bar.addWidget(widget) for widget in (QLabel("Prompt"), self.prompt)]
        self.writing = [bar.addWidget(widget) for widget in (QLabel("writes"), self.target)]
        running = (self.next_button, self.go_button, self.off_button)
        self.running = [bar.addWidget(widget) for widget in running]
        self.off_action = self.running[-1]
        self.grid_action = bar.addWidget(self.grid_button)
        bar.addWidget(self.search)
        self.addToolBar(bar)

    def show_live(self, on: bool) -> None:
        """Show the next token's distribution, or not; at first as high as it needs to be, but not half of the side."""
        before = self.live_dock.isVisible()
        self.live_dock.setVisible(on)
        if on and not before:
            side = self.height() - self.timeline_dock.sizeHint().height() - 80
            wanted = min(self.live.sizeHint().height() + 30, int(MOST_LIVE * side))
            docks = [self.live_dock, self.inspector_dock]
            self.resizeDocks(docks, [wanted, side - wanted], Qt.Orientation.Vertical)

    def write_into(self, field: QLineEdit) -> None:
        """Let the keys write into one of the tools; into a dialog where the window has no room for it."""
        if field.isVisible():
            field.setFocus()
            field.selectAll()
            return
        dialog = QInputDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setLabelText(field.placeholderText())
        dialog.setTextValue(field.text())
        dialog.textValueSelected.connect(lambda text: (field.setText(text), field.returnPressed.emit()))
        dialog.open()

    def offer_names(self, names: list[str]) -> None:
        """Let the search box complete names."""
        completer = QCompleter(names, self.search)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        self.search.setCompleter(completer)

    def place_hint(self) -> None:
        """Put the hint into the middle of the canvas' upper part."""
        self.hint.setMaximumWidth(max(self.canvas.native.width() - 20, 50))
        self.hint.adjustSize()
        self.hint.move(max((self.canvas.native.width() - self.hint.width()) // 2, 0), 24)
        self.hint.raise_()
