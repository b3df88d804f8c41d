import Echo from "/echo.js";

const LEAVE_AFTER_MS = 5000;
const page = document.body.dataset;
const element = (id) => document.getElementById(id);

// As in a Laravel project's resources/js/echo.js. Echo finds pusher-js in window.Pusher.
window.Echo = new Echo({
  broadcaster: "pusher",
  key: page.key,
  cluster: "mt1", // pusher-js wants one; wsHost makes its value meaningless.
  wsHost: page.host,
  wsPort: Number(page.port),
  wssPort: Number(page.port),
  forceTLS: false,
  enableStats: false,
});

// The scene itself, in two ways.
if (page.mode === "server") beToldByServer();
else beToldByApplication();

// Mode 1: the application broadcasts each login. Echo makes "App\Events\UserAuthenticatedEvent" of the short name.
function beToldByApplication() {
  window.Echo.channel(`outman-user-${page.userId}`)
    .listen("UserAuthenticatedEvent", async ({ user }) => {
      if (await sessionIsOver()) {
        heard(`${user.name} logged in elsewhere. This session has ended.`);
        window.Echo.disconnect();
        leave();
      } else {
        heard(`${user.name} logged in. This session is still valid.`);
      }
    })
    .subscribed(async () => {
      showState("listening");
      // Events are not kept: what was announced before this moment has to be asked for.
      if (await sessionIsOver()) location.replace("/login?reason=ended");
    });
}

// Mode 2: the server lets one session listen to this channel. It tells the older one, and soon closes its connection.
function beToldByServer() {
  window.Echo.private(`outman-user-${page.userId}`)
    .listen(".session.replaced", () => {
      heard("The server says: another session took this one's place.");
      leave();
    })
    .subscribed(() => showState("listening"))
    .error(() => location.replace("/login?reason=ended"));
  window.Echo.connector.pusher.connection.bind("error", ({ data }) => {
    if (data?.code === 4009) heard("The server closed this connection (4009).");
  });
}

// The event says that somebody logged in; only the application knows whose session ended by it.
// So a page that logged in itself, or shares its session with the tab that did, stays.
async function sessionIsOver() {
  try {
    const answer = await fetch("/session", { headers: { Accept: "application/json" } });
    if (answer.status === 401) return true;
    return answer.ok && String((await answer.json()).user.id) !== page.userId;
  } catch {
    return false; // No answer is no reason to leave.
  }
}

function leave() {
  const dialog = element("elsewhere");
  const go = () => location.replace("/login?reason=elsewhere");
  dialog.addEventListener("close", go);
  dialog.style.setProperty("--leave-after", `${LEAVE_AFTER_MS}ms`);
  dialog.showModal();
  setTimeout(go, LEAVE_AFTER_MS);
}

function heard(text) {
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  const row = document.createElement("li");
  row.append(time, text);
  element("heard").querySelector(".empty")?.remove();
  element("heard").prepend(row);
}

// Connection state.
const STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  listening: "Listening",
  unavailable: "No connection, trying again",
  failed: "Cannot connect",
  disconnected: "Disconnected",
};
const { connection } = window.Echo.connector.pusher;
connection.bind("state_change", ({ current }) => showState(current));

function showState(state) {
  element("state").dataset.state = state;
  element("state").textContent = STATES[state] ?? state;
  const connected = connection.state === "connected";
  element("socket").textContent = connected ? window.Echo.socketId() : "–";
}

// Who is here: a presence channel, which /broadcasting/auth signs.
const names = new Set();
const update = (change) => (members) => {
  change(members);
  const rows = [...names].sort().map((name) => {
    const row = document.createElement("li");
    row.textContent = name;
    return row;
  });
  element("here").replaceChildren(...rows);
};
window.Echo.join("lobby")
  .here(update((members) => {
    names.clear();
    members.forEach(({ name }) => names.add(name));
  }))
  .joining(update(({ name }) => names.add(name)))
  .leaving(update(({ name }) => names.delete(name)));
