"""The figures: of a tokenizer, of still worlds, of moving worlds."""
