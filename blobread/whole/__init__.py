"""Blobs that are taken whole: many of them into memory, or one into a file."""
