"""Webhooks, received by a Python server and judged by PyPI's `pusher`. Starts a server of its own."""

import json
import os
import queue
import subprocess
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

import test_pypi_pusher as world


class Backend:
    """Keeps the requests it gets."""

    def __init__(self):
        requests = self.requests = queue.Queue()

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                requests.put((self.headers["X-Pusher-Key"], self.headers["X-Pusher-Signature"], body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class PypiWebhooks(unittest.TestCase):
    def setUp(self):
        self.backend = Backend()
        self.addCleanup(self.backend.close)
        server = subprocess.Popen(
            ["node", world.HERE / "webhook_server.mjs", self.backend.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        def stop():
            server.stdin.close()
            self.assertEqual(server.wait(timeout=world.PATIENCE_S), 0)
            server.stdout.close()

        self.addCleanup(stop)
        self.app = json.loads(server.stdout.readline())
        named = {f"LOUDHAILER_{name.upper()}": str(self.app[name]) for name in ("host", "port")}
        named |= {f"LOUDHAILER_APP_{name.upper()}": self.app[name] for name in ("id", "key", "secret")}
        patch = mock.patch.dict(os.environ, named)
        patch.start()
        self.addCleanup(patch.stop)

    def events(self, count):
        """So many events, each of a request that the library takes for genuine."""
        judge, events = world.publisher(), []
        while len(events) < count:
            key, signature, body = self.backend.requests.get(timeout=world.PATIENCE_S)
            judged = judge.validate_webhook(key, signature, body)
            self.assertIsNotNone(judged, body)
            self.assertIsNone(judge.validate_webhook(key, signature, body + " "))
            events += judged["events"]
        return events

    def test_all_kinds_of_events_are_genuine(self):
        endpoint = world.AuthEndpoint(world.publisher(), {"user_id": 7})
        self.addCleanup(endpoint.close)
        listener = world.Subscriber(["presence-room", "cache-news"], endpoint.url)
        opened = self.events(5)
        listener.close()
        # One more request than is waited for may come between: the count of the empty channel.
        closed = self.events(4)
        names = sorted(f"{event['name']} {event['channel']}" for event in opened + closed)
        self.assertEqual(
            names,
            [
                "cache_miss cache-news",
                "channel_occupied cache-news",
                "channel_occupied presence-room",
                "channel_vacated cache-news",
                "channel_vacated presence-room",
                "member_added presence-room",
                "member_removed presence-room",
                "subscription_count cache-news",
                "subscription_count cache-news",
            ],
        )
        members = [event["user_id"] for event in opened + closed if event["name"].startswith("member_")]
        self.assertEqual(members, ["7", "7"])


if __name__ == "__main__":
    unittest.main()
