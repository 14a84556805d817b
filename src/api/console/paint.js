// How a seat looks. Colour says the status or the category; shape always says the status, so that colour is never the
// only sign: free is a full disc, held is half filled, booked is a ring with a cross, blocked a bar.

import { STATUSES } from "./model.js";

/** Below this size in device pixels a seat is a plain mark, drawn without a sprite. */
const SPRITE_FROM = 4.5;
/** Sides of the plain marks, by status, as parts of a seat. */
export const SMALL_SIDE = [1, 0.9, 0.7, 0.5];
/** Colours for categories; more categories than these share the last. */
export const CATEGORY_COLOURS = 8;

/** Colours of the style sheet, as they are now (light or dark). */
export function palette(element) {
  const style = getComputedStyle(element);
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    status: STATUSES.map((status) => value(`--seat-${status}`)),
    category: Array.from({ length: CATEGORY_COLOURS }, (_, i) => value(`--category-${i}`)),
    ground: value("--map-ground"),
    ink: value("--ink"),
    accent: value("--accent"),
    mine: value("--mine"),
  };
}

/** Draws one seat shape, `size` wide, around a point. */
export function shape(context, code, x, y, size, colour) {
  const r = size / 2;
  context.fillStyle = context.strokeStyle = colour;
  context.lineWidth = Math.max(1, size / 9);
  const ring = r - context.lineWidth / 2;
  context.beginPath();
  if (code === 0) {
    context.arc(x, y, r, 0, 7);
    context.fill();
  } else if (code === 1) {
    context.arc(x, y, ring, 0, 7);
    context.stroke();
    context.beginPath();
    context.arc(x, y, r, 0, Math.PI);
    context.fill();
  } else if (code === 2) {
    const d = ring * 0.62;
    context.arc(x, y, ring, 0, 7);
    context.moveTo(x - d, y - d);
    context.lineTo(x + d, y + d);
    context.moveTo(x + d, y - d);
    context.lineTo(x - d, y + d);
    context.stroke();
  } else {
    context.fillRect(x - r, y - r * 0.4, size, size * 0.4);
  }
}

/** A disc fills this much of the distance to its neighbour; a square less, so that none overlap however a row is turned. */
const DISC_FILL = 0.88;
const SQUARE_FILL = 0.72;
/** Smallest mark in device pixels: below it a crowd of seats fades away. */
const MARK_MIN = 1.4;

/** Size of a seat whose neighbour is `pitch` device pixels away. */
export function seatSize(pitch) {
  return pitch * DISC_FILL >= SPRITE_FROM ? pitch * DISC_FILL : Math.max(MARK_MIN, pitch * SQUARE_FILL);
}

/** Draws many seats of one size; keeps sprites of the shapes, because 50,000 paths a frame are too many. */
export class SeatPainter {
  #sprites = new Map();

  constructor(context, colours, size) {
    Object.assign(this, { context, colours, size });
    this.small = size < SPRITE_FROM;
  }

  /** `colour` is a CSS colour; `code` the status. The ground under the seat must be clear. */
  draw(x, y, code, colour) {
    if (!this.small) {
      const sprite = this.#sprite(code, colour);
      this.context.drawImage(sprite, Math.round(x - sprite.width / 2), Math.round(y - sprite.height / 2));
      return;
    }
    const { context, size } = this;
    if (context.fillStyle !== colour) context.fillStyle = colour;
    // Free is the fullest mark, what cannot be bought is smaller; so small that only the crowd is seen, not the shape.
    const side = size * SMALL_SIDE[code];
    context.fillRect(x - side / 2, y - side / 2, side, side);
  }

  /** Clears the ground of one seat, not that of its neighbours. */
  erase(x, y) {
    const { context, size } = this;
    context.fillStyle = this.colours.ground;
    if (this.small) context.fillRect(x - size / 2 - 0.25, y - size / 2 - 0.25, size + 0.5, size + 0.5);
    else {
      context.beginPath();
      context.arc(Math.round(x), Math.round(y), size / 2 + 1, 0, 7);
      context.fill();
    }
  }

  #sprite(code, colour) {
    const key = code + colour;
    let sprite = this.#sprites.get(key);
    if (!sprite) {
      const side = 2 * Math.ceil(this.size / 2 + 1);
      const canvas = new OffscreenCanvas(side, side);
      shape(canvas.getContext("2d"), code, side / 2, side / 2, this.size, colour);
      // A bitmap: drawing from a canvas makes a copy of it each time.
      sprite = canvas.transferToImageBitmap();
      this.#sprites.set(key, sprite);
    }
    return sprite;
  }
}
