"""A plan of a training: made from short runs or a log, told in words and drawn."""
