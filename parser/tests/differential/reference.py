"""Prints what Moby's own Dockerfile parser makes of files, one JSON object a line.

The parser comes with the package `dockerfile` of PyPI, which wraps the Go code of BuildKit 0.12.
Paths are read from standard input, one a line.
"""

import json
import sys

import dockerfile


def command(node):
    return {
        "instruction": (node.cmd or "").upper(),
        "child": node.sub_cmd.upper() if node.sub_cmd else None,
        "json": node.json,
        "flags": list(node.flags),
        "args": list(node.value),
        "heredocs": [{"name": body.name, "content": body.content} for body in node.heredocs],
        "start": node.start_line,
        "end": node.end_line,
    }


for line in sys.stdin:
    try:
        answer = {"instructions": [command(node) for node in dockerfile.parse_file(line.rstrip("\n"))]}
    except dockerfile.GoParseError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
