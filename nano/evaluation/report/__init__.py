"""The report of an evaluation: tables, sheets, the blocks of docs/nano.md."""
