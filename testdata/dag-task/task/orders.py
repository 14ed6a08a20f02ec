"""Reading orders and summing them."""

import csv
import json
import os
from decimal import Decimal
from pathlib import Path

from tallies import tally

ORDERS = Path(__file__).parent.parent / "data" / "orders.csv"


def read_orders(path=ORDERS):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_settings(path=None):
    path = path or os.environ.get("TASK_SETTINGS", "/etc/task.json")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def summary(orders, key, settings):
    """Lines of text, one for each sum that is not below the minimum."""
    minimum = Decimal(settings["minimum"])
    return [
        f"{name:<12}{total:>10} {settings['currency']}"
        for name, total in tally(orders, key, "amount")
        if total >= minimum
    ]
