"""All plots by name."""

from __future__ import annotations

from refgguf.demo import plots_day as day
from refgguf.demo import plots_more as more
from refgguf.demo.grammar import Beat

PLOTS: dict[str, list[Beat]] = {
    "lost": day.LOST,
    "gift": day.GIFT,
    "rain": day.RAIN,
    "market": day.MARKET,
    "race": day.RACE,
    "words": day.WORDS,
    "sick": day.SICK,
    "pet": day.PET,
    "build": day.BUILD,
    "night": more.NIGHT,
    "share": more.SHARE,
    "garden": more.GARDEN,
    "letter": more.LETTER,
    "tale": more.TALE,
    "hide": more.HIDE,
    "riddle": more.RIDDLE,
}
