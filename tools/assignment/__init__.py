"""For teachers: the course's exercises as assignments for nbgrader."""
