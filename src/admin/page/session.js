// The prompt for the token of a server that wants one. The token goes to the server and is not kept here.

import { closeSession, openSession } from "./api.js";
import { $, setText } from "./dom.js";

/** That there is a session to end, is all that is noted here. */
const NOTE = "loudhailer-session";

let asking;

/** Shows the prompt until the server accepts a token. Everyone who asks meanwhile waits for the same prompt. */
export function askForToken() {
  asking ??= prompt().finally(() => (asking = undefined));
  return asking;
}

function prompt() {
  const dialog = $("session");
  const form = $("session-form");
  const error = $("session-error");
  error.hidden = true;
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const keepOpen = (event) => event.preventDefault();
    dialog.addEventListener("cancel", keepOpen);
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await openSession(form.elements.token.value);
      } catch (failure) {
        setText(error, failure.status === 401 ? "That is not the token." : `${failure.message}.`);
        error.hidden = false;
        form.elements.token.select();
        return;
      }
      form.reset();
      note(true);
      dialog.removeEventListener("cancel", keepOpen);
      dialog.close();
      resolve();
    };
  });
}

function note(exists) {
  $("sign-out").hidden = !exists;
  try {
    if (exists) localStorage.setItem(NOTE, "yes");
    else localStorage.removeItem(NOTE);
  } catch {
    // Storage may be forbidden; then a reloaded page has no button to sign out.
  }
}

/** The button that ends the session, for who has one. */
export function startSignOut() {
  try {
    $("sign-out").hidden = localStorage.getItem(NOTE) === null;
  } catch {
    // As above.
  }
  $("sign-out").addEventListener("click", async () => {
    await closeSession().catch(() => undefined);
    note(false);
    location.reload();
  });
}
