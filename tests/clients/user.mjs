// A pusher-js client that signs in, and remembers what its user was told.

import { tokenOf } from "../../conformance/clients/auth_server.mjs";
import { Awaited } from "../../conformance/kit/waiting.mjs";

/** The options that let pusher-js sign `user` (`{ id, user_info, watchlist }`) in at an endpoint. */
export function signingIn(endpoint, user) {
  const headers = { Authorization: `Bearer ${tokenOf(user)}` };
  return {
    userAuthentication: { endpoint, transport: "ajax", headers },
    channelAuthorization: { endpoint, transport: "ajax", headers },
  };
}

export class UserClient {
  /** What `user.bind` and `user.watchlist.bind` handed to the application, in order: `[event, data]`. */
  heard = [];
  #awaited = new Awaited();

  constructor(listener) {
    this.listener = listener;
    const { user } = listener.pusher;
    user.bind_global((event, data) => this.#note(event, data));
    for (const event of ["online", "offline"]) {
      user.watchlist.bind(event, ({ user_ids: ids }) => this.#note(event, ids.toSorted()));
    }
    listener.pusher.connection.bind("message", () => this.#awaited.look());
  }

  #note(event, data) {
    this.heard.push([event, data]);
    this.#awaited.look();
  }

  /** Signs in and waits until pusher-js has its user and the channel for him. */
  async signIn() {
    const { pusher } = this.listener;
    pusher.signin();
    await this.#until(() => pusher.user.serverToUserChannel?.subscribed || undefined, "the sign-in");
    return pusher.user.user_data;
  }

  /** Asks to be signed in without waiting. */
  askSignIn() {
    this.listener.pusher.signin();
  }

  #until(find, what) {
    return this.#awaited.until(find, () => {
      const { errors, messages } = this.listener;
      return `waited in vain for ${what}; heard ${JSON.stringify({ heard: this.heard, errors, messages })}`;
    });
  }

  /** Waits for the `count`-th event of this name; returns its data. */
  async hears(event, count = 1) {
    const find = () => this.heard.filter(([each]) => each === event)[count - 1];
    return (await this.#until(find, event))[1];
  }

  close() {
    this.listener.disconnect();
  }
}

/** A connected client for `user`, not signed in yet. */
export async function connectUser(world, user, { signer, ...options } = {}) {
  const endpoint = await world.authEndpoint(signer);
  return new UserClient(await world.connect({ ...signingIn(endpoint, user), ...options }));
}

/** A client that is signed in as `user`. */
export async function signInUser(world, user, options) {
  const client = await connectUser(world, user, options);
  await client.signIn();
  return client;
}
