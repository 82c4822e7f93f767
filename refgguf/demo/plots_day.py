"""The plots of the stories, written in the grammar of `grammar.py`; the slots are drawn in `stories.py`.

{A} is the one the story is about (he, him, his, He, His), {B} a friend (bhe, bhim, bhis, Bhe), {C} a third.
{thing} is a noun with a look ({look} {noun}), {spot} and {spot2} are places for it, {n} + {m} = {sum} are
numbers of {things}.
"""

# ruff: noqa: E501  (a sentence stays on its line)
# fmt: off
from __future__ import annotations

from refgguf.demo.grammar import Beat

OPENING: Beat = (
    "One {season} morning {A} woke up early.",
    "Once upon a time there was a [child|little {child}] called {A}.",
    "It was a [warm|cold|windy|bright|quiet] {season} day, and {A} had nothing to do.",
    "{A} and {B} lived in a village near {home}.",
    "On the first day of {season} {A} [looked out of the window|went outside|sat by the window].",
    "There was once a {child} named {A} who lived near {home}.",
    "In {season} {A} often went to see {B}, who lived near {home}.",
)
ENDING: Beat = (
    "It had been a good day.",
    "{A} and {B} were friends from that day on.",
    "And that night {A} slept very well.",
    "They talked about it for a long time.",
    "{A} never forgot that day.",
    "Then they all went home and had {food}.",
    "From then on {A} and {B} did everything together.",
    "And if they have not stopped, they are laughing still.",
)

LOST: list[Beat] = [
    OPENING,
    (
        "{A} had {a_thing}, and {he} loved it [very much|more than anything].",
        "{His} favourite thing was {a_thing}.",
        "{B} had given {him} {a_thing}, and {he} took it everywhere.",
    ),
    (
        "But today the {noun} was gone.",
        "One day {he} could not find the {noun}.",
        "Now the {noun} was not in its place.",
    ),
    ("{He} looked {spot2}, but it was not there.", "{He} looked {spot2} and found only [dust|a spider|an old shoe]."),
    ('"Have you seen my {noun}?" {he} asked {B}.', '{He} ran to {B}. "My {noun} is gone," {he} said.'),
    (
        '"Think," said {B}. "Where were you yesterday?"',
        '"Do not cry," said {B}. "We will look for it together."',
        '"I will help you," said {B}.',
    ),
    "?They asked {C}, but {C} knew nothing.",
    (
        "They looked and looked, and at last {B} found it {spot}.",
        "In the end it was {spot}. {Animal_a} was sitting beside it.",
        "Then {C} called. The {noun} was {spot}.",
    ),
    (
        '"How did it get there?" asked {A}. Nobody knew how the {noun} had come to be< {spot}>.',
        '{A} laughed. "Of course! I left the {noun}< {spot}>."',
        "{A} picked up the< {thing}> and held it tight.",
    ),
    ('"Thank you, {B}," said {A}.', "{A} thanked {B} and {bhe} smiled."),
    ENDING,
]

GIFT: list[Beat] = [
    OPENING,
    (
        "It was the birthday of {B}, and {A} wanted to give {bhim} something.",
        "Tomorrow was the birthday of {B}. {A} had no gift yet.",
    ),
    ("{A} knew that {B} liked {colour} best of all.", "{B}'s favourite colour was {colour}. {A} knew that well."),
    (
        "{He} had only {n} coins, [so|and] {he} went to the market.",
        "{He} went to {C}, who could make anything.",
        "{He} thought and thought, and then {he} had an idea.",
    ),
    (
        "At the market there were [hats|scarves|ribbons] in every colour.",
        "There were so many fine things to see.",
        "?{He} asked {C} what to do. {C} said: look for the colour.",
    ),
    (
        "{He} took a {noun} and asked for paint. Which colour? {He} made it< {colour}>.",
        "{He} saw a {noun} that was just the right colour. It was< {colour}>.",
    ),
    "?Then {he} put it into a box and tied the box with a ribbon.",
    (
        "When {B} opened the box, {bhis} eyes grew wide.",
        "{B} opened it slowly.",
        "In the evening {A} gave the {noun} to< {B}>.",
    ),
    (
        '"A {colour} {noun}!" said {B}. "How did you know?"',
        '"It is {colour}, the colour I like best," said {B}.',
        '"Thank you, {A}," said {B}. "I will keep it always."',
    ),
    ('{A} smiled. "You told me once," {he} said.', "Now the {noun} belonged to< {B}>, and {A} was [happy|glad] too."),
    ENDING,
]

