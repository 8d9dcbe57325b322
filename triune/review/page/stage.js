// The frame with its boxes: draws, and turns what a pointer does into moved, resized, placed and painted values.
//
// Knows: the picture, the values shown, the selection, which of the boxes are proposals, and the kind of thing that a drag
// draws. Does not know what becomes of a change: `onChange(entry)` is told once, when the pointer lets go. `onSelect(entry or
// null)`, `onPlace(entry, box)` and `onDraw(kind, box)` likewise.

import { cellAt, drawnBox, moveBox, placeBox, resizeBox, same, withCell } from "./values.js";
import { View, ZOOMS } from "./view.js";

const ELSEWHERE = 0.75; // px
const SVG = "http://www.w3.org/2000/svg";
const FONT = '600 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const ruler = document.createElement("canvas").getContext("2d");
const LEAST = 2; // px of the frame a drawn box has at least
const STILL = { mouse: 3, touch: 7 }; // screen px a pointer may move and still be a tap

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export class Stage {
  constructor(root, { onChange, onSelect, onPlace, onDraw }) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.overlay = root.querySelector("#overlay");
    Object.assign(this, { onChange, onSelect, onPlace, onDraw, drag: null, values: null, selected: null, placing: null });
    Object.assign(this, { armed: null, proposed: new Set(), showDetections: true });
    this.pointer = matchMedia("(pointer: coarse)").matches ? "touch" : "mouse";
    new ResizeObserver(() => this.measure()).observe(root);
    root.addEventListener("pointerdown", (event) => this.down(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    root.addEventListener("pointerup", (event) => this.up(event));
    root.addEventListener("pointercancel", () => this.cancel());
    root.addEventListener("lostpointercapture", (event) => this.up(event)); // let go where nobody saw it
    root.addEventListener("touchmove", (event) => event.preventDefault(), { passive: false }); // a flick swallows the next tap
    root.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** Once: what the task's frames are like. */
  begin(info, slots) {
    Object.assign(this, { info, slots });
    this.view = new View(info.width, info.height);
    [this.canvas.width, this.canvas.height] = [info.width, info.height];
    this.measure();
  }

  measure() {
    if (!this.view) return;
    this.view.fit(this.root.clientWidth, this.root.clientHeight, devicePixelRatio || 1);
    this.draw();
  }

  /** A frame's picture (null: there is none) and what the detector saw. */
  show(picture, belief) {
    this.drag = null;
    this.belief = belief;
    const paint = this.canvas.getContext("2d");
    paint.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (picture) paint.drawImage(picture, 0, 0);
    this.view.zoomTo(1);
  }

  /** New values or another selection. `armed`: the kind of thing that a drag draws, or null; `proposed`: entries whose
   * boxes nobody has confirmed. */
  update(values, selected, placing = null, armed = null, proposed = new Set()) {
    Object.assign(this, { values, selected, placing, armed, proposed });
    this.draw();
  }

  zoom(direction, at) {
    const here = ZOOMS.indexOf(this.view.zoom) + direction;
    const box = this.selected && this.boxOf(this.selected);
    const [x, y] = at ?? (box ? box.slice(0, 2) : [this.view.x, this.view.y]);
    this.view.zoomTo(direction ? ZOOMS[Math.min(Math.max(here, 0), ZOOMS.length - 1)] : 1, x, y);
    this.draw();
  }

  /** Bring a box into sight when zoomed in. */
  reveal(entry) {
    const box = this.boxOf(entry);
    if (box && this.view.zoom > 1) this.view.look(box[0], box[1]);
    this.draw();
  }

  boxOf(entry) {
    return entry?.kind === "thing" ? this.values[entry.part][entry.slot] : null;
  }

  boxes() {
    return this.slots.filter((entry) => this.boxOf(entry)).map((entry) => ({ entry, box: this.boxOf(entry) }));
  }

  // --- pointers ---------------------------------------------------------------------------------------------------

  place(event) {
    const { left, top } = this.root.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  down(event) {
    if (!this.values || this.drag || event.button || event.target.closest("button")) return;
    const pointer = event.pointerType === "touch" ? "touch" : "mouse";
    this.pointer = pointer;
    const [x, y] = this.place(event);
    const picked = this.selected && this.boxOf(this.selected) ? { entry: this.selected, box: this.boxOf(this.selected) } : null;
    this.drag = { id: event.pointerId, x, y, far: false, from: { x: this.view.x, y: this.view.y } };
    this.root.setPointerCapture(event.pointerId);
    const from = this.view.toFrame(x, y);
    if (this.placing) return void (this.drag.draws = { colour: this.placing.colour, from });
    const cell = this.selected?.kind === "grid" && cellAt(this.selected.grid, ...this.view.toFrame(x, y));
    if (cell) return this.startPainting(cell);
    const { entry, handle } = this.view.hit(x, y, pointer, this.boxes(), picked, Boolean(this.armed));
    if (this.armed && (!entry || (event.shiftKey && !handle))) this.drag.draws = { colour: this.armed.colour, from };
    if (!entry || this.drag.draws) return;
    Object.assign(this.drag, { entry, handle, box: this.boxOf(entry) });
    if (entry !== this.selected) this.onSelect((this.selected = entry));
    this.draw();
  }

  startPainting(cell) {
    const { part } = this.selected;
    const there = this.values[part][cell.row][cell.col] === "0";
    Object.assign(this.drag, { paint: this.selected, there, before: this.values[part], far: true });
    this.paintCell(cell);
  }

  paintCell(cell) {
    const { paint, there } = this.drag;
    if (cell) this.values[paint.part] = withCell(this.values[paint.part], cell, there);
    this.draw();
  }

  move(event) {
    const { drag, view } = this;
    if (!drag || event.pointerId !== drag.id) return;
    const [x, y] = this.place(event);
    if (drag.paint) return this.paintCell(cellAt(drag.paint.grid, ...view.toFrame(x, y)));
    drag.far ||= Math.hypot(x - drag.x, y - drag.y) > STILL[this.pointer];
    if (!drag.far) return;
    if (drag.draws) return this.stretch(x, y);
    const [dx, dy] = [(x - drag.x) / view.scale, (y - drag.y) / view.scale];
    const { width, height } = this.info;
    if (!drag.entry) view.look(drag.from.x - dx, drag.from.y - dy);
    else {
      const box = drag.handle ? resizeBox(drag.box, drag.handle, dx, dy, width, height) : moveBox(drag.box, dx, dy, width, height);
      this.values[drag.entry.part][drag.entry.slot] = box;
    }
    this.draw();
  }

  /** A box that is being drawn, from where the pointer went down to where it is. */
  stretch(x, y) {
    const { draws } = this.drag;
    draws.box = drawnBox(...draws.from, ...this.view.toFrame(x, y), this.info.width, this.info.height);
    this.draw();
  }

  up(event) {
    const { drag } = this;
    if (!drag || event.pointerId !== drag.id) return;
    this.drag = null;
    if (drag.draws && drag.far) {
      const { box } = drag.draws;
      if (box && Math.min(box[2], box[3]) >= LEAST) this.onDraw(this.placing ?? this.armed, box);
      return this.draw();
    }
    if (this.placing) {
      const [x, y] = this.view.toFrame(...this.place(event));
      const inside = x >= 0 && y >= 0 && x < this.info.width && y < this.info.height;
      if (inside) this.onPlace(this.placing, placeBox(this.placing.size, x, y, this.info.width, this.info.height));
      return;
    }
    if (drag.paint) {
      if (!same(this.values[drag.paint.part], drag.before)) this.onChange(drag.paint);
    } else if (drag.entry) {
      if (!same(this.boxOf(drag.entry), drag.box)) this.onChange(drag.entry);
    } else if (!drag.far) this.onSelect((this.selected = null));
    this.draw();
  }

  /** Forget a gesture that did not end. */
  cancel() {
    const { drag } = this;
    this.drag = null;
    if (drag?.paint) this.values[drag.paint.part] = drag.before;
    if (drag?.entry) this.values[drag.entry.part][drag.entry.slot] = drag.box;
    this.draw();
  }

  wheel(event) {
    event.preventDefault();
    if (this.view && !this.drag) this.zoom(event.deltaY < 0 ? 1 : -1, this.view.toFrame(...this.place(event)));
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  draw() {
    if (!this.values) return;
    const { view, canvas, overlay } = this;
    const [left, top] = view.toScreen(0, 0);
    const whole = (value) => Math.round(value * view.dots) / view.dots;
    Object.assign(canvas.style, { left: `${whole(left)}px`, top: `${whole(top)}px` });
    Object.assign(canvas.style, { width: `${view.width * view.scale}px`, height: `${view.height * view.scale}px` });
    canvas.style.imageRendering = view.scale * view.dots >= 1 ? "pixelated" : "auto";
    overlay.setAttribute("viewBox", `0 0 ${view.stageWidth} ${view.stageHeight}`);
    overlay.replaceChildren();
    this.drawGrids();
    if (this.showDetections && this.belief) this.drawGhosts();
    for (const { entry, box } of this.boxes()) if (entry !== this.selected) this.drawBox(entry, box);
    const box = this.selected && this.boxOf(this.selected);
    if (box) this.drawBox(this.selected, box, true);
    const drawn = this.drag?.draws?.box;
    if (drawn) this.overlay.append(node("rect", { ...grow(view.rect(drawn), 1), class: "box", stroke: this.drag.draws.colour, "data-drawn": "" }));
    this.root.classList.toggle("placing", Boolean(this.placing ?? this.armed));
    this.root.classList.toggle("grabbing", Boolean(this.drag?.far && this.drag.entry));
  }

  drawGrids() {
    for (const entry of this.slots.filter((slot) => slot.kind === "grid")) {
      const { top, left, cell } = entry.grid;
      const picked = entry === this.selected;
      if (!picked && this.selected) continue;
      this.values[entry.part].forEach((line, row) =>
        [...line].forEach((there, col) => {
          const middle = [left + (col + 0.5) * cell[0], top + (row + 0.5) * cell[1]];
          const rect = this.view.rect([...middle, cell[0], cell[1]]);
          const kind = `cell ${there === "1" ? "there" : "gone"} ${picked ? "picked" : ""}`;
          this.overlay.append(node("rect", { ...inset(rect, 1), class: kind, stroke: entry.colour, fill: entry.colour, "data-cell": `${row},${col}` }));
        }),
      );
    }
  }

  /** Whether the detector saw a thing elsewhere than it is drawn. */
  strays(entry) {
    const box = entry.kind === "thing" && this.belief?.values[entry.part][entry.slot];
    const now = this.boxOf(entry);
    return Boolean(box) && !(now && box.every((value, i) => Math.abs(value - now[i]) < ELSEWHERE));
  }

  drawGhosts() {
    for (const entry of this.slots.filter((slot) => this.strays(slot))) {
      const box = this.belief.values[entry.part][entry.slot];
      this.overlay.append(node("rect", { ...grow(this.view.rect(box), 1), class: "ghost", stroke: entry.colour, "data-ghost": entry.part }));
    }
  }

  drawBox(entry, box, picked = false) {
    const rect = this.view.rect(box);
    const named = { "data-part": entry.part, "data-slot": entry.slot };
    const corners = picked ? this.view.handles(box, this.pointer) : null;
    if (corners) this.drawFrame(rect, corners, entry.colour);
    this.overlay.append(node("rect", { ...grow(rect, 2.5), class: "halo" }));
    const kind = this.proposed.has(entry) ? "box proposed" : "box";
    this.overlay.append(node("rect", { ...grow(rect, 1), class: kind, stroke: entry.colour, ...named }));
    const area = corners ? { left: corners.nw[0], top: corners.nw[1], width: corners.se[0] - corners.nw[0], height: corners.se[1] - corners.nw[1] } : rect;
    this.drawTag(entry, area);
    if (!corners) return;
    for (const [handle, [cx, cy]] of Object.entries(corners)) {
      const r = this.pointer === "touch" ? 11 : 6.5;
      this.overlay.append(node("circle", { cx, cy, r, class: "handle", fill: entry.colour, "data-handle": handle }));
    }
  }

  /** Lines from the box to its handles, which stand further out than it is large. */
  drawFrame({ left, top, width, height }, corners, colour) {
    const ends = { nw: [left, top], ne: [left + width, top], sw: [left, top + height], se: [left + width, top + height] };
    const { nw, se } = corners;
    this.overlay.append(node("rect", { x: nw[0], y: nw[1], width: se[0] - nw[0], height: se[1] - nw[1], class: "frame", stroke: colour }));
    for (const corner of Object.keys(ends)) {
      const [[x1, y1], [x2, y2]] = [ends[corner], corners[corner]];
      this.overlay.append(node("line", { x1, y1, x2, y2, class: "lead", stroke: colour }));
    }
  }

  drawTag(entry, { left, top, width, height }) {
    if (left + width < 0 || top + height < 0 || left > this.view.stageWidth || top > this.view.stageHeight) return;
    const sure = this.belief?.sure[entry.part]?.[entry.slot];
    const name = this.proposed.has(entry) ? `${entry.name}?` : entry.name;
    const text = sure === undefined ? name : `${name} ${Math.round(sure * 100)} %`;
    ruler.font = FONT;
    const wide = Math.ceil(ruler.measureText(text).width) + 12;
    const x = Math.min(Math.max(left + width / 2 - wide / 2, 2), this.view.stageWidth - wide - 2);
    const y = top > 28 ? top - 26 : Math.min(top + height + 8, this.view.stageHeight - 22);
    this.overlay.append(node("rect", { x, y, width: wide, height: 19, rx: 5, class: "tag" }));
    const label = node("text", { x: x + wide / 2, y: y + 13.5, class: "tagtext", fill: entry.colour }, text);
    label.style.font = FONT;
    this.overlay.append(label);
  }
}

const grow = ({ left, top, width, height }, by) => ({ x: left - by, y: top - by, width: width + 2 * by, height: height + 2 * by });
const inset = (rect, by) => grow(rect, -Math.min(by, rect.width / 4, rect.height / 4));
