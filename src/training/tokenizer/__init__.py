"""The training of the video tokenizer."""
