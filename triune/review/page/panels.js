// What stands beside the frame: why it is here, conflicts side by side, the things on it, its history, progress.
//
// Knows: how to say it. Does not know the network or the pointer. Text from files is only ever set as text.

import { describe } from "./values.js";

export const touch = matchMedia("(pointer: coarse)").matches;
export const $ = (id) => document.getElementById(id);

/** An element with attributes (a function is a listener) and children; texts stay texts. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function dot(colour) {
  const made = el("span", { class: "dot", "aria-hidden": "true" });
  made.style.background = colour;
  return made;
}

const WORDS = { open: "to do", edited: "corrected", accepted: "accepted", rejected: "rejected" };
const time = (at) => new Date(at * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
const percent = (share) => `${Math.round(share * 100)}\u00a0%`;
const wide = (share) => `${100 * share}%`; // for CSS

/** Who says so: a person's name, else the kind of source (`said.who` has the rest). */
const origin = (said, me) => (said.source !== "person" ? said.source : said.who === me ? "you" : said.who);

export function showProgress({ counts, statuses }) {
  for (const name of ["accepted", "rejected", "edited"]) $(`bar-${name}`).style.width = wide(counts[name] / counts.total);
  $("bar").setAttribute("aria-valuenow", counts.done);
  $("bar").setAttribute("aria-valuemax", counts.total);
  $("counts").textContent = `${counts.done} of ${statuses.length} done`;
}

