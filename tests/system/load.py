#!/usr/bin/python3
"""Sends requests until standard input ends: load.py URL CONNECTIONS [accepted]

Each connection is kept open and used by one thread, a POST that is refused and a GET of nothing in turn:
no web server may send the first kind twice. With "accepted" the POST registers somebody.
Prints how many were answered and every answer that was neither 422, or 202, nor 404."""
import http.client
import sys
import threading
import urllib.parse

url = urllib.parse.urlparse(sys.argv[1])
posted = ('{"email":"ada@example.org","name":"Ada"}', 202) if "accepted" in sys.argv[3:] else ("{}", 422)
ended = threading.Event()
lock = threading.Lock()
answered = 0


def run():
    global answered
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    count = 0
    while not ended.is_set():
        try:
            if count % 2 == 0:
                connection.request("POST", "/register", posted[0], {"Content-Type": "application/json"})
            else:
                connection.request("GET", "/nothing")
            response = connection.getresponse()
            response.read()
            if response.status != (posted[1] if count % 2 == 0 else 404):
                print("wrong", response.status, flush=True)
        except (OSError, http.client.HTTPException) as error:
            print("wrong", repr(error), flush=True)
            connection.close()
        count += 1
    with lock:
        answered += count


threads = [threading.Thread(target=run) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
sys.stdin.read()
ended.set()
for thread in threads:
    thread.join()
print("answered", answered)
