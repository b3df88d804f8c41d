// The dashboard of one node of three: it lists all nodes, counts channels over all of them, and its events reach all.

import { after, test } from "node:test";
import { startOperator } from "../dashboard/dashboard.mjs";
import { openWorld } from "../world.mjs";

const CLIENTS = 6;

const world = await openWorld();
const operator = await startOperator();
after(async () => {
  await operator.close();
  await world.close();
});

test("a node's dashboard shows the cluster, and its event reaches the subscribers of every node", async () => {
  const channel = world.channel("everywhere");
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => world.connect()));
  await Promise.all(clients.map((client) => client.subscribe(channel)));
  const { nodes } = world.server;
  const dashboard = await operator.dashboard(nodes[0].admin);
  const { page } = dashboard;
  const rows = page.getByRole("table", { name: "Nodes" }).locator("tbody tr");
  await rows.nth(nodes.length - 1).waitFor();
  await rows.filter({ hasText: "this node" }).waitFor();

  await dashboard.open(`#/channels/${world.apps.main.id}`);
  await page.getByRole("row", { name: `${channel} public ${CLIENTS}` }).waitFor();

  await dashboard.open(`#/send?${new URLSearchParams({ app: world.apps.main.id, channels: channel, name: "told" })}`);
  await page.locator("#send-form").getByRole("button", { name: "Send event" }).click();
  await page.getByText(`${CLIENTS} subscriptions on all nodes`).waitFor();
  await Promise.all(clients.map((client) => client.hears(channel, "told")));
  await dashboard.close();
});
