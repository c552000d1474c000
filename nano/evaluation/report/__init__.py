"""What is written of it: tables, sheets, the blocks of docs/nano.md."""
