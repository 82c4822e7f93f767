"""The tokens of a file: texts, types, scores, and which of them are special.

Nothing is decoded until it is asked for: one token's text costs one look-up in the file, and the table from text
to id is built by the first call that needs it.

Source: llama.cpp src/llama-vocab.cpp (llama_vocab::impl::load).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from refgguf.errors import TokenizerError
from refgguf.tokenizer.metadata import PREFIX, all_texts, number_array, one_text, read_integer, string_array

# attributes of a token, as the bits of llama.h LLAMA_TOKEN_ATTR_*
UNKNOWN, UNUSED, NORMAL, CONTROL, USER_DEFINED, BYTE, LSTRIP, RSTRIP = 1, 2, 4, 8, 16, 32, 128, 256
_OF_TYPE = np.array([0, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE], np.uint16)  # by token_type
_OF_NAME = {"normal": NORMAL, "user_defined": USER_DEFINED}

_ROLE_KEYS = {
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
    "eot": ("eot_token_id",),
    "eom": ("eom_token_id",),
    "unknown": ("unknown_token_id",),
    "separator": ("seperator_token_id",),  # sic
    "padding": ("padding_token_id",),
    "mask": ("mask_token_id",),
    "fim_pre": ("fim_pre_token_id", "prefix_token_id"),
    "fim_suf": ("fim_suf_token_id", "suffix_token_id"),
    "fim_mid": ("fim_mid_token_id", "middle_token_id"),
    "fim_pad": ("fim_pad_token_id",),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}
NONE = 0xFFFFFFFF  # what converters write for "no such token"


@cache
def special_rules() -> dict[str, Any]:
    """Return special_tokens.json."""
    return json.loads(Path(__file__).with_name("special_tokens.json").read_text(encoding="utf-8"))


@cache
def _texts_with_rules() -> frozenset[str]:
    """Return the token texts whose attributes do not come from their type alone."""
    rules = special_rules()
    by_text = [text for texts in rules["by_text"].values() for text in texts]
    return frozenset(
        [*by_text, *rules["end"], *rules["shown"], *(rule["text"] for rule in rules["not_end_beside"])]
    )


def up_to_nul(text: str) -> str:
    """Return a text's part before a NUL character, which is all that llama.cpp sees of it."""
    return text.partition("\0")[0]


