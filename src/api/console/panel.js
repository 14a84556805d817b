// `<buyer-panel>`: where a purchase stands, and the buttons that take it on.
//
// data-test: buyer (data-stage = choosing | held | expired | booked), stage-title, customer, chosen, reserve, hold-items,
// countdown, hold-token, order-id, extend, book, let-go, book-anyway, start-over, receipt, receipt-order, pending,
// pending-text, give-up, message (data-tone), message-line.

import { count, h, minutes, setText } from "./ui.js";

const TICK_MS = 250;
/** A hold whose time is up is asked for this often until the server says that it ended. */
const ASK_EVERY_MS = 1_000;
/** Below this the countdown is urgent. */
const URGENT_MS = 60_000;
const SHOWN_MAX = 12;

const TITLES = { choosing: "Your choice", held: "Held for you", expired: "Your hold has ended", booked: "Booked" };
const DOING = { reserve: "reserving", extend: "extending the hold", book: "booking", release: "letting go" };

export class BuyerPanel extends HTMLElement {
  #purchase = null;
  #actions = null;
  #choice = { seats: [], pools: new Map() };
  #ttlMs = null;
  #askedAt = 0;
  #limit = null;
  #title = h("h2", { "data-test": "stage-title" });
  #stage = h("div");
  #pending = h("div", { "data-test": "pending", class: "pending", hidden: true, role: "status" });
  #message = h("div", { "data-test": "message", class: "message", hidden: true, role: "alert" });

  connectedCallback() {
    this.classList.add("card");
    this.replaceChildren(this.#title, this.#stage, this.#pending, this.#message);
  }

  /** `actions`: `reserve()`, `nameOf(pool)`. */
  attach(purchase, actions) {
    [this.#purchase, this.#actions] = [purchase, actions];
    purchase.addEventListener("change", () => this.#draw());
    purchase.addEventListener("progress", () => this.#progress());
    setInterval(() => this.#tick(), TICK_MS);
    document.addEventListener("visibilitychange", () => {
      // The clock of the page may have stood still meanwhile.
      if (!document.hidden && purchase.state.stage === "held" && !purchase.pending) purchase.refresh();
    });
    this.#draw();
  }

  about({ hold, limits }) {
    this.#ttlMs = hold?.ttl_ms ?? null;
    this.#limit = limits?.per_customer ?? null;
    this.#draw();
  }

  choose(seats, pools) {
    this.#choice = { seats, pools };
    this.#draw();
  }

  /** `tone` bad or calm; null takes the message away. */
  say(tone, title, lines = []) {
    this.#message.hidden = tone === null;
    if (tone === null) return;
    this.#message.dataset.tone = tone;
    this.#message.replaceChildren(
      h("strong", {}, title),
      h(
        "ul",
        {},
        lines.map((line) => h("li", { "data-test": "message-line" }, line)),
      ),
    );
  }

  #draw() {
    const { stage } = this.#purchase.state;
    this.dataset.stage = stage;
    setText(this.#title, TITLES[stage]);
    // The field for the customer keeps its text and focus while the choice changes around it.
    const focused = this.contains(document.activeElement) ? document.activeElement.dataset.test : null;
    this.#stage.replaceChildren(
      ...{
        choosing: () => this.#choosing(),
        held: () => this.#held(),
        expired: () => this.#expired(),
        booked: () => this.#booked(),
      }[stage](),
    );
    if (focused) this.querySelector(`[data-test="${focused}"]`)?.focus();
    this.#progress();
    this.#tick();
  }

  #button(test, text, act, kind = "") {
    return h(
      "button",
      { type: "button", "data-test": test, class: kind, disabled: Boolean(this.#purchase.pending), onclick: act },
      text,
    );
  }

  #items(items, test) {
    const words = items.map(
      ({ seat, pool, quantity }) => seat ?? `${count(quantity ?? 1)} × ${this.#actions.nameOf(pool)}`,
    );
    const more = words.length - SHOWN_MAX;
    const shown = words.slice(0, SHOWN_MAX).map((word) => h("li", {}, word));
    return h(
      "ul",
      { class: "chips", "data-test": test },
      shown,
      more > 0 ? h("li", { class: "quiet" }, `and ${count(more)} more`) : null,
    );
  }

  #chosen() {
    const pools = [...this.#choice.pools].map(([pool, quantity]) => ({ pool, quantity }));
    return [...this.#choice.seats.map((seat) => ({ seat })), ...pools];
  }

  #choosing() {
    const items = this.#chosen();
    const units = items.reduce((sum, { quantity }) => sum + (quantity ?? 1), 0);
    const customer = h("input", {
      "data-test": "customer",
      value: this.#purchase.state.customer,
      maxlength: 128,
      autocomplete: "off",
    });
    customer.addEventListener("input", () => this.#purchase.setCustomer(customer.value.trim()));
    const limit = this.#limit ? ` (at most ${count(this.#limit)} each)` : "";
    const reserve = this.#button(
      "reserve",
      units ? `Reserve ${count(units)}` : "Reserve",
      () => this.#actions.reserve(),
      "main",
    );
    reserve.disabled ||= units === 0;
    return [
      items.length ? this.#items(items, "chosen") : h("p", { class: "quiet" }, "Nothing chosen yet."),
      h("label", { class: "field" }, `Customer${limit} `, customer),
      h("div", { class: "buttons" }, reserve),
    ];
  }

  #held() {
    const { hold, order } = this.#purchase.state;
    const adding = this.#chosen();
    const add = adding.length
      ? [
          h("p", { class: "quiet" }, "Chosen as well:"),
          this.#items(adding, "chosen"),
          h(
            "div",
            { class: "buttons" },
            this.#button("reserve", "Add to the hold", () => this.#actions.reserve()),
          ),
        ]
      : [];
    return [
      this.#items(hold.items, "hold-items"),
      h(
        "p",
        { class: "countdown" },
        h("b", { class: "number", "data-test": "countdown", role: "timer" }, ""),
        " left to book",
      ),
      h(
        "div",
        { class: "buttons" },
        this.#button("book", "Book", () => (this.say(null), this.#purchase.book()), "main"),
        this.#button(
          "extend",
          "More time",
          () => (this.say(null), this.#purchase.act("extend", { token: hold.token, ttl_ms: this.#ttlMs ?? 600_000 })),
        ),
        this.#button("let-go", "Let go", () => (this.say(null), this.#purchase.act("release", { token: hold.token }))),
      ),
      ...add,
      facts([
        ["order", order, "order-id"],
        ["hold", hold.token, "hold-token"],
      ]),
    ];
  }

  #expired() {
    const { hold, order } = this.#purchase.state;
    return [
      h("p", {}, "The time is up and nothing was booked. If nobody took them since, you can still have these:"),
      this.#items(hold.items, "hold-items"),
      h(
        "div",
        { class: "buttons" },
        this.#button(
          "book-anyway",
          "Book if all is still free",
          () => (this.say(null), this.#purchase.book("rebook")),
          "main",
        ),
        this.#button("start-over", "Choose again", () => (this.say(null), this.#purchase.startOver())),
      ),
      facts([["order", order, "order-id"]]),
    ];
  }

  #booked() {
    const { receipt } = this.#purchase.state;
    return [
      h(
        "p",
        { class: "good", "data-test": "receipt" },
        "✓ Yours. This sale is on the disks of a majority of the nodes and is kept.",
      ),
      this.#items(receipt.items, "hold-items"),
      facts([
        ["order", receipt.order, "receipt-order"],
        ["customer", receipt.customer, null],
        ["booked at", receipt.booked_at, null],
      ]),
      h(
        "div",
        { class: "buttons" },
        this.#button("start-over", "Buy more", () => (this.say(null), this.#purchase.startOver())),
      ),
    ];
  }

