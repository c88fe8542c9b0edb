"""Decks of slides, one file each that needs nothing else, made from the pages of the book."""
