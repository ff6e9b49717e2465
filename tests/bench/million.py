#!/usr/bin/python3
"""Asks the same questions again and again, and says how long the answers took. Called by million.sh.
   million.py URL TOKEN REPEAT <CASES, a case a line, its fields parted by tabs:
     LABEL GET|POST|ALL PATH      ALL follows `next` to the end: once, all its pages together
     LABEL RUN COMMAND            a program, with its start
   A line a case on standard output, fields parted by tabs: label, median and p99 (of few: the longest) in ms,
   tasks in the last answer (or the step's `matched`), and the pages that it took: 1+ where more follow."""
import http.client
import json
import subprocess
import sys
import time
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
headers = {"Authorization": "Bearer " + sys.argv[2]}
connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)


def ask(method, path):
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"million.py: {method} {path}: {answer.status} {body[:200]!r}")
    return json.loads(body)


def count(answer):
    return answer.get("matched", len(answer.get("tasks", ())))


def page(method, path):
    answer = ask(method, path)
    return count(answer), "1+" if answer.get("next") else "1"


def every_page(path):
    found, pages = 0, 0
    while path:
        answer = ask("GET", path)
        found, pages, path = found + count(answer), pages + 1, answer["next"]
    return found, str(pages)


def run(command):
    done = subprocess.run(command.split(), stdout=subprocess.PIPE, check=True)
    return done.stdout.count(b"\n"), "-"


def measure(repeat, once):
    took = []
    for _ in range(repeat):
        begun = time.monotonic()
        found, pages = once()
        took.append(1000 * (time.monotonic() - begun))
    took.sort()
    return took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)], found, pages


for line in sys.stdin:
    label, method, what = line.rstrip("\n").split("\t")
    repeat = int(sys.argv[3])
    if method == "ALL":
        figures = measure(1, lambda: every_page(what))
    elif method == "RUN":
        figures = measure(max(1, repeat // 10), lambda: run(what))
    else:
        figures = measure(repeat, lambda: page(method, what))
    print("{}\t{:.2f}\t{:.2f}\t{}\t{}".format(label, *figures), flush=True)
