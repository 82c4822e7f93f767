"""From what is shown to plain arrays: boxes, edges, labels, cameras, picking. NumPy only; needs no screen."""
