"""Command line of the task."""

import argparse
import os
import sys

from task.orders import read_orders, read_settings, summary


def main():
    parser = argparse.ArgumentParser(prog="task")
    commands = parser.add_subparsers(dest="command", required=True)
    by = commands.add_parser("summary", help="sums of the orders")
    by.add_argument("--by", choices=["country", "day"], default="day")
    by.add_argument("--day", help="only orders of this day")
    commands.add_parser("whoami", help="where and as whom the task runs")
    arguments = parser.parse_args()

    if arguments.command == "whoami":
        print(f"dag={os.environ['DAG_ID']} uid={os.getuid()} gid={os.getgid()} cwd={os.getcwd()}")
        return 0

    settings = read_settings()
    orders = [order for order in read_orders() if arguments.day in (None, order["day"])]
    if not orders:
        print(f"no orders on {arguments.day}", file=sys.stderr)
        return 3
    for line in summary(orders, arguments.by, settings):
        print(line)
    return 0


sys.exit(main())
