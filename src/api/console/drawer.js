// `<curl-drawer>`: what the page just asked, as lines for a shell, each with a button that copies it.

import { curl } from "./curl.js";
import { h } from "./ui.js";

/** Commands kept in the drawer, newest first. */
const KEPT_MAX = 12;

async function copy(text, source) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard on plain HTTP beyond localhost: select it, then the old way.
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}

export class CurlDrawer extends HTMLElement {
  #list = h("ol", { class: "curls" });
  #summary = h("summary", { "data-test": "curl-toggle" }, "curl: the same from a shell");

  connectedCallback() {
    if (this.firstChild) return;
    this.append(h("details", { "data-test": "curl-drawer" }, this.#summary, this.#list));
  }

  /** Adds what was just asked, on top; the same request under the same key only once. */
  add(title, request) {
    const text = curl(request);
    for (const old of this.#list.children) if (old.dataset.text === text) old.remove();
    const code = h("code", { "data-test": "curl-text" }, text);
    const done = h("span", { role: "status", class: "quiet" });
    const click = async () => (done.textContent = (await copy(text, code)) ? "copied" : "press Ctrl-C");
    const button = h(
      "button",
      { type: "button", "data-test": "curl-copy", onclick: click, "aria-label": `Copy the curl for: ${title}` },
      "copy",
    );
    const item = h(
      "li",
      {},
      h("div", { class: "line" }, h("span", {}, title), done, button),
      h("pre", { tabindex: "0" }, code),
    );
    item.dataset.text = text;
    this.#list.prepend(item);
    while (this.#list.children.length > KEPT_MAX) this.#list.lastChild.remove();
  }
}

customElements.define("curl-drawer", CurlDrawer);
