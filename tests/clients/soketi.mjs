// The kit of conformance/ against soketi from npm.
//
//     node soketi.mjs [--record] [KIT-OPTION…]
//
// --record keeps the results in conformance/runs, for docs/compatibility.md.

import { kitArguments, receiverAddress, runKit } from "./kit.mjs";
import { NODE, UWS, VERSION, startSoketi } from "./soketi_server.mjs";

const NOTES = [
  `${VERSION} from npm, on Node.js ${NODE}, with the uWebSockets.js 20.10.0 that it asks for; that is not on npm, so its binary comes from \`${UWS}\`.`,
  "Set are `enableClientMessages`, `enableUserAuthentication`, `maxClientEventsPerSecond` 10, `maxPayloadInKb` 10, `maxMemberSizeInKb` 1, `cacheTtl` 1800 and webhooks of its six kinds; everything else is the default.",
  "It writes its CORS headers before the status of a response, which uWebSockets.js then sends as 200: its errors have status 200 and a `code` in the body.",
  "Some messages end its process; a supervisor starts it again, and every case that failed is run once more, alone (`--again`).",
];

const receiver = await receiverAddress();
const soketi = await startSoketi(receiver);
const status = await runKit({
  name: `soketi ${VERSION}`,
  notes: NOTES,
  port: soketi.port,
  receiver,
  ...kitArguments(process.argv.slice(2)),
});
await soketi.stop();
process.exit(status);
