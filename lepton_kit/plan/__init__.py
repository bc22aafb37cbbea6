"""Pure functions that decide who gets which workers, and the simulator that tries them on thousands of devices."""
