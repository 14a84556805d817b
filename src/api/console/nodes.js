// `<node-cards>`: the nodes of the cluster; in a `dev` cluster with buttons that kill, pause, continue and restart them.
//
// data-test: nodes, node (data-id, data-role, data-reachable, data-state), node-kill, node-pause, node-continue,
// node-restart, node-console, node-message.

import { paths, request } from "./api.js";
import { count, h, setText } from "./ui.js";

const ACTIONS = {
  kill: { when: ["running", "paused"], title: "kill -9: the process is gone at once" },
  pause: { when: ["running"], title: "SIGSTOP: the process stands still, its connections stay open" },
  continue: { when: ["paused"], title: "SIGCONT: the process goes on as if no time had passed" },
  restart: { when: ["running", "paused", "dead"], title: "Ends the process and starts it again on the same data" },
};

/** How long what became of an action is shown. */
const MESSAGE_MS = 8_000;

export class NodeCards extends HTMLElement {
  #cards = new Map();
  /** Called after an action: `onaction({id, action})`. */
  onaction = () => {};
  /** The node that answers this page. */
  own = null;

  /** `dev`: id → {state, api} in a dev cluster, null elsewhere. */
  show(nodes, dev) {
    const ids = nodes.map((node) => node.id);
    for (const [id, card] of this.#cards) if (!ids.includes(id)) (card.element.remove(), this.#cards.delete(id));
    for (const node of nodes) {
      let card = this.#cards.get(node.id);
      if (!card) {
        this.#cards.set(node.id, (card = this.#card(node.id)));
        this.append(card.element);
      }
      this.#fill(card, node, dev?.get(node.id));
    }
  }

  #card(id) {
    const card = {
      title: h("h3", {}),
      role: h("span", { class: "badge" }),
      facts: h("dl", { class: "pairs" }),
      message: h("p", { class: "quiet", role: "status", "data-test": "node-message" }),
    };
    card.link = h("a", { "data-test": "node-console", title: "The console of this node" });
    card.own = h("span", {}, " (this page)");
    card.buttons = h("div", { class: "buttons small" });
    card.actions = Object.entries(ACTIONS).map(([action, { title }]) => {
      const button = h(
        "button",
        {
          type: "button",
          title,
          "data-test": `node-${action}`,
          "aria-label": `${action} node ${id}`,
          onclick: () => this.#act(card, id, action),
        },
        action,
      );
      return { action, button };
    });
    card.buttons.append(...card.actions.map(({ button }) => button));
    card.element = h(
      "article",
      { class: "node", "data-test": "node", "data-id": id },
      h("div", { class: "line" }, card.title, card.role),
      card.facts,
      card.buttons,
      card.message,
    );
    return card;
  }

  #fill(card, node, dev) {
    const state = dev?.state ?? (node.reachable ? "running" : "unreachable");
    Object.assign(card.element.dataset, { role: node.role, reachable: node.reachable, state });
    setText(card.title, `Node ${node.id}`);
    const shown = state === "running" && node.reachable ? node.role : state === "running" ? "unreachable" : state;
    setText(card.role, shown);
    card.role.dataset.role = shown;
    card.link.href = `${(node.api ?? "").replace(/\/$/, "")}/console/`;
    setText(card.link, (node.api ?? "–").replace(/^https?:\/\//, ""));
    card.own.hidden = node.id !== this.own;
    const rows = [
      ["log lag", node.log_lag === null || node.log_lag === undefined ? "–" : `${count(node.log_lag)} entries`],
      [
        "clock skew",
        node.clock_skew_ms === null || node.clock_skew_ms === undefined ? "–" : `${count(node.clock_skew_ms)} ms`,
      ],
      ["version", node.version ?? "–"],
      ["region", node.region || "–"],
    ];
    if (!card.facts.firstChild)
      card.facts.append(
        ...rows.flatMap(() => [h("dt"), h("dd")]),
        h("dt", {}, "address"),
        h("dd", {}, card.link, card.own),
      );
    rows.forEach(([name, value], at) => {
      setText(card.facts.children[2 * at], name);
      setText(card.facts.children[2 * at + 1], value);
    });
    card.buttons.hidden = !dev;
    for (const { action, button } of card.actions)
      button.disabled = !ACTIONS[action].when.includes(state === "unreachable" ? "running" : state);
  }

  async #act(card, id, action) {
    setText(card.message, `${action}…`);
    try {
      const { status, body } = await request("POST", paths.devAction(id, action));
      setText(card.message, status < 300 ? "" : `${action}: ${body?.detail ?? body?.title ?? `status ${status}`}`);
    } catch {
      // Killing or pausing the node that serves this page takes the answer with it.
      setText(
        card.message,
        id === this.own
          ? `${action}: this page's own node; it comes back by itself or from another node's console`
          : `${action}: no answer`,
      );
    }
    setTimeout(setText, MESSAGE_MS, card.message, "");
    this.onaction({ id, action });
  }
}

customElements.define("node-cards", NodeCards);
