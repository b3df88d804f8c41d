"""The metrics, read by the parser of PyPI's `prometheus_client`."""

import math
import os
import unittest
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

import test_pypi_pusher as world

ADMIN = os.environ.get("LOUDHAILER_ADMIN")
# Names without soketi's prefix; counters as the parser names them.
OF_SOKETI = {
    "connected": "gauge",
    "new_connections": "counter",
    "new_disconnections": "counter",
    "socket_received_bytes": "counter",
    "socket_transmitted_bytes": "counter",
    "ws_messages_received": "counter",
    "ws_messages_sent": "counter",
    "http_received_bytes": "counter",
    "http_transmitted_bytes": "counter",
    "http_calls_received": "counter",
}
# One node alone has none of them, and one of several each that it has used.
OF_SOKETI_IN_A_CLUSTER = {
    "horizontal_adapter_resolve_time": "histogram",
    "horizontal_adapter_resolved_promises": "counter",
    "horizontal_adapter_uncomplete_promises": "counter",
    "horizontal_adapter_sent_requests": "counter",
    "horizontal_adapter_received_requests": "counter",
    "horizontal_adapter_received_responses": "counter",
}


@unittest.skipUnless(ADMIN, "needs the admin listener of a server of its own")
class PypiMetrics(unittest.TestCase):
    def families(self):
        with urlopen(f"{ADMIN}/metrics", timeout=world.PATIENCE_S) as answer:
            self.assertTrue(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
            text = answer.read().decode()
        families = list(text_string_to_metric_families(text))
        names = [family.name for family in families]
        self.assertEqual(len(names), len(set(names)), "each family is there once")
        return {family.name: family for family in families}

    def test_the_parser_reads_every_family(self):
        world.publisher().trigger(world.channel("metrics"), "order", {"id": 1})
        families = self.families()
        for family in families.values():
            self.assertTrue(family.documentation, family.name)
            self.assertTrue(family.samples, family.name)
            for sample in family.samples:
                self.assertFalse(math.isnan(sample.value), sample)
                self.assertGreaterEqual(sample.value, 0, sample)
        calls = families["loudhailer_http_calls_received"].samples
        app_id = os.environ["LOUDHAILER_APP_ID"]
        of_app = [sample.value for sample in calls if sample.labels["app_id"] == app_id]
        self.assertGreaterEqual(sum(of_app), 1)

    def test_those_of_soketi_are_there_with_their_labels(self):
        families = self.families()
        expected = dict(OF_SOKETI)
        for name, kind in OF_SOKETI_IN_A_CLUSTER.items():
            if f"loudhailer_{name}" in families:
                expected[name] = kind
        for name, kind in expected.items():
            family = families[f"loudhailer_{name}"]
            self.assertEqual(family.type, kind, name)
            for sample in family.samples:
                self.assertLessEqual({"app_id", "port"}, sample.labels.keys(), name)

    def test_histograms_are_cumulative(self):
        families = self.families().values()
        histograms = [family for family in families if family.type == "histogram"]
        self.assertGreaterEqual(len(histograms), 2)
        for family in histograms:
            buckets = {}
            for sample in family.samples:
                key = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
                if sample.name.endswith("_bucket"):
                    buckets.setdefault(key, []).append((float(sample.labels["le"]), sample.value))
            for key, counts in buckets.items():
                self.assertEqual(counts, sorted(counts), family.name)
                values = [value for _, value in counts]
                self.assertEqual(values, sorted(values), f"{family.name} {key}")
                self.assertEqual(counts[-1][0], math.inf)


if __name__ == "__main__":
    unittest.main()
