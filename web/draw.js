// Pictures: the frame with what was seen drawn on it, and the timeline.
//
// Knows: canvases and colours. Does not know: where steps come from, what is pressed.

const THINGS = ["#ffd640", "#5ec8ff", "#ff78c8", "#82f082", "#ffa05a", "#c0a0ff"];
const REASONS = ["#3b82f6", "#10a37f", "#8b5cf6", "#ec4899", "#06b6d4", "#84a91d", "#b07d48", "#64748b"];
const AHEAD = 0.2; // seconds that a velocity arrow looks ahead
const STILL = 0.3; // px a step, below which no arrow is drawn
const FORGOTTEN = 0.02; // `sure` of a thing that is no longer predicted
export const SLOT = ["seen", "x", "y", "w", "h", "vx", "vy", "sure"];

/** A colour of the style sheet. */
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Reason -> colour; faults are red everywhere. */
export function reasonColours(reasons) {
  const colours = new Map(reasons.map((reason, i) => [reason, REASONS[i % REASONS.length]]));
  return (reason) => (reason === "fault" ? css("--red") : (colours.get(reason) ?? css("--dim")));
}

/** Where everything stands in the scene vector: {things: [{name, colour, starts}], grids, gauges, readings}, in its
 *  order. */
export function layoutOf({ names, schema }) {
  const at = new Map(names.map((name, i) => [name, i]));
  const byPlace = (a, b) => a.at - b.at;
  const things = Object.entries(schema.things).map(([name, { count }]) => {
    const slots = count === 1 ? [name] : Array.from({ length: count }, (_, i) => `${name}[${i}]`);
    const starts = slots.map((slot) => at.get(`${slot}.${SLOT[0]}`));
    return { name, starts, at: starts[0] };
  });
  things.sort(byPlace).forEach((thing, i) => (thing.colour = THINGS[i % THINGS.length]));
  const grids = Object.entries(schema.grids).map(([name, grid]) => ({ name, ...grid, at: at.get(`${name}[0,0]`) }));
  const gauges = Object.keys(schema.gauges).map((name) => ({ name, at: at.get(name) }));
  const readings = Object.entries(schema.readings ?? {}).map(([name, { fields }]) => {
    const list = Object.entries(fields).map(([field, { unit }]) => ({ field, unit, at: at.get(`${name}.${field}`) }));
    return { name, fields: list.sort(byPlace), at: at.get(`${name}.${SLOT[0]}`) };
  });
  return { things, grids: grids.sort(byPlace), gauges: gauges.sort(byPlace), readings: readings.sort(byPlace) };
}

/** One slot of a scene vector by field name; `there`: seen or still predicted. */
export function slotOf(scene, start) {
  const slot = Object.fromEntries(SLOT.map((field, i) => [field, scene[start + i]]));
  slot.seen = slot.seen > 0.5;
  slot.there = slot.seen || slot.sure > FORGOTTEN;
  return slot;
}

/** Give a canvas as many pixels as the screen has under it. */
function fit(canvas) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return ratio;
}

export class Stage {
  constructor(canvas, width, height, layout, hz) {
    Object.assign(this, { canvas, layout, ahead: AHEAD * hz });
    canvas.style.aspectRatio = `${width} / ${height}`;
    canvas.style.setProperty("--ratio", width / height);
    this.native = Object.assign(document.createElement("canvas"), { width, height });
    this.pixels = new ImageData(width, height);
    this.pixels.data.fill(255);
  }

  /** The frame uint8[H * W * 3] enlarged; `scene` (or null) drawn on it. */
  draw(rgb, scene) {
    const ratio = fit(this.canvas);
    const { data } = this.pixels;
    for (let i = 0, o = 0; i < rgb.length; o++) for (let c = 0; c < 3; c++) data[o++] = rgb[i++];
    this.native.getContext("2d").putImageData(this.pixels, 0, 0);
    const g = this.canvas.getContext("2d");
    const scale = this.canvas.width / this.native.width;
    g.imageSmoothingEnabled = false;
    g.drawImage(this.native, 0, 0, this.canvas.width, this.canvas.height);
    if (!scene) return;
    this.layout.grids.forEach((grid) => this.cells(g, scale, ratio, grid, scene));
    for (const { name, colour, starts } of this.layout.things)
      starts.forEach((start, i) => {
        const label = starts.length > 1 ? `${name} ${i}` : name;
        const slot = slotOf(scene, start);
        if (slot.there) this.box(g, scale, ratio, slot, colour, label);
      });
  }

