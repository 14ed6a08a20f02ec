"""A task that sums the orders of a day."""
