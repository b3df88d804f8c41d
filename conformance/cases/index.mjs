// All areas, in the order of the report.

import { area as signing } from "./signing.mjs";
import { area as events } from "./events.mjs";
import { area as batch } from "./batch.mjs";
import { area as channels } from "./channels.mjs";
import { area as terminate } from "./terminate.mjs";
import { area as legacy } from "./legacy.mjs";
import { area as handshake } from "./handshake.mjs";
import { area as frames } from "./frames.mjs";
import { area as errors } from "./errors.mjs";
import { area as publicChannels } from "./public.mjs";
import { area as privateChannels } from "./private.mjs";
import { area as presence } from "./presence.mjs";
import { area as encrypted } from "./encrypted.mjs";
import { area as cache } from "./cache.mjs";
import { area as clientEvents } from "./client_events.mjs";
import { area as users } from "./users.mjs";
import { area as watchlists } from "./watchlists.mjs";
import { area as counts } from "./counts.mjs";
import { area as fallbacks } from "./fallbacks.mjs";
import { area as webhooks } from "./webhooks.mjs";
import { area as pusherJs } from "./pusher_js.mjs";
import { area as echo } from "./echo.mjs";
import { area as serverLibrary } from "./server_library.mjs";
import { area as pusherClient } from "./pusher_client.mjs";

export const areas = [
  signing,
  events,
  batch,
  channels,
  terminate,
  legacy,
  handshake,
  frames,
  errors,
  publicChannels,
  privateChannels,
  presence,
  encrypted,
  cache,
  clientEvents,
  users,
  watchlists,
  counts,
  fallbacks,
  webhooks,
  pusherJs,
  echo,
  serverLibrary,
  pusherClient,
];
