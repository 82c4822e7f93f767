"""More plots, in the same form and with the same slots as `plots.py`."""

# ruff: noqa: E501  (a sentence stays on its line)
# fmt: off
from __future__ import annotations

from refgguf.demo.grammar import Beat
from refgguf.demo.plots_day import ENDING, OPENING

NIGHT: list[Beat] = [
    OPENING,
    ("That night {A} could not sleep.", "When night came, {A} lay awake.", "At night {A} heard a sound outside."),
    (
        "{He} opened the window and looked at the stars.",
        "It went [tap, tap, tap|knock, knock, knock]. {A} counted< three>.",
    ),
    (
        "On the roof sat a {creature}.",
        "A little star had fallen and lay {spot}.",
        "Under the window stood {B} with a lamp.",
    ),
    ('"Come with me," said a quiet voice.', '"Are you afraid?" it asked. "No," said {A}, but {he} was.'),
    (
        "They went down to {home}, where the water was black and still.",
        "They walked through the dark garden and past the well.",
    ),
    ("There they met {C}, who could not sleep either.", "?{A} held {his} {thing} in {his} hand."),
    (
        '"The moon is not near," said {C}. "It is< far> away."',
        '"Night is only the other side of the day," said {C}.',
        '"Listen," said {C}. "The {animal_pl} near the river< are> singing."',
    ),
    ("They sat and looked up until the sky was grey.", "They counted stars: one, two, three, four. Then they stopped counting."),
    ("In the morning {A} did not know if it had been a dream.", "When the sun came up, {A} was back in {his} bed."),
    (
        "But on the table lay {a_thing}, and it had not been there before.",
        "But there was a little sand in {his} shoes.",
        '"Did you sleep well?" asked {B}. {A} only smiled.',
    ),
    ENDING,
]

SHARE: list[Beat] = [
    OPENING,
    "{A} had {a_thing}. {B} had {a_thing2}.",
    (
        "{A} thought that the {noun2} was much finer.",
        "Every day {A} looked at the {noun2} of {B}.",
        "{A} wanted the {noun2}. {B} wanted the {noun}.",
    ),
    ('"Let us trade," said {A}.', '"Give me yours, and I give you mine," said {B}.'),
    ("So {A} gave the {noun} to {B}, and {B} gave the {noun2} to {A}.", "So {B} got the {noun}, and {A} got the {noun2}."),
    ("Now {B} had the< {noun}>.", "Now the {noun2} was with< {A}>.", "From that day the {noun} belonged to< {B}>."),
    (
        "But in the evening {A} missed {his} {noun}.",
        "After three days they were both sad.",
        "{A} played with the {noun2}, but it was not the same.",
    ),
    ('"I want my {noun} back," {he} told {C}.', "{He} went to {C} and asked what to do."),
    ('"Ask {B}," said {C}. "It is very easy."', '{C} laughed. "Why do you not play together?"'),
    (
        "So {B} gave the {noun} back. Now the {noun} was with< {A}> again.",
        "From then on they shared the {noun} and the< {noun2}>.",
    ),
    ENDING,
]

GARDEN: list[Beat] = [
    OPENING,
    ("{A} put {n} seeds into the ground {spot_g}.", "{C} gave {A} {n} seeds. {He} planted them {spot_g}."),
    ("{B} brought {m} more.", "{B} had {m} seeds too and planted them there."),
    ("That made< {sum}> seeds.", "So there were< {sum}> seeds in the ground."),
    ("Every morning {A} came with water.", "It did not rain for a week, so they carried water from the well."),
    ("?Nothing happened.", '"Nothing grows," said {B}. "Wait," said {A}.', "They waited and waited."),
    (
        "Then, one day, there was something green.",
        "After a week the first leaves came.",
    ),
    ("Soon there were flowers, and all of them were {colour}.", "In the end they had {colour} flowers as high as {B}."),
    (
        "{Animal_a} came to look at them.",
        "People came from far away to see the< {colour}> flowers.",
        '"I have never seen so many< {colour}> flowers," said {C}.',
    ),
    ("{A} picked one for {B} and one for {C}.", "{A} gave the best one to {C}. It stands now in the kitchen of< {C}>."),
    ENDING,
]

LETTER: list[Beat] = [
    OPENING,
    ("A letter came. It was from {C}.", "In the morning {A} found a letter {spot}."),
    (
        'In it stood: "Dear {A}, come to {home} and bring {a_thing}."',
        'It said: "Come to {home} today. Do not forget to bring {a_thing}."',
    ),
    ('"What does {C} want?" asked {B}.', "{A} read it twice. Then {he} read it to {B}.", "?{A} did not understand it at all."),
    ("{A} looked for the right thing, and there it was: the< {thing}>.", "{B} helped {him} to find the< {thing}>. It was {spot2}."),
    ("Where did they have to go? They went to< {home}>.", "Then they walked to< {home}>, as the letter said."),
    ("{C} (who was wearing a funny hat) was already there.", "There stood {C} with a big smile.", "At first they saw nobody."),
    (
        '"You came!" said {C}. "Did you bring the< {noun}>?"',
        '"Good," said {C}. "Now give me the< {noun}>."',
    ),
    (
        "{C} put it on the water, and it floated.",
        "{C} put it with all the others, and now it was full.",
        "{C} tied it to a kite, and up it went.",
    ),
    ("They all laughed so much that {an_animal} ran away.", '"That was all?" said {A}. "That was all," said< {C}>.'),
    ENDING,
]

