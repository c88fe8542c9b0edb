"""What makers and teachers run: the notebooks, the book, slides, assignments, verdicts, times."""
