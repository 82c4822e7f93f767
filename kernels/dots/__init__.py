"""Dot products of packed weights with activations, one file per family."""