class Vocabulary:
    """The tokens of a file.

    Args:
        metadata: the file's metadata.
        defaults: the ids that roles such as `"bos"` have when the file does not say.

    Raises:
        TokenizerError: an array has the wrong type or length, or an id lies outside the vocabulary.
    """

    def __init__(self, metadata: Mapping[str, Any], defaults: Mapping[str, int]):
        tokens = string_array(metadata, "tokens")
        if tokens is None:
            raise TokenizerError(
                f"the file has no {PREFIX}tokens, so its tokenizer cannot be used; give token ids"
            )
        if not len(tokens):
            raise TokenizerError(f"{PREFIX}tokens is empty")
        self._metadata, self._tokens = metadata, tokens
        self.n_tokens = len(tokens)
        self.types = number_array(metadata, "token_type", ("int32",), self.n_tokens)
        self._named = {role: self._role(role, keys, defaults) for role, keys in _ROLE_KEYS.items()}

    def _role(self, role: str, keys: Sequence[str], defaults: Mapping[str, int]) -> int | None:
        """Return the id that the file or the tokenizer's kind gives a role."""
        found = defaults.get(role)
        if found is not None and found >= self.n_tokens:
            found = None
        for name in keys:
            id = read_integer(self._metadata, PREFIX + name)
            if id is None or id in (-1, NONE):
                continue
            if not 0 <= id < self.n_tokens:
                raise TokenizerError(
                    f"{PREFIX}{name} is {id:,}, but the vocabulary has {self.n_tokens:,} tokens "
                    f"(0 to {self.n_tokens - 1:,})"
                )
            found = id
        return found

    def text(self, id: int) -> str:
        """Return a token's text as the file has it, up to a NUL; wrong UTF-8 as lone surrogates."""
        return up_to_nul(one_text(self._tokens, id)) or f"[EMPTY_{id}]"

    @cached_property
    def texts(self) -> list[str]:
        """The text of every token."""
        texts = all_texts(self._tokens)
        texts = [up_to_nul(text) for text in texts] if "\0" in "".join(texts) else texts
        return [text or f"[EMPTY_{id}]" for id, text in enumerate(texts)] if "" in texts else texts

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every text; of equal texts, the last one's."""
        return dict(zip(self.texts, range(self.n_tokens), strict=True))

    @cached_property
    def scores(self) -> np.ndarray:
        """The score of every token: (vocab,) float32, zeros when the file has none."""
        scores = number_array(self._metadata, "scores", ("float32", "int32"), self.n_tokens)
        if scores is None:
            return np.zeros(self.n_tokens, np.float32)
        if np.isnan(scores).any():
            at = int(np.flatnonzero(np.isnan(scores))[0])
            raise TokenizerError(f"{PREFIX}scores: the score of token {at:,} is not a number")
        return scores

    @cached_property
    def roles(self) -> dict[str, int | None]:
        """The id of each role: bos, eos, eot, eom, unknown, separator, padding, mask, fim_…; None if there is none.

        What the file does not name is found by its text. Of several candidates the lowest id is taken; llama.cpp
        takes the first in the order of a hash table.
        """
        roles = dict(self._named)
        for role, texts in special_rules()["by_text"].items():
            if roles[role] is None:
                roles[role] = min((self.ids[text] for text in texts if text in self.ids), default=None)
        return roles

    def named_role(self, role: str) -> int | None:
        """Return the id that the file or the kind gives a role, without looking at any text."""
        return self._named[role]

    @cached_property
    def _specials(self) -> tuple[np.ndarray, frozenset[int]]:
        """The attributes of all tokens, and the ids that end generation."""
        rules, ids, roles = special_rules(), self.ids, self.roles
        attributes = self._plain_attributes()
        for role in rules["by_text"]:
            if self._named[role] is None and roles[role] is not None:
                attributes[roles[role]] |= CONTROL
        control = np.flatnonzero(attributes & CONTROL)
        attributes[_index(id for id in control.tolist() if "unused" in self.texts[id])] |= UNUSED
        by_text = _index(ids[text] for text in rules["end"] if text in ids)
        attributes[by_text] |= CONTROL
        attributes[_index(ids[text] for text in rules["shown"] if text in ids)] = USER_DEFINED
        end = {*by_text.tolist(), *(roles[role] for role in rules["end_roles"] if roles[role] is not None)}
        for rule in rules["not_end_beside"]:
            id, texts = ids.get(rule["text"]), {self.texts[id] for id in end}
            if id in end and any(texts.issuperset(beside) for beside in rule["beside"]):
                end.remove(id)
                attributes[id] = _OF_NAME[rule["type"]]
        self._set_strip(attributes)
        return attributes, frozenset(end)

    def _plain_attributes(self) -> np.ndarray:
        if self.types is None:
            return np.full(self.n_tokens, NORMAL, np.uint16)
        known = (self.types >= 0) & (self.types < len(_OF_TYPE))
        return np.where(known, _OF_TYPE[np.where(known, self.types, 0)], np.uint16(0))

    def _set_strip(self, attributes: np.ndarray) -> None:
        """Mark tokens that swallow white space beside them; only names of models tell which."""
        for rule in special_rules()["strip"]:
            value = str(self._metadata.get(rule["key"], ""))
            value = value.lower() if rule["key"] == "general.name" else value
            if not any(part in value for part in rule["contains"]):
                continue
            for text in rule.get("left", ()):
                if text in self.ids:
                    attributes[self.ids[text]] |= LSTRIP
            special = np.flatnonzero(attributes & (CONTROL | USER_DEFINED | UNKNOWN))
            for text in rule.get("right", ()):
                chosen = special if text == "*" else _index(self.ids[t] for t in (text,) if t in self.ids)
                attributes[chosen] |= RSTRIP
            for text in rule.get("not_right", ()):
                if text in self.ids:
                    attributes[self.ids[text]] &= ~np.uint16(RSTRIP)
            return

    @property
    def attributes(self) -> np.ndarray:
        """The attribute bits of every token: (vocab,) uint16."""
        return self._specials[0]

    def attributes_of(self, id: int) -> int:
        """Return one token's attribute bits, without building any table if its text is none of those with rules.

        The bits that say how white space beside it is treated may be missing then.
        """
        if "_specials" in self.__dict__ or self.text(id) in _texts_with_rules():
            return int(self.attributes[id])
        if self.types is None:
            return NORMAL
        kind = int(self.types[id])
        return int(_OF_TYPE[kind]) if 0 <= kind < len(_OF_TYPE) else 0

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids of all tokens that end generation."""
        return self._specials[1]


def _index(ids: Iterable[int]) -> np.ndarray:
    return np.array(list(ids), np.intp)
