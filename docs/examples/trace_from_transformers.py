"""Write a refgguf trace from a run of Hugging Face transformers; see docs/traces.md for what the file holds.

python trace_from_transformers.py HF_MODEL "Once upon a time" theirs.safetensors
refgguf compare theirs.safetensors ours.safetensors
"""

from __future__ import annotations

import json
import sys

import numpy as np
from safetensors.numpy import save_file


def save_trace(path, token_ids, output) -> None:
    """Write the hidden states, attention patterns and logits of one forward pass.

    Args:
        path: the file to write, *.safetensors.
        token_ids: the tokens of the text.
        output: what the model returned with output_hidden_states (and output_attentions) switched on.
    """
    states, n_layers = output.hidden_states, len(output.hidden_states) - 1
    found = {"embed": states[0], "final_norm": states[n_layers], "logits": output.logits}
    # transformers shows the last layer's stream only behind the final norm
    found |= {f"blk.{i}.resid_post": states[i + 1] for i in range(n_layers - 1)}
    found |= {f"blk.{i}.attn_probs": x for i, x in enumerate(output.attentions or ())}
    arrays = {name: np.ascontiguousarray(x[0].float().numpy()) for name, x in found.items()}
    note = {"format": "refgguf-trace", "format_version": "1", "numerics": "transformers"}
    save_file(arrays, path, metadata=note | {"tokens": json.dumps([int(id) for id in token_ids])})


def main(name: str, text: str, path: str) -> None:
    """Run a model of the Hugging Face hub on a text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(name)(text, return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="eager")
    with torch.no_grad():
        save_trace(path, ids[0].tolist(), model(ids, output_hidden_states=True, output_attentions=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
