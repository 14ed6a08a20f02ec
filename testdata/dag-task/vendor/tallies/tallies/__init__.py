"""Sums by key, exact for money."""

from collections import defaultdict
from decimal import Decimal


def tally(rows, key, amount):
    """The sum of column `amount` for each value of column `key`, largest first."""
    sums = defaultdict(Decimal)
    for row in rows:
        sums[row[key]] += Decimal(row[amount])
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))
