"""Processes that are not workers: detached ones, and calls in a process of their own."""
