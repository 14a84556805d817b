// `<spark-line>`: the last minute of a rate, one bar a second.

import { h } from "./ui.js";

export class SparkLine extends HTMLElement {
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

customElements.define("spark-line", SparkLine);
