// One pusher-js client that records what it receives, so that a case can wait for it.

import Pusher from "pusher-js";
import { Awaited } from "../kit/waiting.mjs";

export class Listener {
  /** Every message as it came off the wire, decoded: `{ event, channel, data, user_id }`. */
  messages = [];
  /** Every event a channel handed to the application: `{ channel, event, data }`. */
  events = [];
  /** The `error` events of the connection. */
  errors = [];
  /** The states the connection went through. */
  states = [];
  /** How long pusher-js said it would wait before each new attempt, in seconds. */
  pauses = [];
  #awaited;

  /** `Client` is the class of another version of pusher-js; `patience` limits a wait, as in Awaited. */
  constructor(key, options, { Client = Pusher, patience } = {}) {
    this.#awaited = new Awaited(patience);
    this.pusher = new Client(key, options);
    const { connection } = this.pusher;
    this.states.push(connection.state);
    this.#record(connection, "message", this.messages);
    this.#record(connection, "error", this.errors);
    this.#record(connection, "connecting_in", this.pauses);
    connection.bind("state_change", ({ current }) => {
      this.states.push(current);
      this.#awaited.look();
    });
  }

  #record(source, event, list) {
    source.bind(event, (value) => {
      list.push(value);
      this.#awaited.look();
    });
  }

  get socketId() {
    return this.pusher.connection.socket_id;
  }

  get state() {
    return this.pusher.connection.state;
  }

  #story() {
    const { states, errors, messages } = this;
    return JSON.stringify({ states, errors, messages: messages.slice(-20) });
  }

  /** Waits for something that `find` sees in this client. */
  until(find, what) {
    return this.#awaited.until(find, () => `waited in vain for ${what}; so far: ${this.#story()}`);
  }

  /** Waits for the connection's state to be `state`. */
  reaches(state) {
    return this.until(() => (this.state === state ? state : undefined), `the state ${state}`);
  }

  /** Waits for the `count`-th time the connection's state became `state`. */
  reachesAgain(state, count) {
    const times = () => this.states.filter((each) => each === state).length;
    return this.until(() => (times() >= count ? count : undefined), `state ${state}, ${count} times`);
  }

  /** Waits for an error of the connection with this code; returns its `{ code, message }`. */
  isTold(code) {
    const data = (error) => error.error?.data ?? error.data;
    const find = () => this.errors.map(data).find((each) => each?.code === code);
    return this.until(find, `the error ${code}`);
  }

  /** Asks for a channel, without waiting for the answer. */
  request(name) {
    const channel = this.pusher.subscribe(name);
    const note = (event, data) => {
      this.events.push({ channel: name, event, data });
      this.#awaited.look();
    };
    // Versions before 4.1 have another name for it.
    if (channel.bind_global) channel.bind_global(note);
    else channel.bind_all(note);
    return channel;
  }

  /** Subscribes and waits until the server has confirmed it. */
  async subscribe(name) {
    const channel = this.request(name);
    await this.until(() => channel.subscribed || undefined, `the subscription to ${name}`);
    return channel;
  }

  /** Subscribes and waits for the refusal; returns what the application gets. */
  async isRefused(name) {
    this.request(name);
    return (await this.hears(name, "pusher:subscription_error")).data;
  }

  /** Waits for an event on a channel, the `count`-th of that name. */
  hears(channel, event, count = 1) {
    const find = () => this.events.filter((each) => each.channel === channel && each.event === event)[count - 1];
    return this.until(find, `event ${event} on ${channel}`);
  }

  /** Waits for a message of this name off the wire. */
  receives(event) {
    return this.until(() => this.messages.find((each) => each.event === event), `message ${event}`);
  }

  /** The events heard on a channel, in order, without the confirmation of the subscription. */
  heardOn(channel) {
    return this.events
      .filter((each) => each.channel === channel && each.event !== "pusher:subscription_succeeded")
      .map(({ event, data }) => [event, data]);
  }

  /** The messages that came for a channel, in order, whether or not the client passed them on. */
  receivedOn(channel) {
    return this.messages.filter((each) => each.channel === channel).map((each) => each.event);
  }

  disconnect() {
    this.pusher.disconnect();
  }
}
