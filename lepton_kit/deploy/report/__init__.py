"""The report card: variants of a model made, scored, timed and told, one by one or by a search."""
