// The feed's WebSocket: it comes back by itself, sooner at first, later if the server stays away.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * Opens the feed and keeps it open. `onLine` gets each message; `onState` gets "connecting", "live" or
 * "waiting" with the time of the next attempt. `mayConnect` resolves when an attempt makes sense.
 */
export function openStream({ onLine, onState, mayConnect }) {
  let socket;
  let wait = FIRST_WAIT_MS;
  let timer;

  async function connect() {
    clearTimeout(timer);
    timer = undefined;
    onState("connecting");
    try {
      await mayConnect();
    } catch {
      later();
      return;
    }
    const address = new URL("feed", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(address);
    socket.onopen = () => {
      wait = FIRST_WAIT_MS;
      onState("live");
    };
    socket.onmessage = ({ data }) => onLine(data);
    socket.onclose = later;
  }

  function later() {
    // Pages that lost the same server do not come back at the same moment.
    const delay = wait * (0.75 + Math.random() / 2);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    onState("waiting", Date.now() + delay);
    timer = setTimeout(connect, delay);
  }

  const now = () => {
    if (timer !== undefined) connect();
  };
  window.addEventListener("online", now);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && now());
  connect();
}
