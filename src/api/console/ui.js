// Small helpers of the pages: elements, numbers, announcements, and the element that says how the stream is doing.

/** Makes an element: attributes, `on…` listeners, children (text is always text, never markup). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (name, root = document) => root.querySelector(`[data-test="${name}"]`);

export const count = (number) => (number === null || number === undefined ? "–" : Number(number).toLocaleString("en"));

/** Writes text only where it differs: screen readers and layout are left alone otherwise. */
export function setText(element, text) {
  const string = String(text);
  if (element && element.textContent !== string) element.textContent = string;
}

/** "14:03:07.512" in UTC, from RFC 3339. */
export const clockTime = (at) => (at ?? "").slice(11, 23);

/** "4:07" */
export function minutes(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Runs `draw` once in the next frame, however often it is asked for. */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** Runs `call` at most once in `ms`, and once more after the last time it was asked for. */
export function throttle(call, ms) {
  let timer = null;
  let last = -Infinity;
  return () => {
    if (timer !== null) return;
    timer = setTimeout(
      () => {
        timer = null;
        last = performance.now();
        call();
      },
      Math.max(0, last + ms - performance.now()),
    );
  };
}

/** Says `text` to screen readers: politely, at most every `ms`, the newest only, never the same twice. */
export function announcer(element, ms = 10_000) {
  let next = "";
  const say = throttle(() => setText(element, next), ms);
  return (text) => {
    next = text;
    say();
  };
}

/** The event named in the address, or null. */
export function eventOfAddress() {
  return new URLSearchParams(location.search).get("event") || null;
}

export const pageOf = (page, event) => `${page}.html?event=${encodeURIComponent(event)}`;

const WORDS = {
  connecting: "connecting",
  live: "connected",
  waiting: "reconnecting",
  gone: "not there",
  stopped: "paused",
};

/**
 * `<connection-state>`: what the stream is doing, in words. Feed it the states of a [`ChangeStream`]:
 * `element.show(state)`; `element.onretry` is called by its button.
 */
export class ConnectionState extends HTMLElement {
  // Only the word is announced, not the seconds that run down beside it.
  #state = h("strong", { "data-test": "connection", role: "status" }, "connecting");
  #detail = h("span", { "data-test": "connection-detail", class: "quiet" });
  #retry = h(
    "button",
    { type: "button", hidden: true, "data-test": "retry-now", onclick: () => this.onretry?.() },
    "retry now",
  );
  #timer = null;

  connectedCallback() {
    this.replaceChildren(
      h("span", { class: "dot", "aria-hidden": "true" }),
      this.#state,
      " ",
      this.#detail,
      " ",
      this.#retry,
    );
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
  }

  show({ state, why, retryInMs, resumed, position }, unit = "version") {
    clearInterval(this.#timer);
    this.dataset.state = state;
    const waiting = retryInMs > 0;
    this.#retry.hidden = !waiting;
    // Connected again: one word that stays the same, so that a poor line is not read aloud again and again.
    setText(this.#state, WORDS[state]);
    if (state === "live")
      setText(
        this.#detail,
        Number.isInteger(resumed)
          ? `resumed at ${unit} ${count(resumed)}`
          : why
            ? `began anew (${why.toLowerCase()})`
            : "",
      );
    else if (!waiting) setText(this.#detail, state === "stopped" ? why : "");
    else {
      const end = performance.now() + retryInMs;
      const asked = state === "gone" ? "asked again in" : "in";
      const tick = () =>
        setText(
          this.#detail,
          `${asked} ${Math.max(0, Math.ceil((end - performance.now()) / 1000))} s${why ? ` (${why})` : ""}`,
        );
      tick();
      this.#timer = setInterval(tick, 500);
    }
    this.dataset.position = position ?? "";
  }
}

customElements.define("connection-state", ConnectionState);

/** `<alarm-box>`: loud, for what must never happen. Stays until the page is left. */
export class AlarmBox extends HTMLElement {
  show(alarms) {
    if (!alarms.count || this.dataset.count === String(alarms.count)) return;
    this.dataset.count = alarms.count;
    this.hidden = false;
    this.setAttribute("role", "alert");
    const list = alarms.list.map((text) => h("li", {}, text));
    const head = h("strong", {}, `⚠ ${count(alarms.count)} broken promise${alarms.count > 1 ? "s" : ""}`);
    this.replaceChildren(
      head,
      h("ul", {}, list),
      h("p", {}, "This must never happen. Please keep this page and report it."),
    );
  }
}

customElements.define("alarm-box", AlarmBox);
