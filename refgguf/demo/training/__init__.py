"""How the embedded model was made: tokenizer, network, optimiser, loop, evaluation, export.

It needs PyTorch, `tokenizers` and `gguf` (the extra `train`). Nothing here is imported when refgguf runs.
"""