RAIN: list[Beat] = [
    OPENING,
    "{A} and {B} [went for a walk|walked to {home}|wanted to go fishing].",
    (
        "Suddenly the sky turned dark.",
        "Then big clouds came over the hill.",
        "They had not gone far when it began to rain.",
    ),
    ("It was wet everywhere, and soon they were cold.", "The rain came down hard. Their coats were not dry but< wet>."),
    (
        '"We need a roof," said {A}. "There is an old barn near here."',
        '"Run!" called {B}, and they ran to the old barn.',
    ),
    (
        "The barn was not big. It was< small>, but it was dry inside.",
        "The door was not open. It was< closed>, but {B} knew how to open it.",
    ),
    "In the barn there was {an_animal} [with soft ears|asleep in the hay|looking at them].",
    (
        "Its name was {pet}, said {C}, who was there too.",
        '"This is {pet}," said {C}, who lived there. "{pet} likes the rain."',
        "{A} called it {pet}.",
    ),
    (
        "They sat down beside< {pet}> and listened to the rain.",
        "They gave some {food} to< {pet}>, and it ate all of it.",
    ),
    "?{C} told them a story about a {creature} who was afraid of [water|mice|the moon].",
    ("When the sun came back, they said goodbye to< {pet}>.", "At last the rain stopped, and the grass shone."),
    ENDING,
]

MARKET: list[Beat] = [
    OPENING,
    (
        "It was market day, and {A} went there with {B}.",
        "{A} had to buy {things} for {his} mother, and {B} came along.",
    ),
    (
        "{A} bought {n} {things}. {B} bought {m}.",
        "{A} had {n} {things} in {his} basket, and {B} had {m}.",
    ),
    ("Together they had< {sum}> {things}.", "{B} counted them. There were< {sum}> in all."),
    (
        "On the way home they met {C}, who was hungry.",
        "Then {C} came by. {C} looked sad.",
        "At the gate sat {C}, all alone.",
    ),
    (
        '"What is wrong?" asked {A}. "I have lost my money," said {C}.',
        '"I have nothing to bring home," said {C}.',
        '"I have been sick," said {C}, "and I could not go to the market."',
    ),
    ("So {B} gave {C} all {bhis} {m} {things}.", "{B} did not think long and gave {bhis} {m} {things} to {C}."),
    ("Now only {A}'s {things} were left, and that was< {n}>.", "That left them with< {n}>."),
    ('"That is enough," said {A}.', '"It is enough for us," said {B}, and {A} said yes.'),
    "?{C} was not sad any more. {C} was< happy>.",
    "?The next week {C} brought them {a_thing}.",
    ENDING,
]

RACE: list[Beat] = [
    OPENING,
    (
        "Everyone knew that {A} was {up} than {B}, and that {B} was {up} than {C}.",
        "{A} was {up} than {B}. {B} was {up} than {C}.",
    ),
    ("So the {most} of the three was< {A}>.", "The {most} was< {A}>, and the {least} was< {C}>."),
    (
        "But {C} had an idea. {C} wanted to win the race to {home}.",
        "One day they had a race to {home}.",
        '"Let us run to {home}," said {C}. "I will win!"',
    ),
    ("{A} laughed. {B} did not.", '"You?" said {A}, and laughed.', '"We will see," said {B}.'),
    ("They ran past the mill and over the bridge.", "One, two, three, and off they went.", "The whole village came to look."),
    (
        "On the way {A} saw some {things} and stopped to eat.",
        "Then {A} stopped to look at {an_animal}.",
        "{A} was so sure of {himself} that {he} sat down under a tree.",
    ),
    ("{B} lost a shoe.", "{B} took the wrong road.", "{B} stopped to wait for {A}."),
    ("{C} did not stop. {C} went on and on.", "{C} looked neither left nor right."),
    ("So in the end the one who won was< {C}>.", "And who came first? It was< {C}>."),
    (
        "The prize was {a_thing}. {C} took the< {thing}> home.",
        '"Well done, {C}!" said {A}, and {he} meant it.',
    ),
    ENDING,
]

