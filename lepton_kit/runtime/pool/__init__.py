"""Runs of one machine that share it: small files in a folder, from which each computes what it gets."""
