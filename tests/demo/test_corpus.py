"""The training text: the same from the same seed, well formed, and without what is kept for testing."""

from __future__ import annotations

import re
from itertools import islice
from random import Random

import pytest

from refgguf.demo.corpus import document, documents, drill, long_document, program_hash
from refgguf.demo.grammar import expand, tell
from refgguf.demo.lexicon import NAMES, pronouns
from refgguf.demo.plots import PLOTS
from refgguf.demo.scenes import give
from refgguf.demo.split import CLOSE, OPEN, draw_row, is_test, last_answer, mark, plain
from refgguf.demo.stories import story
from refgguf.demo.tasks import TASKS, prompts

SEEN = "\n".join(islice(documents("seen"), 10_000))


def test_the_same_seed_gives_the_same_text():
    """Two runs with one seed write the same documents, another seed writes others."""
    first, again, other = (list(islice(documents(seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_hash_is_of_what_is_written():
    """The corpus hash is a SHA-256 in hexadecimal and does not depend on earlier calls."""
    assert re.fullmatch("[0-9a-f]{64}", program_hash())
    assert program_hash() == program_hash()


@pytest.mark.parametrize("task", TASKS)
def test_no_test_prompt_stands_in_the_training_text(task: str):
    """Of 300 fresh prompts none occurs anywhere in 10,000 training documents (3 MB)."""
    assert not [item.prompt for item in prompts(task, 300, seed=9) if item.prompt in SEEN]


def test_held_out_documents_are_not_trained_on():
    """No story of the held-out part is written in the training part."""
    held_out = [text for text in islice(documents("held", test=True), 300) if len(text) > 200]
    assert len(held_out) > 50
    assert not [text for text in held_out if text in SEEN]


@pytest.mark.parametrize("plot", PLOTS)
def test_stories_are_well_formed(plot: str, monkeypatch: pytest.MonkeyPatch):
    """Every plot tells whole sentences: no slot or choice is left, quotes and marks pair, articles fit."""
    monkeypatch.setattr("refgguf.demo.stories.PLOTS", {plot: PLOTS[plot]})
    for seed in range(200):
        marked = story(Random(seed), False)
        assert re.fullmatch(rf"([^{OPEN}{CLOSE}]*{OPEN}[^{OPEN}{CLOSE}]+{CLOSE})*[^{OPEN}{CLOSE}]*", marked)
        text = plain(marked)
        assert not set(text) & set("{}[]<>|?") - {"?"}, text
        assert text.count('"') % 2 == 0, text
        assert text[0].isupper() and text[-1] in '."', text
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]|  | [.,]", text), text


def test_every_story_has_people_of_the_small_world():
    """Somebody is in each story, and somebody else in nine of ten."""
    people = [
        set(re.findall(r"[A-Z][a-z]+", plain(story(Random(i), False)))) & set(NAMES) for i in range(100)
    ]
    assert min(map(len, people)) >= 1
    assert sum(len(names) > 1 for names in people) >= 90


def test_training_documents_hold_no_test_facts():
    """A document of the training part never uses a name that is kept for testing."""
    rng = Random(5)
    for _ in range(3000):
        text = plain(document(rng))
        for name in re.findall(r"(?:called|named|name was) ([A-Z][a-z]+)", text):
            assert name in NAMES or not is_test("names", name), text


def test_drills_hold_no_test_prompt():
    """None of 300 fresh prompts per task occurs anywhere in 5,000 drills, which are training text too."""
    rng = Random(8)
    drilled = "\n".join(plain(drill(rng)) for _ in range(5000))
    asked = [item.prompt for task in TASKS for item in prompts(task, 300, seed=9)]
    assert not [prompt for prompt in asked if prompt in drilled]


def test_a_drill_asks_for_everything():
    """A thorough telling of a gift asks who has it, who gave it and what it was, once each for every gift."""
    rng = Random(6)
    for _ in range(200):
        text = give(rng, False, thorough=True)
        answers = re.findall(f"{OPEN} ([^{CLOSE}]*){CLOSE}", text)
        people = [answer for answer in answers if answer in NAMES]
        assert len(answers) in (3, 6, 9, 12, 15) and len(set(answers)) == len(answers)
        assert len(people) == 2 * len(answers) // 3


def test_a_long_document_is_several():
    """Long documents are longer than the others on average, with marks intact."""
    rng = Random(1)
    longs, shorts = [long_document(rng) for _ in range(200)], [document(rng) for _ in range(200)]
    assert sum(map(len, longs)) > 1.8 * sum(map(len, shorts))
    assert all(text.count(OPEN) == text.count(CLOSE) for text in longs)


def test_about_one_fact_in_ten_is_kept_for_testing():
    """Of 10,000 fact tuples, 1,000 belong to the test part, give or take five standard deviations (150)."""
    assert abs(sum(is_test("x", i) for i in range(10_000)) - 1_000) < 150


def test_a_training_row_has_no_test_row_inside():
    """Whatever is told in turn, no run of two or more facts of a training row is kept for testing."""
    rng = Random(0)
    for _ in range(300):
        row = draw_row(rng, False, "row", lambda rng: tuple(rng.sample(range(1000), 3)))
        assert not any(is_test("row", *run) for run in (row, row[:2], row[1:]))


def test_the_last_answer_is_what_a_test_asks_for():
    """The prompt is all before the last mark, earlier answers included."""
    text = "One is" + mark(" 1") + ". Two is" + mark(" 2") + "."
    assert last_answer(text) == ("One is 1. Two is", " 2")
    assert plain(text) == "One is 1. Two is 2."


def test_the_grammar_chooses_fills_and_marks():
    """Choices nest, slots are filled, `<` and `>` mark, `?` leaves out, an empty choice leaves nothing."""
    rng = Random(0)
    assert (
        expand("{A} [is|is] [a[|]|a] < {b}>", {"A": "Tom", "b": "boy"}, rng) == f"Tom is a {OPEN} boy{CLOSE}"
    )
    told = {tell(["One.", "?Two.", ("Three.", "Four.")], {}, Random(seed)) for seed in range(50)}
    assert told == {"One. Three.", "One. Four.", "One. Two. Three.", "One. Two. Four."}


def test_pronouns():
    """Girls are she, boys are he."""
    assert pronouns("Mia") == ("she", "her", "her")
    assert pronouns("Tom") == ("he", "him", "his")
