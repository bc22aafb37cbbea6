"""The table's sections, one module each, with a TITLE and its SITUATIONS."""
