"""Readers: files of one form -> what they hold, as NumPy arrays. One module a format."""
