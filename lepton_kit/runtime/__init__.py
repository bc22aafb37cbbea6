"""Launching, driving and holding runs."""
