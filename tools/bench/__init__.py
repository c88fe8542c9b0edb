"""What `make bench` measures: times and memory beside their budgets."""
