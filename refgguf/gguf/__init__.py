"""The container: reads and writes GGUF files, and knows nothing of what the tensors mean."""
