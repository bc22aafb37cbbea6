"""Pure functions that decide who gets what, and the simulator that tries them on thousands of devices."""