WORDS: list[Beat] = [
    OPENING,
    "Behind {home} there was a [little|strange|green] door that nobody could open.",
    (
        'An old {creature} told {A} the secret words: "{w1} {w2} {w3}".',
        '{A} found a letter. In it stood three words: "{w1} {w2} {w3}".',
    ),
    ("{A} told {B} about it, and nobody else.", "{He} wrote them down and showed them to {B}.", "?{He} said them all day long."),
    ("At night they went to the door.", "In the evening, when all was quiet, they took a lamp and went there."),
    ('{A} said: "{w1}< {w2} {w3}>".', '"{w1}< {w2} {w3}>", said {B} slowly.'),
    ("The door opened.", "There was a sound like a bell, and the door was open.", "First nothing happened. Then the door opened."),
    (
        "Behind it lay a garden with {things} of every colour.",
        "Inside stood a table, and on the table lay {a_thing}.",
        "There sat a {creature} called {pet}, drinking tea.",
    ),
    (
        '"You are the first to come," said a voice. "Take what you like."',
        '"Good evening," said someone. "You know the words, so you may stay."',
    ),
    ("{B} took nothing, and {A} took [one flower|a small stone|a leaf].", "They stayed until the moon was high."),
    'Whenever they wanted to come back, they said "{w1}< {w2} {w3}>".',
    ENDING,
]

SICK: list[Beat] = [
    OPENING,
    (
        "{B} was sick and had to stay in bed.",
        "But {B} did not come to school. {B} was sick.",
    ),
    "{A} knew that {B} liked {food} best.",
    ("So {he} went to the kitchen and made some< {food}>.", "{He} asked {C} for help, and together they made< {food}>."),
    ("{He} put it into a basket and walked to {home}.", "{He} carried it carefully to the house of {B}."),
    "?On the way {an_animal} wanted to have some, but {A} said no.",
    (
        '"Who is there?" asked {B}. "It is me," said {A}.',
        '{A} knocked three times. "Come in," said a quiet voice.',
    ),
    (
        '{B} ate all of the {food}. "That was good," {bhe} said.',
        '"{food_cap}!" said {B}. "That is just what I wanted."',
    ),
    (
        "Then {A} read to {bhim} from {his} {look} book.",
        "Then {A} told {bhim} a story about a {creature} named {pet}. {B} laughed about< {pet}>.",
        "Then they played with {a_thing}.",
    ),
    ("The next day {B} was well again.", "After two days {B} was not weak any more. {Bhe} was< strong>."),
    ENDING,
]

PET: list[Beat] = [
    OPENING,
    (
        "{A} found {an_animal} {spot}.",
        "{spot_cap} sat {an_animal}. It looked at {A}.",
    ),
    ('It was very small and {A} called it {pet}.', '"I will call you {pet}," said {A}.'),
    ("{A} took it home and gave it [milk|water|some bread].", "{B} said that it needed {food}, and it did."),
    ("Every day< {pet}> grew a little.", "Soon everyone in the village knew< {pet}>."),
    (
        "But one night the {animal} was gone. {A} looked for< {pet}> everywhere.",
        'One day it ran away. "{pet}!" called {A}, but nobody came.',
    ),
    (
        "{He} went to {C}, who knew a lot about animals.",
        '"Have you seen my {animal}?" {he} asked {C}.',
    ),
    (
        '"Yes," said {C}. "It was {spot2}. It is waiting for you."',
        '"Look where you found it," said {C}.',
        "{C} pointed at the trees. There was a sound.",
    ),
    ("And there it was, with {numword} little ones.", "And there sat the {animal}, happy and dirty."),
    ('"There you are,< {pet}>," said {A}.', "So {A} came home with< {pet}>."),
    ENDING,
]

BUILD: list[Beat] = [
    OPENING,
    (
        "{A} wanted to build a [boat|house in a tree|little bridge].",
        "{A} had always wanted to fly.",
    ),
    ("{He} needed {n} boards and a rope. {He} had only the rope.", "{He} needed help, so {he} asked {B} and {C}."),
    ("{B} brought {a_thing}. {C} brought some {food}.", "{C} came with {a_thing}. {B} came with a bag full of {things}."),
    (
        '"What is the {noun} for?" asked {A}.',
        '"This will not work," said {C}. "It will," said {A}.',
        "They worked all morning. {A} held the rope, and {B} tied it.",
    ),
    ("The work was not easy. It was< difficult>.", "The first time it fell down. The second time it fell down too."),
    ("?Then they ate the {food} and began again.", "{A} was tired, but {he} did not stop."),
    (
        "In the evening it was done. It was not small, it was< big>.",
        "At last it stood there, and the children that saw it< were> amazed.",
    ),
    ("They painted it {colour}.", "{A} painted it {colour}, because {he} liked {colour}."),
    ("In the last light it shone,< {colour}> and new.", "Everyone came to see the< {colour}> wonder."),
    ENDING,
]
