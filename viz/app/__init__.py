"""The window: panels, keys, stepping. Qt, and the canvas of vispy that it embeds."""