  /** A request on its way: what is known about it, honestly. */
  #progress() {
    const { pending, progress } = this.#purchase;
    this.#pending.hidden = !pending;
    if (!pending) return this.#pending.replaceChildren();
    const { phase = "asking", attempt = 1, retryInMs = 0 } = progress ?? {};
    const next =
      retryInMs > 0
        ? ` Asked ${attempt}×, again in ${Math.ceil(retryInMs / 1000)} s.`
        : attempt > 1
          ? ` Asking for the ${attempt}. time.`
          : "";
    const text = {
      asking: `${DOING[pending.op]}…${next}`,
      busy: `The cluster cannot take it right now (${progress?.problem?.title ?? "busy"}). Nothing has happened yet.${next}`,
      unknown: `It is not known yet whether ${DOING[pending.op]} worked: no answer came in time. The same request is asked again under the same key, so it can happen only once.${next}`,
      voiding: "Finding out for certain: the key is being voided. Either it had happened, or it never will.",
    }[phase];
    const giveUp =
      phase === "unknown"
        ? h(
            "button",
            { type: "button", "data-test": "give-up", onclick: () => this.#purchase.giveUp() },
            "Give up and find out",
          )
        : null;
    this.#pending.dataset.phase = phase;
    this.#pending.replaceChildren(h("p", { "data-test": "pending-text" }, text), giveUp ?? "");
  }

  #tick() {
    const purchase = this.#purchase;
    const element = this.querySelector('[data-test="countdown"]');
    if (!element) return;
    // Null: taken up after a reload, the server has not said yet how long it is.
    const left = purchase.leftMs ?? 0;
    const known = purchase.leftMs !== null;
    element.parentElement.classList.toggle("urgent", known && left < URGENT_MS);
    setText(element, known ? minutes(left) : "…");
    // Time is up by our count. Only the server knows whether it is over.
    if (left <= 0 && !purchase.pending && performance.now() - this.#askedAt > ASK_EVERY_MS) {
      this.#askedAt = performance.now();
      purchase.refresh();
    }
  }
}

function facts(rows) {
  const known = rows.filter(([, value]) => value);
  return h(
    "dl",
    { class: "pairs" },
    known.flatMap(([name, value, test]) => [h("dt", {}, name), h("dd", { "data-test": test }, value)]),
  );
}

customElements.define("buyer-panel", BuyerPanel);
