#!/usr/bin/python3
"""Posts registrations to URL until one is refused with 503 (the ring is full), for tests.

fill.py URL IDS: writes the ids of every 202 to the file IDS. Status 0 when the end was a 503.
"""

import http.client
import json
import sys
import urllib.parse

MOST = 200000


def main(url, path):
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=20)
    # Large ones fill it sooner.
    body = json.dumps({"email": "ada@example.org", "name": "A" * 100})
    with open(path, "w") as ids:
        for _ in range(MOST):
            connection.request("POST", where.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 503:
                return 0
            if answer.status != 202:
                print("answered with", answer.status, text.decode(errors="replace"))
                return 1
            for task in json.loads(text)["tasks"]:
                ids.write(task["id"] + "\n")
    print("the ring is never full")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
