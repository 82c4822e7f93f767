"""What can be done with the weights of a file: check their decoding, explain, measure and requantize them."""
