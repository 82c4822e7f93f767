"""The embedded model: the small world it was taught, the tasks that check it, and the script that trained it.

`lexicon`, `grammar`, `plots`, `scenes`, `stories` and `corpus` write the text (pure Python, from a seed);
`tasks` makes fresh prompts with their right answers; `training` (PyTorch, the optional extra `train`) learns
from it, and nothing that runs at use time imports it.
"""
