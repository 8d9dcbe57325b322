// What a label says, and how a box moves. Pure: no drawing, no network.
//
// A box is [x, y, w, h] in pixels of the frame, centre and size; null is an absent thing. A label is the visible box, so
// edges snap to whole pixels when they are moved.

export const SMALLEST = 1; // px
export const COLOURS = ["#ffd43b", "#4dd4ff", "#ff7a9c", "#7ee787", "#c99bff", "#ffa94d", "#5eead4", "#f5a3ff"];

/** Everything that can be selected, in order: {part, slot, kind, name, colour, size}. Things of one kind share a colour. */
export function slotsOf(info) {
  const slots = [];
  for (const thing of info.things)
    for (let slot = 0; slot < thing.count; slot++) {
      const name = thing.count === 1 ? thing.name : `${thing.name} ${slot + 1}`;
      slots.push({ part: thing.name, slot, kind: "thing", name, size: thing.size });
    }
  for (const grid of info.grids) slots.push({ part: grid.name, slot: 0, kind: "grid", name: grid.name, grid });
  for (const gauge of info.gauges) slots.push({ part: gauge.name, slot: 0, kind: "gauge", name: gauge.name, gauge });
  for (const reading of info.readings) slots.push({ part: reading.name, slot: 0, kind: "reading", name: reading.name, reading });
  const parts = [...new Set(slots.map((entry) => entry.part))];
  for (const entry of slots) entry.colour = COLOURS[parts.indexOf(entry.part) % COLOURS.length];
  return slots;
}

/** The kinds of things, in order, with the slots of each: {part, colour, slots}. */
export function classesOf(slots) {
  const things = slots.filter((entry) => entry.kind === "thing");
  return [...new Set(things.map((entry) => entry.part))].map((part) => {
    const own = things.filter((entry) => entry.part === part);
    return { part, colour: own[0].colour, slots: own };
  });
}

/** The values to draw: what holds, else what the detector saw, else nothing there. What it saw of things are proposals:
 * see `offered`. */
export function shownValues(info, frame) {
  const values = {};
  const pick = (name, empty) => structuredClone(frame.parts[name]?.value ?? frame.belief?.values[name] ?? empty);
  for (const { name, count } of info.things) values[name] = structuredClone(frame.parts[name]?.value ?? Array(count).fill(null));
  for (const grid of info.grids) values[grid.name] = pick(grid.name, Array(grid.rows).fill("0".repeat(grid.cols)));
  for (const gauge of info.gauges) values[gauge.name] = pick(gauge.name, gauge.low);
  for (const reading of info.readings) values[reading.name] = pick(reading.name, null);
  return values;
}

/** What the detector saw of the things that nobody labelled, by kind: boxes to be confirmed. */
export function offered(info, frame) {
  const open = info.things.filter(({ name }) => !frame.parts[name] && frame.belief);
  return Object.fromEntries(open.map(({ name }) => [name, structuredClone(frame.belief.values[name])]));
}

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
const edges = ([x, y, w, h]) => [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
const boxOf = (left, top, right, bottom) => [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top];

/** One axis of a move: the low edge lands on a whole pixel. */
function moved(low, size, by, limit) {
  return by ? clamp(Math.round(low + by), 0, Math.floor(limit - size)) : low;
}

export function moveBox(box, dx, dy, width, height) {
  const [left, top] = edges(box);
  const [, , w, h] = box;
  const [x, y] = [moved(left, w, dx, width), moved(top, h, dy, height)];
  return boxOf(x, y, x + w, y + h);
}

/** `corner`: "nw", "ne", "sw" or "se" goes along, the opposite one stays. */
export function resizeBox(box, corner, dx, dy, width, height) {
  let [left, top, right, bottom] = edges(box);
  if (dx && corner.includes("w")) left = clamp(Math.round(left + dx), 0, right - SMALLEST);
  if (dx && corner.includes("e")) right = clamp(Math.round(right + dx), left + SMALLEST, width);
  if (dy && corner.includes("n")) top = clamp(Math.round(top + dy), 0, bottom - SMALLEST);
  if (dy && corner.includes("s")) bottom = clamp(Math.round(bottom + dy), top + SMALLEST, height);
  return boxOf(left, top, right, bottom);
}

/** A box of the usual size around a point. */
export function placeBox([w, h], x, y, width, height) {
  const [wide, tall] = [Math.max(1, Math.round(w)), Math.max(1, Math.round(h))];
  const left = clamp(Math.round(x - wide / 2), 0, width - wide);
  const top = clamp(Math.round(y - tall / 2), 0, height - tall);
  return boxOf(left, top, left + wide, top + tall);
}

/** The box between two corners of a drag: whole pixels, inside the frame. */
export function drawnBox(x1, y1, x2, y2, width, height) {
  const whole = (value, limit) => clamp(Math.round(value), 0, limit);
  const [left, right] = [whole(Math.min(x1, x2), width), whole(Math.max(x1, x2), width)];
  const [top, bottom] = [whole(Math.min(y1, y2), height), whole(Math.max(y1, y2), height)];
  return boxOf(left, top, right, bottom);
}

/** The share of both boxes together that they have in common. */
export function overlap(one, other) {
  const [a, b] = [edges(one), edges(other)];
  const [wide, tall] = [0, 1].map((i) => Math.max(0, Math.min(a[i + 2], b[i + 2]) - Math.max(a[i], b[i])));
  return (wide * tall) / (one[2] * one[3] + other[2] * other[3] - wide * tall);
}

/** The cell of a grid at a point, or null. */
export function cellAt(grid, x, y) {
  const col = Math.floor((x - grid.left) / grid.cell[0]);
  const row = Math.floor((y - grid.top) / grid.cell[1]);
  return col >= 0 && row >= 0 && col < grid.cols && row < grid.rows ? { row, col } : null;
}

export function withCell(rows, { row, col }, there) {
  const line = rows[row];
  return rows.map((text, at) => (at === row ? line.slice(0, col) + (there ? "1" : "0") + line.slice(col + 1) : text));
}

export const countCells = (rows) => rows.join("").replaceAll("0", "").length;

/** A reading with one field changed; one that was absent starts in the middle of its ranges. */
export function withField({ fields }, value, name, number) {
  const middle = Object.fromEntries(fields.map(({ name, low, high }) => [name, (low + high) / 2]));
  const { low, high } = fields.find((field) => field.name === name);
  return { ...(value ?? middle), [name]: Number.isFinite(number) ? clamp(number, low, high) : (low + high) / 2 };
}

const px = (value) => String(Math.round(value * 100) / 100);

/** For people. */
export function describe(entry, value) {
  if (entry.kind === "grid") return `${countCells(value)} of ${entry.grid.rows * entry.grid.cols}`;
  if (entry.kind === "gauge") return px(value);
  if (entry.kind === "reading") {
    if (!value) return "absent";
    const said = ({ name, unit }) => `${name} ${Number(value[name].toPrecision(4))}${unit ? ` ${unit}` : ""}`;
    return entry.reading.fields.map(said).join(" · ");
  }
  const box = value[entry.slot];
  return box ? `at ${px(box[0])}, ${px(box[1])} · ${px(box[2])} × ${px(box[3])} px` : "absent";
}
