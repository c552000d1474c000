"""The depth estimators, one file each, and the table that chooses among them."""
