"""Draw scenes with OpenGL: a few vispy programs, one for each kind of thing. The only code that knows vispy."""
