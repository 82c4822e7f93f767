"""Other programs that run the same file: their own intermediate tensors, as ordinary traces."""
