// `<spark-line>`: the last minute of a rate, one bar a second.

import { h } from "./ui.js";

export const SECONDS = 60;

/** Counts per second over the last minute. Times are milliseconds of one steady clock. */
export class Rate {
  #buckets = new Array(SECONDS).fill(0);
  #second = null;

  add(amount, now) {
    this.#roll(now);
    this.#buckets[this.#second % SECONDS] += amount;
  }

  /** Oldest first; the second that is under way is left out. */
  series(now) {
    this.#roll(now);
    return Array.from({ length: SECONDS - 1 }, (_, i) => this.#buckets[(this.#second + 1 + i) % SECONDS]);
  }

  /** Mean of the last three whole seconds. */
  now(now) {
    return this.series(now).slice(-3).reduce((sum, one) => sum + one, 0) / 3;
  }

  #roll(now) {
    const second = Math.floor(now / 1000);
    this.#second ??= second;
    const passed = Math.min(SECONDS, second - this.#second);
    for (let i = 1; i <= passed; i++) this.#buckets[(second - passed + i) % SECONDS] = 0;
    if (passed > 0) this.#second = second;
  }
}

export class SparkLine extends (globalThis.HTMLElement ?? Object) {
  #canvas = null;

  connectedCallback() {
    this.#canvas ??= h("canvas", { "aria-hidden": "true" });
    this.append(this.#canvas);
  }

  draw(series) {
    const canvas = this.#canvas;
    const dpr = devicePixelRatio;
    const [width, height] = [Math.round(this.clientWidth * dpr), Math.round(this.clientHeight * dpr)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(this);
    const most = Math.max(1, ...series);
    const step = width / series.length;
    context.fillStyle = style.getPropertyValue("--line");
    context.fillRect(0, height - dpr, width, dpr);
    context.fillStyle = style.getPropertyValue("--accent");
    series.forEach((value, at) => {
      const tall = value ? Math.max(dpr, (value / most) * (height - 2)) : 0;
      context.fillRect(at * step, height - tall, Math.max(1, step - dpr), tall);
    });
    this.title = `last minute, at most ${most} a second`;
  }
}

globalThis.customElements?.define("spark-line", SparkLine);
