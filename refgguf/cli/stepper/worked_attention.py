"""Worked examples of attention and of neurons: RoPE, scores, softmax, mixing, activation."""

from __future__ import annotations
