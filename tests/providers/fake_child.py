"""Stands in for the child process of a local model: `fake_child.py WAY LOG`.

It adds its process id to LOG and behaves as WAY says. Under /pid it shows its process id, under /environ its
environment, under /die it dies.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY = os.environ["EAI_MCP_LOCAL_KEY"]


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith("/die"):
            os.kill(os.getpid(), signal.SIGKILL)
        right = self.headers["Authorization"] == f"Bearer {KEY}"
        page = json.dumps(dict(os.environ)) if self.path.endswith("/environ") else str(os.getpid())
        self.send_response(200 if right else 401)
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *words):
        pass


def ready():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(json.dumps({"base_url": f"http://127.0.0.1:{server.server_port}/v1"}) + "\n")


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def broken():
    complain("E llama: error: the file is cut off\nE srv: exiting")
    say(json.dumps({"error": "cannot load"}) + "\n")


def stubborn():
    ready()
    signal.pause()


def complain(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


WAYS = {
    "ready": ready,
    "stubborn": stubborn,
    "broken": broken,
    "silent": lambda: complain("loading tensors"),
    "crash": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "noise": lambda: say('["not what was agreed"]\n'),
}


def main():
    with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    WAYS[sys.argv[1]]()
    sys.stdin.buffer.read()
    os._exit(0)


main()
