// Where a pixel of the frame is on the screen: scale, zoom, pan, and what is under a pointer. Pure.

export const ZOOMS = [1, 2, 4, 8];
const MARGIN = 4; // screen px around the frame
const INSIDE = 14; // screen px that a selection's handles stay inside the stage
const GAP = 12; // screen px between a box and its handles ...
const APART = { mouse: 26, touch: 48 }; // ... and at least so far from the centre, or a finger would cover the box
const REACH = { mouse: 12, touch: 24 }; // screen px around a handle or a small box that still hit it

export class View {
  constructor(width, height) {
    Object.assign(this, { width, height, stageWidth: 1, stageHeight: 1, zoom: 1, x: width / 2, y: height / 2, dots: 1 });
  }

  /** The stage changed: CSS px, and device px for each. */
  fit(stageWidth, stageHeight, dots) {
    Object.assign(this, { stageWidth, stageHeight, dots });
    this.look(this.x, this.y);
  }

  /** Screen px for one px of the frame: whole device px where there is room for two, so that all are of one size. */
  get scale() {
    const most = Math.min((this.stageWidth - MARGIN) / this.width, (this.stageHeight - MARGIN) / this.height) * this.dots;
    return ((most >= 2 ? Math.floor(most) : most) / this.dots) * this.zoom;
  }

  /** Centre on a point of the frame, without showing more outside of it than need be. */
  look(x, y) {
    const half = (stage) => stage / this.scale / 2;
    const keep = (value, reach, size) => (reach * 2 >= size ? size / 2 : Math.min(Math.max(value, reach), size - reach));
    this.x = keep(x, half(this.stageWidth), this.width);
    this.y = keep(y, half(this.stageHeight), this.height);
  }

  zoomTo(zoom, x = this.x, y = this.y) {
    this.zoom = Math.min(Math.max(zoom, ZOOMS[0]), ZOOMS.at(-1));
    this.look(x, y);
  }

  toScreen(x, y) {
    return [(x - this.x) * this.scale + this.stageWidth / 2, (y - this.y) * this.scale + this.stageHeight / 2];
  }

  toFrame(x, y) {
    return [(x - this.stageWidth / 2) / this.scale + this.x, (y - this.stageHeight / 2) / this.scale + this.y];
  }

  /** A box on the screen: {left, top, width, height}. */
  rect([x, y, w, h]) {
    const [left, top] = this.toScreen(x - w / 2, y - h / 2);
    return { left, top, width: w * this.scale, height: h * this.scale };
  }

  /** Screen places of the four handles of a box, apart from each other and inside the stage. */
  handles(box, pointer) {
    const [x, y] = this.toScreen(box[0], box[1]);
    const reach = [box[2], box[3]].map((side) => Math.max((side * this.scale) / 2 + GAP, APART[pointer]));
    const inside = (value, size) => Math.min(Math.max(value, INSIDE), size - INSIDE);
    const span = (middle, half, size) => {
      const low = inside(middle - half, size);
      const high = inside(middle + half, size);
      const wanted = Math.min(2 * half, size - 2 * INSIDE);
      return low === INSIDE ? [low, Math.max(high, low + wanted)] : [Math.min(low, high - wanted), high];
    };
    const [left, right] = span(x, reach[0], this.stageWidth);
    const [top, bottom] = span(y, reach[1], this.stageHeight);
    return { nw: [left, top], ne: [right, top], sw: [left, bottom], se: [right, bottom] };
  }

  /** What is under a pointer: {handle}, {entry} or {}. `boxes`: [{entry, box}], `selected` one of them or null; `tight`:
   * only boxes themselves count, because beside them new ones are drawn. */
  hit(x, y, pointer, boxes, selected, tight = false) {
    if (selected) {
      const corners = this.handles(selected.box, pointer);
      for (const [handle, [hx, hy]] of Object.entries(corners))
        if (Math.hypot(x - hx, y - hy) <= REACH[pointer]) return { handle, entry: selected.entry };
      if (!tight && x > corners.nw[0] && x < corners.se[0] && y > corners.nw[1] && y < corners.se[1]) return { entry: selected.entry };
    }
    const reach = tight ? 0 : REACH[pointer];
    const near = boxes.filter(({ box }) => {
      const { left, top, width, height } = this.rect(box);
      const [wide, tall] = [Math.max(0, reach - width / 2), Math.max(0, reach - height / 2)];
      return x >= left - wide && x <= left + width + wide && y >= top - tall && y <= top + height + tall;
    });
    const far = ({ box }) => Math.hypot(...this.toScreen(box[0], box[1]).map((v, i) => v - [x, y][i]));
    near.sort((a, b) => far(a) - far(b));
    return near.length ? { entry: near[0].entry } : {};
  }
}
