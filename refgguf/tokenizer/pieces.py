"""Cut a text where no token reaches across, so that its pieces can be tokenized one by one, and remembered.

Some tokenizers know no words: they merge, or search the best path, over the whole text. But where two characters
stand side by side in no token, none can lie across the two, so the text falls apart there. With few exceptions
that is so before every space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def pieces_before(mark: str, texts: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a function that cuts a text before each run of a space mark, unless a token reaches across.

    Args:
        mark: one character that stands for a space.
        texts: all texts that can become a token.
    """
    before_mark = re.compile(f"([^{mark}])(?={mark})", re.DOTALL)
    crossing: set[str] = set()
    for text in texts:
        if text.find(mark, 1) > 0:
            crossing.update(before_mark.findall(text))
    word = f"[^{mark}]+"
    if crossing:
        behind = "".join(map(re.escape, sorted(crossing)))
        word = f"(?:{word}(?:(?<=[{behind}]){mark}+)?)+"
    return re.compile(f"{mark}+(?:{word})?|{word}").findall
