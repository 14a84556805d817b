// `<oversell-meter>`: one number that has to be 0, and what stands behind it. Red and loud when it is not.
//
// data-test: meter (data-state = waiting | good | bad), oversold, meter-facts, meter-findings.

import { count, h, setText } from "./ui.js";

export class OversellMeter extends HTMLElement {
  #number = h("b", { "data-test": "oversold", class: "number" }, "–");
  #word = h("span", {}, "oversold");
  #sign = h("span", { class: "sign", "aria-hidden": "true" }, "…");
  #facts = h("p", { "data-test": "meter-facts" }, "Not audited yet.");
  #note = h("p", { class: "quiet", hidden: true });
  #findings = h("ul", { "data-test": "meter-findings", role: "alert" });

  connectedCallback() {
    if (this.firstChild) return;
    this.dataset.state = "waiting";
    this.append(
      this.#sign,
      h("div", { class: "big" }, this.#number, " ", this.#word),
      h("div", {}, this.#facts, this.#note, this.#findings),
    );
  }

  show(auditor) {
    const { events, units, booked, held, oversold, violations } = auditor.sums;
    const bad = oversold > 0 || violations > 0 || auditor.findings.length > 0;
    this.dataset.state = bad ? "bad" : events ? "good" : "waiting";
    setText(this.#sign, bad ? "⚠" : events ? "✓" : "…");
    setText(this.#number, events ? count(oversold) : "–");
    const of = events < auditor.events.size ? ` of ${count(auditor.events.size)}` : "";
    setText(
      this.#facts,
      events
        ? `${count(events)}${of} event${auditor.events.size === 1 ? "" : "s"} audited, ${count(units)} units: ${count(booked)} booked, ${count(held)} held. ${count(auditor.audits)} audits so far.`
        : auditor.listed && !auditor.events.size
          ? "There are no events to audit."
          : "Not audited yet.",
    );
    this.#note.hidden = !auditor.failing;
    setText(this.#note, auditor.failing ? `Auditing waits: ${auditor.failing}. These are the last numbers.` : "");
    if (this.#findings.children.length !== auditor.findings.length) {
      this.#findings.replaceChildren(
        ...auditor.findings.map(({ text, version }) => h("li", {}, `${text} (seen at version ${count(version)})`)),
      );
    }
  }
}

customElements.define("oversell-meter", OversellMeter);