export function showWhere(frame, total, films) {
  const { film } = frame;
  $("place").textContent = frame.index < total ? `Frame ${frame.index + 1} of ${total}` : "A frame beside the queue";
  $("status").textContent = film && frame.status === "edited" ? "begun" : WORDS[frame.status];
  $("status").className = `pill ${frame.status}`;
  $("episode").textContent = film ? `picture ${film.number} of ${films[film.film].name}, ${clock(film.second)}` : `step ${frame.step} of ${frame.episode}`;
  $("reasons").replaceChildren(
    ...frame.reasons.map(({ reason, score, detail }) => {
      const meter = el("i", {});
      meter.style.width = wide(score);
      const label = `suspicion ${percent(score)}`;
      const shown = score > 0 && el("span", { class: "meter", role: "img", "aria-label": label, title: label }, meter);
      return el("li", {}, shown || null, el("b", {}, reason), el("span", { class: "dim" }, detail));
    }),
  );
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;

/** Where in its film a frame stands, and what of the film is labelled. */
export function showFilm(film, films) {
  if (!film) return;
  const { length } = films[film.film];
  Object.assign($("tape"), { max: length - 1, value: film.at });
  $("tape").setAttribute("aria-valuetext", `${clock(film.second)}, picture ${film.number}`);
  $("clock").textContent = clock(film.second);
  $("marks").replaceChildren(
    ...film.marks.map((mark) => {
      const made = el("i");
      made.style.left = wide(mark / film.of);
      return made;
    }),
  );
}

/** Once: the kinds of things, each with its key and colour; `arm(kind, again)` takes one up. */
export function makeClasses(classes, arm) {
  const button = (kind, index) => {
    const key = index < 9 ? el("kbd", {}, String(index + 1)) : null;
    const made = el("button", { type: "button", class: "kind", "data-kind": kind.part, onclick: () => arm(kind, false) }, dot(kind.colour), el("b", {}, kind.part), el("span", { class: "dim" }), key);
    made.style.setProperty("--kind", kind.colour);
    return made;
  };
  $("kinds").replaceChildren(...classes.map(button));
}

/** Which kind is taken up, and how many of each are drawn. */
export function showClasses({ classes, values, armed }) {
  classes.forEach((kind, index) => {
    const drawn = kind.slots.filter((entry) => values[entry.part][entry.slot]).length;
    const made = $("kinds").children[index];
    made.setAttribute("aria-pressed", String(armed === kind));
    made.setAttribute("aria-label", `Draw ${kind.part}, key ${index + 1}; ${drawn} of ${kind.slots.length} drawn`);
    made.querySelector("span.dim").textContent = `${drawn}/${kind.slots.length}`;
  });
}

/** How much of the films is labelled, and what more would help. */
export function showLabelled({ labelled }, classes) {
  $("labelled").hidden = !labelled;
  if (!labelled) return;
  const { pictures, background, begun, boxes, goal, advice } = labelled;
  const line = (name, colour, count, of) => {
    const bar = el("i");
    Object.assign(bar.style, { width: wide(Math.min(1, count / of)), background: colour });
    const told = `${count} of ${of} labels of ${name}`;
    return el("li", {}, dot(colour), el("b", {}, name), el("span", { class: "goal", role: "img", "aria-label": told, title: told }, bar), el("span", { class: "num" }, String(count)), el("small", { class: "dim" }, advice[name] ?? ""));
  };
  $("tally").replaceChildren(...classes.map(({ part, colour }) => line(part, colour, boxes[part], goal)));
  const more = begun ? `; ${begun} begun and not accepted, which teach nothing yet` : "";
  $("tallied").textContent = `${pictures} pictures accepted, ${background} of them background${more}.`;
}

/** One row for each thing, grid, gauge and reading. `act`: {select, remove, add, nudge, gauge, read}. */
export function showParts(shown, act) {
  const rows = shown.slots.filter((entry) => !isSpare(shown, entry));
  $("parts").replaceChildren(...rows.map((entry) => partRow(shown, entry, shown.slots.indexOf(entry), act)));
  $("bare").hidden = rows.length > 0;
}

/** Of several of a kind, or of a film, what is not there is not worth a row: it is drawn, not added. */
function isSpare({ values, classes, info, selected, placing }, entry) {
  const many = info.films.length > 0 || classes.some(({ slots }) => slots.length > 1);
  return many && entry.kind === "thing" && !values[entry.part][entry.slot] && entry !== selected && entry !== placing;
}

function partRow(shown, entry, index, act) {
  const { values, frame, selected, placing, info } = shown;
  const picked = entry === selected;
  const box = entry.kind === "thing" && values[entry.part][entry.slot];
  const said = frame.parts[entry.part];
  const sure = frame.belief?.sure[entry.part]?.[entry.slot];
  const text = el("span", { class: "text" }, el("b", {}, entry.name), el("small", { class: "dim" }, describe(entry, values[entry.part])));
  const proposed = shown.proposed.has(entry);
  const from = proposed ? "proposed" : said ? origin(said, info.who) : frame.belief ? "the detector" : "";
  const facts = el("span", { class: "facts dim" }, sure === undefined ? null : el("span", {}, `detector ${percent(sure)}`), el("small", {}, from));
  const row = el("div", { class: `part ${picked ? "picked" : ""} ${proposed ? "proposed" : ""} ${said?.rivals.length ? "conflict" : ""}`, "data-row": entry.part, "data-slot": entry.slot });
  const head = { type: "button", class: "pick", "aria-pressed": String(picked), onclick: () => act.select(picked ? null : entry) };
  if (entry.kind === "gauge") row.append(el("label", { class: "pick" }, dot(entry.colour), text, facts, gaugeField(entry, values, act)));
  else if (entry.kind === "reading") row.append(el("div", { class: "pick" }, dot(entry.colour), text, facts), readingFields(entry, values, act));
  else row.append(el("button", head, dot(entry.colour), text, facts, shown.classes.some(({ slots }) => slots.length > 1) || info.films.length ? null : el("kbd", {}, String(index + 1))));
  if (entry.kind === "thing" && !box && !picked)
    row.append(el("button", { type: "button", class: "add", "aria-pressed": String(entry === placing), onclick: () => act.add(entry) }, entry === placing ? `${touch ? "Tap" : "Click"} the frame` : "Add"));
  if (picked) row.append(editor(entry, box, act, entry === placing));
  return row;
}

function gaugeField(entry, values, act) {
  const { low, high } = entry.gauge;
  const change = (event) => act.gauge(entry, Number(event.target.value));
  return el("input", { type: "number", min: low, max: high, step: "any", value: values[entry.part], "aria-label": entry.name, onchange: change });
}

function readingFields(entry, values, act) {
  const value = values[entry.part];
  const input = ({ name, low, high, unit }) => {
    const change = (event) => act.read(entry, name, Number(event.target.value));
    const label = `${entry.name} ${name}${unit ? ` in ${unit}` : ""}`;
    return el("input", { type: "number", min: low, max: high, step: "any", value: value ? value[name] : "", "aria-label": label, onchange: change });
  };
  const absent = value && el("button", { type: "button", class: "absent", onclick: () => act.read(entry, null) }, "Absent");
  return el("div", { class: "editor" }, ...entry.reading.fields.map(input), absent);
}

function editor(entry, box, act, placing) {
  if (entry.kind === "grid") return el("p", { class: "editor dim" }, "Tap or drag over cells to switch them.");
  if (!box) return el("div", { class: "editor" }, el("button", { type: "button", "aria-pressed": String(placing), onclick: () => act.add(entry) }, placing ? `${touch ? "Tap" : "Click"} the frame` : "Add"));
  const arrow = (label, sign, dx, dy) => el("button", { type: "button", class: "arrow", "aria-label": label, onclick: () => act.nudge(entry, dx, dy) }, sign);
  const arrows = [arrow("Left by a pixel", "←", -1, 0), arrow("Up by a pixel", "↑", 0, -1), arrow("Down by a pixel", "↓", 0, 1), arrow("Right by a pixel", "→", 1, 0)];
  return el("div", { class: "editor" }, ...arrows, el("button", { type: "button", class: "absent", onclick: () => act.remove(entry) }, "Absent", el("kbd", {}, "x")));
}

// --- conflicts ------------------------------------------------------------------------------------------------------

/** Candidates of comparable trust, side by side; `choose(part, value)` takes one. */
export function showConflicts(shown, picture, choose) {
  const parts = Object.entries(shown.frame.parts).filter(([, said]) => said.rivals.length);
  $("conflicts").replaceChildren(...parts.map(([part, said]) => conflict(shown, part, said.rivals, picture, choose)));
}

function conflict(shown, part, rivals, picture, choose) {
  const entries = shown.slots.filter((entry) => entry.part === part);
  const around = region(entries, rivals, shown.info);
  const cards = rivals.map((said, index) => {
    const canvas = el("canvas", { width: 264, height: 264, role: "img", "aria-label": entries.map((e) => `${e.name} ${describe(e, said.value)}`).join(", ") });
    portrait(canvas, picture, around, entries, said.value, rivals[0].value);
    const words = entries.map((entry) => describe(entry, said.value)).join("; ");
    const use = el("button", { type: "button", onclick: () => choose(part, said.value) }, "Use this");
    const name = el("b", {}, origin(said, shown.info.who), el("small", { class: "dim" }, index ? "" : " holds for now"));
    const facts = el("small", { class: "dim" }, `${said.source === "person" ? "" : `${said.who}, `}trust ${percent(said.trust)}`);
    return el("div", { class: "rival" }, canvas, name, el("small", {}, words), facts, use);
  });
  return el("div", { class: "conflictcard", "data-conflict": part }, el("h3", {}, `They disagree about ${part}`), el("div", { class: "rivals" }, ...cards));
}

/** The square of the frame that holds all candidates: [left, top, side]. */
function region(entries, rivals, info) {
  let edges = [Infinity, Infinity, -Infinity, -Infinity];
  const reach = (l, t, r, b) => (edges = [Math.min(edges[0], l), Math.min(edges[1], t), Math.max(edges[2], r), Math.max(edges[3], b)]);
  for (const entry of entries) {
    if (entry.kind === "grid") {
      const { left, top, cols, rows, cell } = entry.grid;
      reach(left, top, left + cols * cell[0], top + rows * cell[1]);
    }
    if (entry.kind === "thing") for (const { value } of rivals) if (value[entry.slot]) boxEdges(value[entry.slot], reach);
  }
  if (edges[0] === Infinity) return [0, 0, Math.min(info.width, info.height)];
  const side = Math.min(Math.max(edges[2] - edges[0], edges[3] - edges[1]) + 20, Math.max(info.width, info.height));
  const keep = (middle, size) => Math.min(Math.max(middle - side / 2, 0), Math.max(0, size - side));
  return [keep((edges[0] + edges[2]) / 2, info.width), keep((edges[1] + edges[3]) / 2, info.height), side];
}

const boxEdges = ([x, y, w, h], reach) => reach(x - w / 2, y - h / 2, x + w / 2, y + h / 2);

function portrait(canvas, picture, [left, top, side], entries, value, first) {
  const paint = canvas.getContext("2d");
  const scale = canvas.width / side;
  paint.imageSmoothingEnabled = false;
  paint.fillStyle = "#000";
  paint.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) paint.drawImage(picture, left, top, side, side, 0, 0, canvas.width, canvas.height);
  const frame = (x, y, w, h, colour, wide) => {
    paint.lineWidth = wide;
    paint.strokeStyle = colour;
    paint.strokeRect((x - left) * scale, (y - top) * scale, w * scale, h * scale);
  };
  for (const entry of entries) {
    if (entry.kind === "thing" && value[entry.slot]) {
      const [x, y, w, h] = value[entry.slot];
      for (const [colour, wide] of [["rgb(0 0 0 / 70%)", 8], [entry.colour, 4]]) frame(x - w / 2 - 0.5, y - h / 2 - 0.5, w + 1, h + 1, colour, wide);
    }
    if (entry.kind === "grid") gridCells(entry, value, first, frame);
  }
}

