"""WebSocket clients from PyPI, unchanged: Pysher, asyncpusher, and websocket-client with the sub-protocol that PusherSwift offers.

Run as `test_pypi_pusher`, whose publisher it uses.
"""

import asyncio
import json
import queue
import unittest

import asyncpusher
import pysher
import websocket

from test_pypi_pusher import PATIENCE_S, TLS, channel, environment, publisher

HOST = environment("LOUDHAILER_HOST")
PORT = int(environment("LOUDHAILER_PORT"))
KEY = environment("LOUDHAILER_APP_KEY")


class Heard(queue.Queue):
    """What a client was told, for the test's thread."""

    def wait_for(self, expected):
        before = []
        while True:
            try:
                told = self.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"waited in vain for {expected}; heard {before}") from None
            if told == expected:
                return before
            before.append(told)


class Pysher(unittest.TestCase):
    def client(self, secret):
        heard = Heard()
        client = pysher.Pusher(KEY, secure=TLS, secret=secret, custom_host=HOST, port=PORT)
        bind = client.connection.bind
        bind("pusher:connection_established", lambda _: heard.put("connected"))
        bind("pusher:error", lambda data: heard.put(("error", data["code"], data["message"])))
        client.connect()
        self.addCleanup(client.disconnect, PATIENCE_S)
        heard.wait_for("connected")
        return client, heard

    def subscribe(self, client, heard, name):
        subscription = client.subscribe(name)
        for event in ("pusher_internal:subscription_succeeded", "pusher:subscription_error", "story"):
            subscription.bind(event, lambda _data, event=event: heard.put((name, event)))

    def hears_stories_on(self, heard, name):
        publisher().trigger(name, "story", {})
        return heard.wait_for((name, "story"))

    # Issue #13, row 1: it disconnects for good on an error of 4000-4099 and reconnects on 4100-4299.
    def test_a_refused_subscription_leaves_the_other_channels(self):
        client, heard = self.client("not-the-secret")
        name, refused = channel("pysher-news"), channel("private-pysher")
        self.subscribe(client, heard, name)
        heard.wait_for((name, "pusher_internal:subscription_succeeded"))
        self.subscribe(client, heard, refused)
        heard.wait_for(("error", None, f"Invalid signature for {refused}"))
        self.subscribe(client, heard, "not a name")
        client.connection.send_event("pusher:signin", {"auth": "x:y", "user_data": "{}"})
        client.connection.send_event("nonsense", {})
        self.hears_stories_on(heard, name)
        self.assertEqual(client.connection.state, "connected")

    # Issue #13, rows 2 and 3.
    def test_a_second_subscription_and_an_early_unsubscribe(self):
        client, heard = self.client(environment("LOUDHAILER_APP_SECRET"))
        name, left = channel("private-pysher-twice"), channel("pysher-left")
        self.subscribe(client, heard, name)
        self.subscribe(client, heard, name)
        heard.wait_for(("error", None, f"Existing subscription to channel {name}"))
        self.subscribe(client, heard, left)
        client.unsubscribe(left)
        before = self.hears_stories_on(heard, name)
        self.assertLessEqual(before.count((name, "pusher_internal:subscription_succeeded")), 1)
        self.assertEqual(publisher().channel_info(left), {"occupied": False})


class Asyncpusher(unittest.IsolatedAsyncioTestCase):
    async def client(self, signer):
        async def authenticate(data):
            return signer.authenticate(data["channel_name"], data["socket_id"])

        client = asyncpusher.Pusher(
            KEY, secure=TLS, custom_host=HOST, custom_port=PORT, channel_authenticator=authenticate
        )
        heard = asyncio.Queue()

        async def on_error(data):
            heard.put_nowait(("error", data["code"]))

        client.connection.bind("pusher:error", on_error)
        await client.connect()
        self.addAsyncCleanup(client.disconnect)
        return client, heard

    async def subscribe(self, client, heard, name):
        async def note(_data, event):
            heard.put_nowait((name, event))

        subscription = await client.subscribe(name)
        for event in ("pusher_internal:subscription_succeeded", "pusher:subscription_error", "story"):
            subscription.bind(event, lambda data, event=event: note(data, event))

    async def wait_for(self, heard, expected):
        async with asyncio.timeout(PATIENCE_S):
            while await heard.get() != expected:
                pass

    # Issue #13, row 1.
    async def test_a_refused_subscription_leaves_the_other_channels(self):
        client, heard = await self.client(publisher(secret="not-the-secret"))
        name, refused = channel("ap-news"), channel("private-ap")
        await self.subscribe(client, heard, name)
        await self.subscribe(client, heard, refused)
        await self.wait_for(heard, ("error", None))
        await asyncio.to_thread(publisher().trigger, name, "story", {})
        await self.wait_for(heard, (name, "story"))
        self.assertTrue(client.connection.is_connected())

    # Issue #13, row 12: PyPI's `pusher` posts to /users/ID/terminate_connections, without the app.
    async def test_its_user_is_terminated_by_pypis_pusher(self):
        client, heard = await self.client(publisher())
        user_id = channel("ann")
        signed = publisher().authenticate_user(client.connection.socket_id, {"id": user_id})
        signed_in = asyncio.Event()

        async def note(_data):
            signed_in.set()

        client.connection.bind("pusher:signin_success", note)
        await client.connection.send_event({"event": "pusher:signin", "data": signed})
        async with asyncio.timeout(PATIENCE_S):
            await signed_in.wait()
        answer = await asyncio.to_thread(publisher().terminate_user_connections, user_id)
        self.assertEqual(answer, {})
        async with asyncio.timeout(PATIENCE_S):
            while client.connection.is_connected():
                await asyncio.sleep(0.01)


class SubProtocol(unittest.TestCase):
    # Issue #13, row 10: the handshake fails in websocket-client when none of its offers is selected.
    def test_an_offered_version_is_selected(self):
        scheme = "wss" if TLS else "ws"
        for query in ("?protocol=7", ""):
            url = f"{scheme}://{HOST}:{PORT}/app/{KEY}{query}"
            offer = "pusher-channels-protocol-7"
            socket = websocket.create_connection(url, subprotocols=[offer], timeout=PATIENCE_S)
            self.assertEqual(socket.subprotocol, offer)
            self.assertEqual(json.loads(socket.recv())["event"], "pusher:connection_established")
            socket.close()


if __name__ == "__main__":
    unittest.main()
