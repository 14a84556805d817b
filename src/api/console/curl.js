// The curl that does the same as a request of the page, with the key and body really used.

import { url } from "./api.js";

/** Quoted for a POSIX shell. */
export function quote(text) {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The command line of a request. `stream`: one that goes on. */
export function curl({ method = "GET", path, key, body, stream = false }, root) {
  const lines = [
    `curl -s${stream ? "N" : ""}${method === "GET" || (method === "POST" && body !== undefined) ? "" : ` -X ${method}`} ${quote(url(path, root))}`,
  ];
  if (stream) lines.push(`-H 'Accept: text/event-stream'`);
  if (body !== undefined) lines.push(`-H 'Content-Type: application/json'`);
  if (key) lines.push(`-H ${quote(`Idempotency-Key: ${key}`)}`);
  if (body !== undefined) lines.push(`-d ${quote(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}