function gridCells(entry, value, first, frame) {
  const { left, top, cell } = entry.grid;
  value.forEach((line, row) =>
    [...line].forEach((there, col) => {
      const differs = there !== first[row][col];
      if (there === "1" || differs) frame(left + col * cell[0], top + row * cell[1], cell[0], cell[1], differs ? "#ff5a4f" : entry.colour, differs ? 4 : 1);
    }),
  );
}

// --- history --------------------------------------------------------------------------------------------------------

export function showHistory(frame, me) {
  $("history").replaceChildren(...frame.history.toReversed().map((entry) => historyLine(entry, frame.history, me)));
}

function historyLine(entry, all, me) {
  const when = el("small", { class: "dim" }, time(entry.at));
  if (entry.kind === "retract") {
    const of = all.find((other) => other.id === entry.of);
    return el("li", {}, el("span", {}, `${entry.who === me ? "you" : entry.who} took back ${of ? deed(of) : entry.of}`), when);
  }
  const who = el("b", { title: entry.who }, origin(entry, me));
  return el("li", { class: entry.gone ? "gone" : "" }, el("span", {}, who, ` ${deed(entry)}`), when);
}

function deed(entry) {
  if (entry.verdict) return entry.verdict === "accept" ? "accepted the frame" : "rejected the frame";
  return entry.source === "person" ? `corrected ${entry.parts.join(", ")}` : `labelled ${entry.parts.join(", ")}`;
}

// --- messages -------------------------------------------------------------------------------------------------------

/** A message that stays until one of its buttons is pressed; `buttons`: [[text, function], ...]. */
export function banner(text, buttons = [], kind = "") {
  $("banner-text").textContent = text;
  $("banner-buttons").replaceChildren(...buttons.map(([label, act]) => el("button", { type: "button", onclick: act }, label)));
  $("banner").className = kind;
  $("banner").hidden = !text;
}
