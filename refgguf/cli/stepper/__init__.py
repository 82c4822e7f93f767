"""Walking through a forward pass in the terminal: one page for every token and operation.

walk.py     where we are, and how to get elsewhere
slices.py   the part of a tensor that belongs to one token
glyphs.py   values as bars, heat and patterns
guesses.py  what the model would say next, read off the residual stream
worked.py   one value of an operation, computed step by step from the real numbers
page.py     all of it on one page
screen.py   the page on a terminal, and the keys
"""