TALE: list[Beat] = [
    (
        "Once upon a time there was a {creature} called {pet}.",
        "Far away, behind seven hills, lived a {creature}. Its name was {pet}.",
        "Long ago a {creature} named {pet} lived near {home}.",
    ),
    ("It was not small at all. It was very< big>.", "It was so big that its house had no roof.", "It had {colour} [hair|eyes|shoes]."),
    ("People were afraid of< {pet}>.", "Nobody ever came to visit< {pet}>."),
    (
        "Only {A} was not afraid. {He} took {a_thing} and went there.",
        'One day {A} lost {his} way and came to the door. "Come in," said a deep voice.',
    ),
    (
        '"What do you want?" asked the {creature}.',
        'The {creature} looked down. "You are not afraid?" it asked.',
    ),
    ('"I want to play," said {A}.', '"I am looking for a friend," said {A}.', '"I brought you something," said {A}.'),
    (
        "{A} gave {a_thing} to the {creature}. Nobody had ever given anything to< {pet}>.",
        "Then the {creature} made {food}, and they ate together.",
    ),
    ('"Why do you live alone?" asked {A}. "I am too loud," it said. So {A} taught it to be< quiet>.',
     '"Tell them that I am kind," it said. "I will," said {A}.'),
    ("{A} went home and told {B} about it.", "Back in the village {A} told everyone."),
    ("The next day {B} came too, and then {C}.", "And one after the other they all came to see< {pet}>."),
    (
        "Since then nobody is afraid of< {pet}>.",
        "And the name of the {creature}? It was< {pet}>.",
        "The {creature} was not sad any more. It was< happy>.",
    ),
]  # fmt: skip

HIDE: list[Beat] = [
    OPENING,
    ("{A}, {B} and {C} were playing hide and seek.", '"Let us play hide and seek," said {B}. {C} came too.'),
    ("{A} had to count: one, two, three, four,< five>.", "{A} closed {his} eyes and counted: one, two, three, four,< five>."),
    ("{B} hid {spot}. {C} hid {spot2}.", "{B} went {spot}, and {C} went {spot2}."),
    ('"I am coming!" called {A}.', "{A} opened {his} eyes. Everything was quiet."),
    ("?{He} looked at {an_animal}. It looked away.", "First {he} found only {a_thing}.", "{He} walked around the house."),
    ("Then {he} heard a laugh. It came from {C}, who was< {spot2}>.", "{C} had to laugh, and so {A} found {C}< {spot2}>."),
    ("But where was {B}? They looked until it was dark.", "But {B} was not so easy to find."),
    ('"Come out, {B}!" they called.', "They called and called."),
    ("At last they found {B}, asleep< {spot}>.", "In the end {B} came out. {Bhe} had been< {spot}>."),
    ('"I won," said< {B}>.', "So the winner was< {B}>."),
    ENDING,
]

RIDDLE: list[Beat] = [
    OPENING,
    ("{A} and {B} wanted to visit {C}.", "So {he} went for a long walk with {B} and {C}."),
    ("An old {creature} sat on the bridge and let nobody pass.", "In the middle of the road sat a {creature}."),
    ('"Tell me," it said, "what is the opposite of {opp}?"', '"First you must answer," it said. "What is the opposite of {opp}?"'),
    ("{B} did not know.", "{B} thought hard.", "?Nobody had ever known it."),
    ('"It is< {opp2}>," said {A}.', '{A} laughed. "That is easy," {he} said. "It is< {opp2}>."'),
    ('"Good," it said. "And how much is {n} and {m}?"', '"One more," it said. "I have {n} {things} and find {m} more. How many are there?"'),
    ("{B} counted on {bhis} fingers.", "Now {B} was faster.", "?{C} wanted to help, but {B} said no."),
    ('"There are< {sum}>," said {B}.', '"That makes< {sum}>," said {B}.'),
    ("The {creature} was so pleased that it gave {A} {a_thing}.", "Then the {creature} stood up and gave them {a_thing}."),
    ('"What is your name?" asked {A}. "{pet}," it said.', '"My name is {pet}," said the {creature}. "Come again."'),
    ("So they went on and waved to< {pet}>.", "At home {A} showed everyone the< {thing}>."),
    ENDING,
]  # fmt: skip
