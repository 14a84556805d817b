// Reads Server-Sent Events out of text, and puts change sets together that came in parts.

/** Characters of one message; beyond it the stream is not ours. */
export const MESSAGE_CHARS_MAX = 64 * 1024 * 1024;

/** Splits text into SSE messages, whatever the chunks it comes in. */
export class SseParser {
  // A line that has not ended yet, in pieces: a message of 5 MB is joined once, not with every chunk.
  #pieces = [];
  #event = "";
  #data = [];
  #id = null;
  #chars = 0;
  #onMessage;

  constructor(onMessage) {
    this.#onMessage = onMessage;
  }

  /** True in the middle of a message: bytes of it are a sign of life, a comment is not. */
  get busy() {
    return this.#data.length > 0 || (this.#pieces[0] ?? "").startsWith("data");
  }

  push(text) {
    this.#chars += text.length;
    if (this.#chars > MESSAGE_CHARS_MAX) throw new Error("a message is longer than this page takes");
    const halfCrlf = this.#pieces.at(-1)?.endsWith("\r");
    this.#pieces.push(text);
    if (!halfCrlf && !/[\r\n]/.test(text)) return;
    const all = this.#pieces.join("");
    const end = /\r\n|\n|\r/g;
    let from = 0;
    for (let found = end.exec(all); found; found = end.exec(all)) {
      // A CR at the very end may be the first half of CRLF: wait for the next chunk.
      if (found[0] === "\r" && end.lastIndex === all.length) break;
      this.#line(all.slice(from, found.index));
      from = end.lastIndex;
    }
    this.#pieces = from < all.length ? [all.slice(from)] : [];
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id") this.#id = value;
  }

  #dispatch() {
    if (this.#data.length) {
      this.#onMessage({ type: this.#event || "message", id: this.#id, data: this.#data.join("\n") });
    }
    this.#event = "";
    this.#data = [];
    this.#id = null;
    this.#chars = 0;
  }
}

/** Puts the parts of one change set together. Throws when they do not follow each other. */
export class Parts {
  #have = [];

  /** The whole message, or null while parts are missing. */
  add(message) {
    if (!(message.parts > 1)) return message;
    const first = this.#have[0];
    if (first && (positionOf(message) !== positionOf(first) || message.part !== first.part + this.#have.length)) {
      throw new Error(`part ${message.part} of ${positionOf(message)} does not follow what came before`);
    }
    this.#have.push(message);
    if (this.#have.length < message.parts) return null;
    const whole = { ...message };
    for (const list of ["changes", "events"]) if (message[list]) whole[list] = this.#have.flatMap((part) => part[list]);
    this.#have = [];
    return whole;
  }
}

/** The position a message speaks of: a version, or a revision on the group's stream. */
export function positionOf(data) {
  return data.version ?? data.revision ?? null;
}
