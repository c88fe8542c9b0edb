"""The course as a book that needs no kernel and no network: python -m tools.book."""
