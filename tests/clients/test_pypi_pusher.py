"""The HTTP API through PyPI's `pusher`, heard by pusher-js clients.

Run it beside a server of its own with `node server.mjs python -m unittest` (`node server.mjs --tls …`: over TLS), or against any host named in
LOUDHAILER_HOST, LOUDHAILER_PORT, LOUDHAILER_APP_ID, LOUDHAILER_APP_KEY and LOUDHAILER_APP_SECRET.
"""

import base64
import json
import os
import queue
import secrets
import subprocess
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pusher
import pusher.requests
from pusher.errors import PusherBadAuth, PusherBadRequest, PusherBadStatus

HERE = Path(__file__).parent
TLS = os.environ.get("LOUDHAILER_TLS") == "true"
if TLS and "SSL_CERT_FILE" in os.environ:
    # The library comes with its own list of authorities, and looks at no other.
    pusher.requests.CERT_PATH = os.environ["SSL_CERT_FILE"]
PATIENCE_S = 8
RUN = secrets.token_hex(4)
MASTER_KEY = os.environ.get(
    "LOUDHAILER_ENCRYPTION_MASTER_KEY", base64.b64encode(bytes(range(32))).decode()
)


def environment(name):
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: run `node server.mjs python -m unittest`")
    return value


def publisher(**overrides):
    """PyPI's client for the app under test."""
    options = {
        "app_id": environment("LOUDHAILER_APP_ID"),
        "key": environment("LOUDHAILER_APP_KEY"),
        "secret": environment("LOUDHAILER_APP_SECRET"),
        "host": os.environ.get("LOUDHAILER_API_HOST", environment("LOUDHAILER_HOST")),
        "port": int(environment("LOUDHAILER_PORT")),
        "ssl": TLS,
        "encryption_master_key_base64": MASTER_KEY,
    }
    return pusher.Pusher(**{**options, **overrides})


def channel(name):
    """A channel that no other test and no other run uses."""
    return f"{name}-{RUN}"


class AuthEndpoint:
    """An application's /broadcasting/auth that signs with `Pusher.authenticate`."""

    def __init__(self, signer, member):
        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                form = parse_qs(self.rfile.read(length).decode())
                name = form["channel_name"][0]
                custom = member if name.startswith("presence-") else None
                signed = signer.authenticate(name, form["socket_id"][0], custom)
                body = json.dumps(signed).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

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


class Subscriber:
    """A pusher-js client in a process of its own."""

    def __init__(self, channels, auth_endpoint):
        self.process = subprocess.Popen(
            ["node", HERE / "subscriber.mjs", *channels],
            env={**os.environ, "AUTH_ENDPOINT": auth_endpoint},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.lines = queue.Queue()
        self.heard = []
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        self.socket_id = self.hears("connected")["data"]
        for name in channels:
            self.hears("pusher:subscription_succeeded", name)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def hears(self, event, name=None):
        """Waits for an event, on a channel if one is named, and returns it."""
        for message in self.heard:
            if message["event"] == event and message.get("channel") == name:
                return message
        while True:
            try:
                message = self.lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"waited in vain for {event} on {name}; heard {self.heard}") from None
            self.heard.append(message)
            if message["event"] == event and message.get("channel") == name:
                return message

    def heard_on(self, name):
        """The events of one channel so far, in order, without the confirmation."""
        return [
            (message["event"], message["data"])
            for message in self.heard
            if message.get("channel") == name
            and message["event"] != "pusher:subscription_succeeded"
        ]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE_S)
        self.thread.join()
        self.process.stdout.close()


class PypiPusher(unittest.TestCase):
    def subscriber(self, *channels, member=None):
        endpoint = AuthEndpoint(publisher(), member)
        self.addCleanup(endpoint.close)
        subscriber = Subscriber(channels, endpoint.url)
        self.addCleanup(subscriber.close)
        return subscriber

    def test_trigger_reaches_the_subscribers_of_every_channel(self):
        news, sport = channel("py-news"), channel("py-sport")
        listener = self.subscriber(news, sport)
        answer = publisher().trigger([news, sport], "story", {"text": "héllo ✨ 山"})
        self.assertEqual(answer, {})
        listener.hears("story", news)
        listener.hears("story", sport)
        for name in (news, sport):
            self.assertEqual(listener.heard_on(name), [("story", {"text": "héllo ✨ 山"})])

    def test_trigger_leaves_out_the_socket_id(self):
        name = channel("py-others")
        listener = self.subscriber(name)
        publisher().trigger(name, "story", "1", socket_id=listener.socket_id)
        publisher().trigger(name, "marker", "2")
        listener.hears("marker", name)
        self.assertEqual(listener.heard_on(name), [("marker", 2)])

    def test_a_batch_arrives_in_order(self):
        name = channel("py-batch")
        listener = self.subscriber(name)
        batch = [{"channel": name, "name": f"event-{n}", "data": {"n": n}} for n in range(10)]
        self.assertEqual(publisher().trigger_batch(batch), {})
        listener.hears("event-9", name)
        self.assertEqual(listener.heard_on(name), [(f"event-{n}", {"n": n}) for n in range(10)])

    def test_authenticate_opens_a_private_channel(self):
        name = channel("private-py")
        listener = self.subscriber(name)
        publisher().trigger(name, "story", {})
        listener.hears("story", name)

    def test_authenticate_opens_a_presence_channel_and_users_info_names_the_member(self):
        name = channel("presence-py")
        listener = self.subscriber(name, member={"user_id": 7, "user_info": {"name": "Zoë"}})
        members = listener.hears("pusher:subscription_succeeded", name)["data"]
        self.assertEqual(members["members"], {"7": {"name": "Zoë"}})
        self.assertEqual(publisher().users_info(name), {"users": [{"id": "7"}]})

    def test_an_encrypted_channel_carries_ciphertext_that_the_key_opens(self):
        name = channel("private-encrypted-cache-py")
        publisher().trigger(name, "secret", {"text": "hush"})
        sealed = publisher().channel_info(name, ["cache"])["cache"]["data"]
        self.assertNotIn("hush", sealed)
        self.assertEqual(set(json.loads(sealed)), {"nonce", "ciphertext"})

    def test_channels_info_filters_and_counts(self):
        room, other = channel("presence-pycount"), channel("pycount")
        self.subscriber(room, other, member={"user_id": "ann"})
        self.assertEqual(
            publisher().channels_info(f"presence-pycount-{RUN}", ["user_count"]),
            {"channels": {room: {"user_count": 1}}},
        )
        self.assertEqual(publisher().channels_info()["channels"].get(other), {})

    def test_channel_info_tells_what_was_asked(self):
        room = channel("presence-pyinfo")
        self.subscriber(room, member={"user_id": "ann"})
        self.assertEqual(
            publisher().channel_info(room, ["user_count", "subscription_count"]),
            {"occupied": True, "user_count": 1, "subscription_count": 1},
        )
        self.assertEqual(publisher().channel_info(channel("py-nobody")), {"occupied": False})

    def test_a_wrong_secret_is_refused_with_401(self):
        with self.assertRaises(PusherBadAuth):
            publisher(secret="not-the-secret").trigger(channel("py"), "story", {})

    def test_users_of_a_public_channel_are_refused_with_400(self):
        with self.assertRaises(PusherBadRequest):
            publisher().users_info(channel("py"))

    def test_an_event_of_more_than_ten_kilobytes_is_refused_with_413(self):
        with self.assertRaisesRegex(PusherBadStatus, "413"):
            publisher().trigger(channel("py"), "story", "x" * 10_241)


if __name__ == "__main__":
    unittest.main()
