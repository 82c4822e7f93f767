"""The arithmetic of models, one kind of block a file: each reads like its paper, each step is tapped.

A block is a frozen dataclass of switches with four methods:

    needs()          the tensors it works with (Need)
    taps()           the intermediate tensors it makes, with what each is computed from (Tap)
    new_state()      what it keeps between calls (keys and values, a recurrent state), if anything
    __call__(x, s)   the arithmetic; `s` (Scope) holds its weights, taps, state and positions

Token mixers and feed-forward networks derive from `Block`; a `Branch` puts a norm around one, a `Layer` adds branches
to the residual stream, a `Network` is embedding, layers and head.

No block knows an architecture's name: `refgguf.arch` sets the switches.
"""
