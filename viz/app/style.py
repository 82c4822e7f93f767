"""The looks of the window's panels: the scene's own colours, light or dark."""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette

from refgguf.viz.scene.colours import Theme


def palette_of(theme: Theme) -> QPalette:
    """Return Qt's palette in a theme's colours."""
    ground, card, ink, muted, accent = (
        QColor.fromRgbF(*colour)
        for colour in (theme.ground, theme.card, theme.ink, theme.muted, theme.accent)
    )
    role = QPalette.ColorRole
    palette = QPalette(card, ground)
    for name in (role.WindowText, role.Text, role.ButtonText, role.ToolTipText):
        palette.setColor(name, ink)
    for name in (role.Base, role.AlternateBase, role.Button, role.ToolTipBase):
        palette.setColor(name, card)
    palette.setColor(role.Window, ground)
    palette.setColor(role.Highlight, accent)
    palette.setColor(role.HighlightedText, card)
    palette.setColor(role.PlaceholderText, muted)
    palette.setColor(QPalette.ColorGroup.Disabled, role.ButtonText, muted)
    return palette


def sheet_of(theme: Theme) -> str:
    """Return the style sheet that a palette cannot express."""
    ground, card, rim, ink, accent = (
        QColor.fromRgbF(*colour).name()
        for colour in (theme.ground, theme.card, theme.rim, theme.ink, theme.accent)
    )
    return f"""
        QMainWindow, QDockWidget, QToolBar, QStatusBar {{ background: {ground}; color: {ink}; border: none }}
        QToolBar {{ padding: 5px; spacing: 6px }}
        QDockWidget::title {{ background: {ground}; padding: 5px 8px }}
        QScrollArea, #page, QListWidget {{ background: {card}; border: none }}
        QLineEdit#prompt, QLineEdit#search {{ background: {card}; color: {ink}; border: 1px solid {rim} }}
        QLineEdit#prompt, QLineEdit#search {{ border-radius: 4px; padding: 3px 6px }}
        QLineEdit#prompt:focus, QLineEdit#search:focus {{ border-color: {accent} }}
        QPushButton {{ background: {card}; color: {ink}; border: 1px solid {rim} }}
        QPushButton {{ border-radius: 4px; padding: 4px 10px }}
        QPushButton:hover, QPushButton:checked {{ border-color: {accent} }}
        QListWidget::item {{ border: 1px solid {rim}; border-radius: 4px; padding: 2px 5px }}
        QListWidget::item:disabled {{ border-color: transparent }}
        QListWidget::item:selected {{ background: {accent}; color: {card} }}
        QSplitter::handle, QMainWindow::separator {{ background: {rim}; width: 1px; height: 1px }}
        #hint, #help {{ background: {card}; color: {ink}; border: 1px solid {rim}; border-radius: 10px }}
        #hint {{ padding: 14px 18px }}
        #keys {{ background: {card} }}
        QToolButton {{ background: {card}; color: {ink}; border: 1px solid {rim}; border-radius: 4px }}
        QToolButton {{ padding: 3px 8px; min-width: 14px }}
        QToolButton:hover, QToolButton:checked {{ border-color: {accent} }}
    """
