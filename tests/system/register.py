#!/usr/bin/python3
"""Registers many people at POST /register, for tests that kill what answers.

register.py URL COUNT IDS [--threads N]: posts until COUNT answers were 202; a request that is
answered otherwise, or not at all, is made again. The ids of each 202, one a line, are appended to
the file IDS before that thread's next request. Prints how many answers of each kind there were.
"""

import argparse
import collections
import http.client
import itertools
import json
import threading
import time
import urllib.parse

DEADLINE_S = 120


class Registrations:
    def __init__(self, options):
        self.options = options
        self.host = urllib.parse.urlsplit(options.url).netloc
        self.numbers = itertools.count(1)
        self.answers = collections.Counter()
        self.lock = threading.Lock()
        self.until = time.monotonic() + DEADLINE_S
        self.file = open(options.ids, "a", buffering=1)

    def post(self, connection, number):
        """The status and the ids, or what kept the answer away."""
        body = json.dumps({"email": f"user{number}@example.org", "name": f"User {number}"})
        try:
            connection.request("POST", "/register", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return "no answer", []
        if answer.status != 202:
            return str(answer.status), []
        return "202", [task["id"] for task in json.loads(text)["tasks"]]

    def run(self):
        connection = http.client.HTTPConnection(self.host, timeout=20)
        while True:
            number = next(self.numbers)
            if number > self.options.count:
                return
            status, ids = self.post(connection, number)
            while status != "202" and time.monotonic() < self.until:
                with self.lock:
                    self.answers[status] += 1
                time.sleep(0.01)
                status, ids = self.post(connection, number)
            with self.lock:
                self.answers[status] += 1
                for each in ids:
                    self.file.write(each + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("ids")
    parser.add_argument("--threads", type=int, default=8)
    registrations = Registrations(parser.parse_args())
    threads = [threading.Thread(target=registrations.run) for _ in range(registrations.options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(", ".join(f"{count} × {status}" for status, count in sorted(registrations.answers.items())))
    return 0 if registrations.answers["202"] == registrations.options.count else 1


if __name__ == "__main__":
    raise SystemExit(main())
