// Very many very small marks: written into pixels, because 50,000 calls of `fillRect` take longer than a frame.

/** [red, green, blue] of "#rrggbb"; the colours of seats in the style sheet are written like that. */
export function rgb(hex) {
  const number = parseInt(hex.slice(1), 16);
  return [(number >> 16) & 255, (number >> 8) & 255, number & 255];
}

/** A picture of `width` × `height` pixels in one colour, to put squares on. */
export class Raster {
  constructor(width, height, ground) {
    Object.assign(this, { width, height });
    this.image = new ImageData(width, height);
    const [r, g, b] = rgb(ground);
    // Bytes are red, green, blue, alpha; a 32-bit word has the first byte lowest on every machine a browser runs on.
    new Uint32Array(this.image.data.buffer).fill(((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
  }

  /** A square around (x, y), blended at its edges where it covers a part of a pixel. */
  square(x, y, side, [r, g, b]) {
    const { data } = this.image;
    const [left, top, right, bottom] = [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
    const lastColumn = Math.min(this.width - 1, Math.ceil(right) - 1);
    const lastLine = Math.min(this.height - 1, Math.ceil(bottom) - 1);
    for (let line = Math.max(0, Math.floor(top)); line <= lastLine; line++) {
      const tall = Math.min(line + 1, bottom) - Math.max(line, top);
      for (let column = Math.max(0, Math.floor(left)); column <= lastColumn; column++) {
        const part = tall * (Math.min(column + 1, right) - Math.max(column, left));
        const at = 4 * (line * this.width + column);
        data[at] += (r - data[at]) * part;
        data[at + 1] += (g - data[at + 1]) * part;
        data[at + 2] += (b - data[at + 2]) * part;
      }
    }
  }
}
