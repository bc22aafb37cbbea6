"""Energy of a machine and the part of it that is a run's: counters, processor time, and the book in which it is counted once."""