  cells(g, scale, ratio, { at, rows, cols, top, left, cell }, scene) {
    g.strokeStyle = "rgb(255 255 255 / 65%)";
    g.lineWidth = ratio;
    const inset = ratio / 2;
    for (let i = 0; i < rows * cols; i++)
      if (scene[at + i] > 0.5) {
        const x = (left + (i % cols) * cell[0]) * scale;
        const y = (top + Math.floor(i / cols) * cell[1]) * scale;
        g.strokeRect(x + inset, y + inset, cell[0] * scale - 2 * inset, cell[1] * scale - 2 * inset);
      }
  }

  box(g, scale, ratio, slot, colour, label) {
    const away = 3 * ratio;
    const [w, h] = [slot.w * scale + 2 * away, slot.h * scale + 2 * away];
    const [x, y] = [slot.x * scale - w / 2, slot.y * scale - h / 2];
    g.lineJoin = "round";
    for (const [shade, width] of [["rgb(0 0 0 / 70%)", 4], [colour, 2]]) {
      g.setLineDash(slot.seen ? [] : [5 * ratio, 4 * ratio]);
      g.strokeStyle = shade;
      g.lineWidth = width * ratio;
      g.strokeRect(x, y, w, h);
      g.setLineDash([]);
      if (Math.abs(slot.vx) + Math.abs(slot.vy) > STILL) this.arrow(g, scale, ratio, slot);
    }
    this.label(g, ratio, `${label}${slot.seen ? "" : " ?"}`, x, y, h, colour);
  }

  arrow(g, scale, ratio, { x, y, vx, vy }) {
    const [fx, fy] = [x * scale, y * scale];
    const [tx, ty] = [fx + vx * this.ahead * scale, fy + vy * this.ahead * scale];
    const angle = Math.atan2(ty - fy, tx - fx);
    const head = Math.min(9 * ratio, Math.hypot(tx - fx, ty - fy) / 2);
    g.beginPath();
    g.moveTo(fx, fy);
    g.lineTo(tx, ty);
    for (const turn of [-0.5, 0.5]) {
      g.moveTo(tx, ty);
      g.lineTo(tx - head * Math.cos(angle + turn), ty - head * Math.sin(angle + turn));
    }
    g.stroke();
  }

  label(g, ratio, text, x, y, h, colour) {
    g.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    const width = g.measureText(text).width + 8 * ratio;
    const high = 16 * ratio;
    const left = Math.min(Math.max(0, x), this.canvas.width - width);
    const top = y - high - 2 * ratio > 0 ? y - high - 2 * ratio : y + h + 2 * ratio;
    g.fillStyle = "rgb(0 0 0 / 70%)";
    g.fillRect(left, top, width, high);
    g.fillStyle = colour;
    g.fillText(text, left + 4 * ratio, top + 12 * ratio);
  }
}

/** Reasons as a coloured band (pale where the bundle has not played yet), marks for what was overruled, went wrong or
 *  differs from native play below it, the step shown as a line. `at(t)`: {reason, overruled, faults, same, played}. */
export function drawTimeline(canvas, steps, shown, at, colourOf) {
  const ratio = fit(canvas);
  const g = canvas.getContext("2d");
  const { width, height } = canvas;
  let marked = false;
  for (let t = 0; t < steps && !marked; t++) marked = at(t).overruled || at(t).faults || !at(t).same;
  const band = marked ? height - 22 * ratio : height;
  const x = (t) => (t / steps) * width;
  g.fillStyle = css("--line");
  g.fillRect(0, 0, width, height);
  const marks = { amber: css("--amber"), red: css("--red"), ink: css("--ink") };
  for (let t = 0; t < steps; ) {
    const { reason, played } = at(t);
    let end = t + 1;
    while (end < steps && at(end).reason === reason && at(end).played === played) end++;
    g.globalAlpha = played ? 1 : 0.3;
    g.fillStyle = colourOf(reason);
    g.fillRect(x(t), 0, x(end) - x(t) + 0.5, band);
    t = end;
  }
  g.globalAlpha = 1;
  const mark = (t, lane, colour) => {
    g.fillStyle = colour;
    g.fillRect(x(t), band + (2 + lane * 7) * ratio, Math.max(2 * ratio, x(1)), 5 * ratio);
  };
  for (let t = 0; t < steps; t++) {
    const { overruled, faults, same } = at(t);
    if (overruled) mark(t, 0, marks.amber);
    if (faults) mark(t, 1, marks.red);
    if (!same) mark(t, 2, marks.ink);
  }
  g.fillStyle = css("--card");
  g.fillRect(x(shown + 0.5) - 2.5 * ratio, 0, 5 * ratio, height);
  g.fillStyle = css("--ink");
  g.fillRect(x(shown + 0.5) - 1.5 * ratio, 0, 3 * ratio, height);
}
