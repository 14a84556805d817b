// The seats on their canvas. Draws as little as a frame needs:
//
//   shift    the plan was moved: the picture is copied onto itself, the strips that came in are drawn
//   touch    seats changed: they are drawn over
//   stretch  zooming, and a full drawing was slow lately: the last sharp picture, scaled, until the hand rests
//   full     everything in view, found by the grid of cells

import { palette, SeatPainter, seatSize, SMALL_SIDE } from "./paint.js";
import { Raster, rgb } from "./raster.js";

/** More changed seats in a frame than this: one full drawing is cheaper. */
const TOUCHED_MAX = 4000;
/** A full drawing that took longer, in milliseconds, is not repeated in every frame of a zoom. */
const SLOW_MS = 8;

export class Picture {
  #canvas;
  #context;
  #layout;
  #table;
  #colourOf;
  #painter = null;
  #scale = 1;
  #pan = [0, 0];
  /** Scale and pan of what is on the canvas; null: nothing of use. */
  #drawn = null;
  #sharp = null;
  #fullMs = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.restyle();
  }

  /** `colourOf(seat, code, colours)` is the colour of a seat. */
  show(layout, table, colourOf) {
    [this.#layout, this.#table, this.#colourOf] = [layout, table, colourOf];
    this.stale();
  }

  /** Everything must be drawn again. */
  stale() {
    this.#drawn = null;
  }

  /** Light became dark, or the other way round. */
  restyle() {
    this.colours = palette(this.#canvas);
    this.stale();
  }

  /** Size of a seat in device pixels. */
  get size() {
    return this.#painter?.size ?? 0;
  }

  /** Draws for screen = plan * scale - pan. Answers false when the picture is only stretched and wants another frame. */
  paint(scale, pan, touched, zooming) {
    [this.#scale, this.#pan] = [scale, pan];
    const { width, height } = this.#canvas;
    const [dx, dy] = this.#drawn ? [pan[0] - this.#drawn.pan[0], pan[1] - this.#drawn.pan[1]] : [0, 0];
    const shiftable =
      this.#drawn?.scale === scale && !this.#drawn.blurred && Math.abs(dx) < width && Math.abs(dy) < height;
    if (shiftable && touched.size <= TOUCHED_MAX) {
      if (dx || dy) this.#shift(dx, dy);
      for (const seat of touched) this.#touch(seat);
    } else if (zooming && this.#drawn && this.#fullMs > SLOW_MS) {
      this.#stretch();
      return false;
    } else this.#full();
    this.#drawn = { scale, pan };
    return true;
  }

  #full() {
    const began = performance.now();
    this.#painter = new SeatPainter(this.#context, this.colours, seatSize(this.#layout.pitch * this.#scale));
    this.#region(0, 0, this.#canvas.width, this.#canvas.height);
    this.#fullMs = performance.now() - began;
  }

  #shift(dx, dy) {
    const { width, height } = this.#canvas;
    this.#context.globalCompositeOperation = "copy";
    this.#context.drawImage(this.#canvas, -dx, -dy);
    this.#context.globalCompositeOperation = "source-over";
    if (dx) this.#region(dx > 0 ? width - dx : 0, 0, Math.abs(dx), height);
    if (dy) this.#region(0, dy > 0 ? height - dy : 0, width, Math.abs(dy));
  }

  /** The last sharp picture where it would lie now. */
  #stretch() {
    const { width, height } = this.#canvas;
    if (!this.#drawn.blurred) {
      const canvas = new OffscreenCanvas(width, height);
      canvas.getContext("2d", { alpha: false }).drawImage(this.#canvas, 0, 0);
      this.#sharp = { canvas, ...this.#drawn };
    }
    const grown = this.#scale / this.#sharp.scale;
    const [x, y] = this.#sharp.pan.map((pan, axis) => pan * grown - this.#pan[axis]);
    this.#context.fillStyle = this.colours.ground;
    this.#context.fillRect(0, 0, width, height);
    this.#context.drawImage(this.#sharp.canvas, x, y, width * grown, height * grown);
    this.#painter.size = seatSize(this.#layout.pitch * this.#scale);
    this.#drawn = { scale: this.#scale, pan: this.#pan, blurred: true };
  }

  /** Draws all seats that touch a box of the screen, and nothing outside it. */
  #region(left, top, width, height) {
    const large = width * height * 4 > this.#canvas.width * this.#canvas.height;
    if (large && this.#painter.small) return this.#pixels(left, top, width, height);
    const context = this.#context;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.fillStyle = this.colours.ground;
    context.fillRect(left, top, width, height);
    this.#visit(left, top, width, height, (seat, x, y, code) =>
      this.#painter.draw(x, y, code, this.#colourOf(seat, code, this.colours)),
    );
    context.restore();
  }

  /** The same for marks of a few pixels. */
  #pixels(left, top, width, height) {
    const raster = new Raster(width, height, this.colours.ground);
    const known = new Map();
    this.#visit(left, top, width, height, (seat, x, y, code) => {
      const colour = this.#colourOf(seat, code, this.colours);
      let parts = known.get(colour);
      if (!parts) known.set(colour, (parts = rgb(colour)));
      raster.square(x - left, y - top, this.#painter.size * SMALL_SIDE[code], parts);
    });
    this.#context.putImageData(raster.image, left, top);
  }

  #visit(left, top, width, height, visit) {
    const reach = this.#painter.size;
    const plan = (pixel, axis) => (pixel + this.#pan[axis]) / this.#scale;
    const [l, t, r, b] = [left - reach, top - reach, left + width + reach, top + height + reach];
    this.#layout.within(plan(l, 0), plan(t, 1), plan(r, 0), plan(b, 1), (seat) => {
      const [x, y] = this.#place(seat);
      if (x >= l && x <= r && y >= t && y <= b) visit(seat, x, y, this.#table.code(seat));
    });
  }

  #place(seat) {
    return [this.#layout.x[seat] * this.#scale - this.#pan[0], this.#layout.y[seat] * this.#scale - this.#pan[1]];
  }

  #touch(seat) {
    const [x, y] = this.#place(seat);
    const reach = this.#painter.size;
    if (x < -reach || y < -reach || x > this.#canvas.width + reach || y > this.#canvas.height + reach) return;
    const code = this.#table.code(seat);
    this.#painter.erase(x, y);
    this.#painter.draw(x, y, code, this.#colourOf(seat, code, this.colours));
  }
}
