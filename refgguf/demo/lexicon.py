"""The words of the small world: who lives in it, what things there are, where they can be."""

from __future__ import annotations

GIRLS = ("Mia", "Anna", "Lily", "Rose", "Ella", "Nora", "Lucy", "Emma", "Ruby", "Zoe", "Ada", "Ivy")
BOYS = ("Tom", "Ben", "Sam", "Max", "Leo", "Finn", "Jack", "Paul", "Hugo", "Otto", "Noah", "Tim")
NAMES = GIRLS + BOYS

THINGS = (
    "ball", "book", "key", "cup", "kite", "hat", "lamp", "drum", "bell", "shell", "stone", "coat", "doll",
    "flute", "map", "ring", "rope", "spoon", "candle", "ribbon", "button", "feather", "coin", "whistle",
    "mirror", "scarf", "brush", "jar",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "golden")
LOOKS = (*COLOURS, "old", "new", "small", "big")

# Things that come in numbers.
COUNTABLES = (
    "apples", "pears", "nuts", "eggs", "coins", "shells", "stones", "buttons", "plums", "cakes", "flowers",
    "feathers", "carrots", "candles",
)  # fmt: skip
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip

# Where a thing can be.
SPOTS = (
    "in the box", "in the drawer", "in the basket", "in the barn", "in the garden", "in the kitchen",
    "on the table", "on the shelf", "on the chair", "on the bench", "on the roof",
    "under the bed", "under the table", "under the chair", "under the tree", "under the bridge",
    "behind the door", "behind the tree", "behind the barn", "behind the stove",
    "beside the stove", "beside the well", "beside the gate", "beside the river",
)  # fmt: skip

ANIMALS = ("dog", "cat", "hen", "duck", "horse", "goat", "mouse", "bird", "fox", "owl", "rabbit", "frog")
FOODS = ("bread", "soup", "cheese", "honey", "cake", "rice", "jam", "milk", "porridge", "pie")
JOBS = ("baker", "sailor", "teacher", "doctor", "farmer", "painter", "singer", "builder")
SEASONS = ("spring", "summer", "autumn", "winter")
HOMES = (
    "the river",
    "the mill",
    "the forest",
    "the school",
    "the market",
    "the bridge",
    "the hill",
    "the sea",
)

# Plain nouns for magic words and word lists; nothing about their order can be guessed.
PLAIN = (
    "river", "apple", "stone", "lamp", "moon", "bread", "cloud", "horse", "wind", "table", "star", "boat",
    "door", "rain", "sun", "bird", "tree", "fire", "snow", "key", "bell", "sea", "hill", "ring", "cup",
    "song", "leaf", "road", "gate", "fish", "milk", "drum", "kite", "nut", "owl", "rope",
)  # fmt: skip
SYLLABLES = (
    "ba", "be", "bi", "bo", "bu", "da", "de", "di", "do", "du", "ka", "ke", "ki", "ko", "ku", "la", "le", "li",
    "lo", "lu", "ma", "me", "mi", "mo", "mu", "na", "ne", "ni", "no", "nu", "pa", "pe", "pi", "po", "pu", "ra",
    "re", "ri", "ro", "ru", "sa", "se", "si", "so", "su", "ta", "te", "ti", "to", "tu", "va", "ve", "vi", "vo",
    "za", "ze", "zi", "zo", "zu",
)  # fmt: skip
CREATURES = ("dragon", "giant", "wizard", "robot", "fairy", "parrot", "bear", "whale", "turtle", "horse")

# (comparative, its opposite, superlative, the opposite superlative)
COMPARATIVES = (
    ("taller", "shorter", "tallest", "shortest"),
    ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"),
    ("stronger", "weaker", "strongest", "weakest"),
    ("happier", "sadder", "happiest", "saddest"),
    ("louder", "quieter", "loudest", "quietest"),
)

# (word, opposite, things that can be so)
OPPOSITES = (
    ("hot", "cold", ("soup", "tea", "water", "bread", "stone")),
    ("big", "small", ("house", "dog", "cake", "boat", "garden")),
    ("old", "new", ("coat", "hat", "book", "boat", "chair")),
    ("wet", "dry", ("coat", "hat", "towel", "rope", "scarf")),
    ("full", "empty", ("cup", "basket", "jar", "box", "bucket")),
    ("open", "closed", ("door", "box", "gate", "book", "window")),
    ("loud", "quiet", ("song", "dog", "drum", "voice", "bell")),
    ("fast", "slow", ("horse", "boat", "dog", "cart", "train")),
    ("hard", "soft", ("bed", "chair", "bread", "cake", "ball")),
    ("clean", "dirty", ("cup", "coat", "room", "window", "spoon")),
    ("high", "low", ("wall", "shelf", "bridge", "hill", "gate")),
    ("long", "short", ("rope", "road", "story", "song", "scarf")),
    ("thick", "thin", ("book", "wall", "rope", "soup", "stick")),
    ("heavy", "light", ("box", "stone", "basket", "chair", "bucket")),
    ("sweet", "sour", ("apple", "pear", "plum", "jam", "cake")),
    ("strong", "weak", ("rope", "horse", "tea", "voice", "bridge")),
    ("happy", "sad", ("song", "story", "dog", "voice", "letter")),
    ("good", "bad", ("story", "song", "cake", "soup", "road")),
    ("easy", "difficult", ("game", "lesson", "puzzle", "song", "road")),
    ("round", "square", ("table", "box", "window", "cake", "room")),
)

# Nouns with their plurals, for agreement.
NOUNS = (
    ("dog", "dogs"), ("cat", "cats"), ("boy", "boys"), ("girl", "girls"), ("bird", "birds"), ("horse", "horses"),
    ("box", "boxes"), ("key", "keys"), ("book", "books"), ("chair", "chairs"), ("tree", "trees"),
    ("house", "houses"), ("boat", "boats"), ("farmer", "farmers"), ("lamp", "lamps"), ("flower", "flowers"),
)  # fmt: skip
BEINGS = ("dog", "cat", "boy", "girl", "bird", "horse", "farmer")

# Opening sign, closing sign, as they stand in running text.
BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"))


def pronouns(name: str) -> tuple[str, str, str]:
    """The words he/him/his or she/her/her for a name."""
    return ("she", "her", "her") if name in GIRLS else ("he", "him", "his")


def article(word: str) -> str:
    """The word with `a` or `an` before it."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
