// The review page: which frame is before the reviewer, what a key or button does, when something is saved.
//
// Every action is sent at once, one after the other. An action that was refused or not answered is kept, and nothing else
// can be done until it went through or was given up: no edit is lost silently. Proposals (what the detector saw, what was
// copied, what lies between two confirmed frames) are drawn, and are saved only when the frame is accepted or they are moved.
// `globalThis.review` is for whoever drives the browser in a test.

import * as api from "./api.js";
import { $, banner, makeClasses, showClasses, showConflicts, showFilm, showHistory, showLabelled, showParts, showProgress, showWhere, touch } from "./panels.js";
import { Stage } from "./stage.js";
import { classesOf, moveBox, offered, overlap, placeBox, resizeBox, shownValues, slotsOf, withField } from "./values.js";

const SAME = 0.4; // overlap from which a box that is drawn over a proposal takes its place
const page = { info: null, slots: [], index: 0, frame: null, picture: null, values: {}, selected: null, placing: null };
Object.assign(page, { classes: [], armed: null, proposed: new Set(), offers: {}, home: 0, stride: 0, copied: null });
const work = { chain: Promise.resolve(), running: 0, visits: 0, stuck: null, waiting: null, queued: false };
const revisions = new Map(); // frame of the queue -> the last that this page has seen of it
const outside = (globalThis.review = { state: "loading", page });
const stage = new Stage($("stage"), { onChange: changed, onSelect: select, onPlace: put, onDraw: draw });

// --- showing ----------------------------------------------------------------------------------------------------------

function render() {
  stage.update(page.values, page.selected, page.placing, page.armed, page.proposed);
  showClasses(page);
  showParts(page, { select, remove, add, nudge, gauge, read });
  $("legend").hidden = !stage.showDetections || !page.slots.some((entry) => stage.strays(entry));
  $("proposals").hidden = !page.proposed.size;
  hint(page.placing ? `${touch ? "Tap" : "Click"} where ${page.placing.name} is` : "");
}

function hint(text) {
  $("hint").hidden = !text;
  $("hint").textContent = text;
}

/** Whether boxes are drawn by kind, not slot by slot: of films, and where there are several of a kind. */
const byKind = () => page.info.films.length > 0 || page.classes.some(({ slots }) => slots.length > 1);

/** Take over what the program says of the present frame. What is being edited just now stays as it is. */
function take(frame) {
  revisions.set(frame.index, frame.revision);
  page.frame = frame;
  if (!stage.drag) page.values = { ...shownValues(page.info, frame), ...structuredClone(work.waiting ?? {}) };
  if (!stage.drag) propose();
  showWhere(frame, page.info.counts.total, page.info.films);
  showFilm(frame.film, page.info.films);
  showConflicts(page, page.picture, choose);
  showHistory(frame, page.info.who);
  render();
}

/** Draw the boxes that are offered where nothing is drawn. */
function propose() {
  page.proposed = new Set();
  for (const entry of page.slots) {
    const box = entry.kind === "thing" && page.offers[entry.part]?.[entry.slot];
    if (!box || page.values[entry.part][entry.slot]) continue;
    page.values[entry.part][entry.slot] = [...box];
    page.proposed.add(entry);
  }
}

/** What is offered on a frame that is shown anew. */
function offersOf(frame) {
  const bare = frame.status === "open" && !Object.keys(frame.parts).length;
  return structuredClone((bare && frame.film?.between) || offered(page.info, frame));
}

function takeProgress(answer) {
  for (const name of ["counts", "statuses", "first", "last", "undone", "labelled"]) page.info[name] = answer[name];
  showProgress(page.info);
  showLabelled(page.info, page.classes);
  $("undo").disabled = !page.info.last;
  $("redo").disabled = !page.info.undone;
}

/** What is known of a frame once everything that was done to it has been sent. */
async function settled(index) {
  for (;;) {
    await work.chain;
    const frame = await api.frame(index);
    if (!work.running) return frame;
  }
}

/** Go to a frame of the queue. */
async function visit(index) {
  const number = ++work.visits;
  outside.state = "loading";
  const loading = Promise.all([settled(index), api.picture(index).catch((error) => error)]);
  const [frame, picture] = (await loading.catch(fail)) ?? [];
  if (!frame || number !== work.visits) return;
  if (work.stuck && index !== page.index) return void (outside.state = "ready"); // first decide about what was not saved
  const lost = picture instanceof Error;
  if (page.frame && index !== page.index) page.copied = confirmed(page.frame) ?? page.copied;
  Object.assign(page, { index, picture: lost ? null : picture, selected: null, placing: null, offers: offersOf(frame) });
  if (index < page.info.counts.total) page.home = index;
  stage.show(page.picture, frame.belief);
  take(frame);
  $("side").scrollTop = 0;
  $("prev").disabled = index === 0;
  $("next").disabled = index === page.info.counts.total - 1;
  if (lost) banner(`This frame cannot be shown: ${picture.message}`, [["Next frame", () => step(1)]], "warn");
  else if (!work.stuck) banner("");
  outside.state = "ready";
  if (index + 1 < page.info.statuses.length) api.picture(index + 1).catch(() => {});
}

/** Along the queue; from a picture that is not of it, back to it first. */
function step(by) {
  const beside = page.index >= page.info.counts.total;
  const index = beside ? page.home + Math.max(by, 0) : page.index + by;
  page.stride = 0;
  if (index >= 0 && index < page.info.counts.total && !blocked()) visit(index);
}

/** To a place of the present film, held inside it. */
async function goTo(place) {
  const { film } = page.frame;
  if (!film || blocked()) return;
  const at = Math.min(Math.max(place, 0), page.info.films[film.film].length - 1);
  if (at === film.at) return;
  outside.state = "loading";
  const number = ++work.visits;
  const index = await api.at(film.film, at).catch(fail);
  if (index === undefined || number !== work.visits) return;
  page.info.statuses[index] ??= "open";
  return visit(index);
}

/** Along the film, by single pictures or half seconds; from where one is going, if one is still on the way. */
function wind(pictures) {
  if (!page.frame.film) return;
  page.stride = pictures;
  goTo(page.frame.film.at + pictures);
}

const half = () => Math.max(1, Math.round(page.info.films[page.frame.film?.film ?? 0]?.hz / 2) || 1);

/** After a verdict: the next frame without one, round and round. */
function onward() {
  const { statuses, counts } = page.info;
  const { film } = page.frame;
  const beyond = film && film.at + page.stride;
  if (page.stride && beyond >= 0 && beyond < page.info.films[film.film].length) return void goTo(beyond);
  const from = page.index < counts.total ? page.index : page.home;
  const order = Array.from({ length: counts.total }, (_, i) => (from + 1 + i) % counts.total);
  const next = order.find((i) => statuses[i] === "open" || statuses[i] === "edited");
  if (next !== undefined) return visit(next);
  const told = `${counts.accepted} accepted, ${counts.rejected} rejected`;
  banner(`All ${counts.total} frames are reviewed: ${told}. Everything is saved; you may close this page.`, [], "good");
}

// --- saving -----------------------------------------------------------------------------------------------------------

function busy(by) {
  work.running += by;
  outside.saving = work.running > 0;
  $("saved").classList.toggle("bad", Boolean(work.stuck));
  $("saved").textContent = work.stuck ? "not saved" : work.running ? "saving …" : "saved";
}

/** True, and says so again, while something that was not saved waits for a decision. */
function blocked() {
  if (work.stuck) banner(work.stuck.text, work.stuck.buttons, "bad");
  return Boolean(work.stuck);
}

/** Send one action after those before it. `action`: {index, send(revision) -> answer, then(answer)}. */
function act(action) {
  busy(1);
  work.chain = work.chain.then(async () => {
    try {
      if (!work.stuck) await carryOut(action);
    } catch (error) {
      stop(error, action);
    }
    busy(-1);
  });
}

async function carryOut(action) {
  const answer = await action.send(revisions.get(action.index));
  revisions.set(answer.frame.index, answer.frame.revision);
  takeProgress(answer);
  if (answer.frame.index === page.index) take(answer.frame);
  action.then?.(answer); // not awaited: it may wait for this very chain
}

/** An action did not go through: keep it, and ask. */
function stop(error, action) {
  if (!(error instanceof api.Refusal)) return fail(error);
  const again = () => {
    work.stuck = null;
    banner("");
    act(action);
    if (work.waiting) sendEdits(page.index);
  };
  const drop = async () => {
    takeProgress(await api.state());
    Object.assign(work, { stuck: null, waiting: null, queued: false });
    visit(page.index);
  };
  const insist = async () => {
    revisions.set(action.index, (await api.frame(action.index)).revision);
    page.info.last = (await api.state()).last;
    again();
  };
  const attempt = (what) => async () => {
    busy(1);
    await what().catch((next) => stop(next, action));
    busy(-1);
  };
  const text = error.stale ? `${sentence(error.message)}. Your change is not saved.` : `Not saved: ${error.message}`;
  const stale = [["Show what changed", attempt(drop)], ["Save mine over it", attempt(insist)]];
  const buttons = error.stale ? stale : error.gone ? [["Try again", again]] : [["Drop this change", attempt(drop)]];
  work.stuck = { text, buttons };
  work.queued = false;
  blocked();
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function fail(error) {
  outside.state = "failed";
  banner(error.message ?? String(error), [["Reload", () => location.reload()]], "bad");
}

/** A part was corrected. Corrections made while another action is under way are sent together, after it. */
function edit(part) {
  render();
  work.waiting = { ...work.waiting, [part]: withoutProposals(part) };
  if (!blocked()) sendEdits(page.index);
}

/** What a person said of a part: proposals are not truth. */
function withoutProposals(part) {
  const value = structuredClone(page.values[part]);
  for (const entry of page.proposed) if (entry.part === part) value[entry.slot] = null;
  return value;
}

/** A box was touched by a person: it is no proposal any longer. */
function settle(entry) {
  page.proposed.delete(entry);
  if (page.offers[entry.part]) page.offers[entry.part][entry.slot] = null;
}

function changed(entry) {
  if (entry.kind === "thing") settle(entry);
  edit(entry.part);
}

function sendEdits(index) {
  if (work.queued) return;
  work.queued = true;
  let values = {}; // kept here for another attempt
  const send = (revision) => {
    values = { ...values, ...work.waiting };
    Object.assign(work, { waiting: null, queued: false });
    return api.save(index, revision, "", values);
  };
  act({ index, send });
}

function decide(verdict) {
  if (blocked() || outside.state !== "ready") return;
  const { index } = page;
  const values = verdict === "accept" ? structuredClone(page.values) : {};
  const bare = !page.proposed.size;
  page.offers = {};
  if (verdict === "accept" && page.frame.status === "accepted" && bare && !work.running) return void onward();
  act({ index, send: (revision) => api.save(index, revision, verdict, values), then: onward });
}

function undo() {
  if (!blocked() && (page.info.last || work.running)) retrace(() => api.undo(page.info.last));
}

function redo() {
  if (!blocked() && page.info.undone) retrace(() => api.redo(page.info.undone));
}

/** What was done is taken back, or done once more, wherever it was: the frame there is as if shown anew. */
function retrace(ask) {
  const send = async () => {
    const answer = await ask();
    if (answer.frame.index === page.index) page.offers = offersOf(answer.frame);
    return answer;
  };
  act({ index: page.index, send, then: ({ frame }) => frame.index !== page.index && visit(frame.index) });
}

// --- editing ------------------------------------------------------------------------------------------------------

function select(entry) {
  const absent = entry?.kind === "thing" && !page.values[entry.part][entry.slot];
  Object.assign(page, { selected: entry, placing: absent ? entry : null });
  render();
  if (entry) stage.reveal(entry);
}

function choose(part, value) {
  page.values[part] = structuredClone(value);
  edit(part);
}

/** Take up a kind of thing: what is dragged from corner to corner is one. Again: its next box. */
function arm(kind, again = true) {
  const there = kind.slots.filter((entry) => page.values[entry.part][entry.slot]);
  const next = there[(there.indexOf(page.selected) + 1) % there.length];
  page.placing = null;
  if (page.armed === kind && again && next) page.selected = next;
  else if (page.selected?.part !== kind.part) page.selected = null;
  page.armed = kind;
  render();
}

/** Boxes of the confirmed frame before this one, as far as it is of the same film. */
const before = () => page.frame.film?.before;

function draw(kind, box) {
  const part = kind.part;
  const meant = [...page.proposed].find((entry) => entry.part === part && overlap(page.values[part][entry.slot], box) >= SAME);
  const slot = meant?.slot ?? (kind.slots ? page.values[part].indexOf(null) : kind.slot);
  if (slot < 0) return hint(`all ${kind.slots.length} of ${part} are drawn`);
  put(page.slots.find((entry) => entry.part === part && entry.slot === slot), box);
}

/** A box of the usual size in the middle, for hands that only have keys. */
function drawMiddle() {
  const { width, height } = page.info;
  if (page.armed) draw(page.armed, placeBox(page.armed.slots[0].size, width / 2, height / 2, width, height));
}

/** What is drawn on a frame and held for true, or null. */
const confirmed = (frame) => (Object.keys(frame.parts).length ? Object.fromEntries(Object.entries(frame.parts).map(([part, { value }]) => [part, value])) : null);

function offer(offers, none) {
  if (blocked() || !page.frame || outside.state !== "ready") return;
  if (!offers) return hint(none);
  for (const entry of page.proposed) page.values[entry.part][entry.slot] = null;
  page.offers = structuredClone(offers);
  propose();
  render();
}

/** Without any proposal. */
const bare = () => page.proposed.size && offer({});

const copy = () => offer(before() ?? page.copied, "no frame before this one has boxes");
const fill = () => offer(page.frame.film?.between, "accept a frame before this one and one after, at most 3 seconds apart");

function add(entry) {
  const again = page.placing === entry;
  Object.assign(page, { selected: again ? null : entry, placing: again ? null : entry });
  render();
}

function put(entry, box) {
  Object.assign(page, { selected: entry, placing: null });
  page.values[entry.part][entry.slot] = box;
  settle(entry);
  edit(entry.part);
}

function remove(entry) {
  settle(entry);
  page.values[entry.part][entry.slot] = null;
  page.selected = null;
  edit(entry.part);
}

function nudge(entry, dx, dy, grow = false) {
  const { width, height } = page.info;
  const box = page.values[entry.part][entry.slot];
  const moved = grow ? resizeBox(box, "se", dx, dy, width, height) : moveBox(box, dx, dy, width, height);
  page.values[entry.part][entry.slot] = moved;
  settle(entry);
  edit(entry.part);
}

function gauge(entry, value) {
  const { low, high } = entry.gauge;
  page.values[entry.part] = Number.isFinite(value) ? Math.min(Math.max(value, low), high) : low;
  edit(entry.part);
}

/** One field of a reading, or, without a name, that it is absent. */
function read(entry, name, number) {
  page.values[entry.part] = name === null ? null : withField(entry.reading, page.values[entry.part], name, number);
  edit(entry.part);
}

// --- keys and buttons -----------------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const accept = () => decide("accept");
const reject = () => decide("reject");
const KEYS = {
  Enter: accept, a: accept, r: reject, z: undo,
  n: () => step(1), p: () => step(-1), "+": () => stage.zoom(1), "=": () => stage.zoom(1), "-": () => stage.zoom(-1), 0: () => stage.zoom(0),
  y: redo, Z: redo, c: copy, i: fill, d: bare, b: drawMiddle, ",": () => wind(-1), ".": () => wind(1), "<": () => wind(-half()), ">": () => wind(half()),
  o: toggleDetections, Escape: letGo, "?": () => $("keys").showModal(), x: absent, Delete: absent, Backspace: absent,
};

function letGo() {
  if (!page.selected) page.armed = null;
  select(null);
}

function absent() {
  const { selected, values } = page;
  if (selected?.kind === "thing" && values[selected.part][selected.slot]) remove(selected);
}

function toggleDetections() {
  stage.showDetections = !stage.showDetections;
  $("detections").setAttribute("aria-pressed", String(stage.showDetections));
  render();
}

function key(event) {
  const { target, key } = event;
  const typed = target.matches("input") && (target.type !== "range" || /Arrow|Home|End|Page/.test(key));
  if (!page.frame || $("keys").open || typed || event.altKey) return;
  if ((event.ctrlKey || event.metaKey) && !"zyZ".includes(key)) return;
  if ((key === "Enter" || key === " ") && target.closest("button, summary")) return;
  const { selected, values, slots } = page;
  const box = selected?.kind === "thing" && values[selected.part][selected.slot];
  if (ARROWS[key] && box) nudge(selected, ...ARROWS[key], event.shiftKey);
  else if (key === "ArrowLeft" || key === "ArrowRight") step(ARROWS[key][0]);
  else if (/^[1-9]$/.test(key) && byKind()) page.classes[key - 1] && arm(page.classes[key - 1]);
  else if (/^[1-9]$/.test(key) && slots[key - 1]) select(slots[key - 1] === selected ? null : slots[key - 1]);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
}

function wire() {
  addEventListener("keydown", key);
  for (const [name, action] of Object.entries({ accept, reject, undo, redo, copy, fill })) $(name).addEventListener("click", action);
  $("prev").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  for (const [name, by] of Object.entries({ back: () => -half(), earlier: () => -1, later: () => 1, ahead: half }))
    $(name).addEventListener("click", () => wind(by()));
  $("tape").addEventListener("change", () => ((page.stride = 0), goTo(Number($("tape").value))));
  $("zoom-in").addEventListener("click", () => stage.zoom(1));
  $("zoom-out").addEventListener("click", () => stage.zoom(-1));
  $("detections").addEventListener("click", toggleDetections);
  $("help").addEventListener("click", () => $("keys").showModal());
  // A button that was clicked keeps the focus, and Enter would press it again instead of accepting the frame.
  addEventListener("click", (event) => event.detail && event.target.closest("button")?.blur());
  addEventListener("visibilitychange", () => document.visibilityState === "visible" && page.frame && refresh());
  addEventListener("beforeunload", (event) => (work.stuck || work.running) && event.preventDefault());
}

/** Somebody may have worked in another tab. */
async function refresh() {
  const quiet = () => !work.running && !work.stuck && !stage.drag;
  const fresh = quiet() && (await api.frame(page.index).catch(() => null));
  if (fresh && quiet() && fresh.index === page.index && fresh.revision !== revisions.get(fresh.index)) visit(fresh.index);
}

async function begin() {
  wire();
  page.info = await api.state();
  page.slots = slotsOf(page.info);
  page.classes = classesOf(page.slots);
  makeClasses(page.classes, arm);
  page.armed = page.info.films.length ? page.classes[0] ?? null : null;
  document.body.classList.toggle("bykind", byKind());
  document.body.classList.toggle("films", page.info.films.length > 0);
  $("film").hidden = !page.info.films.length;
  $("title").textContent = page.info.title;
  document.title = `Review – ${page.info.title}`;
  stage.begin(page.info, page.slots);
  takeProgress(page.info);
  await visit(page.info.first ?? 0);
  if (page.info.problems.length) banner(`Part of the labels is damaged, the rest is here. ${page.info.problems.join(" ")}`, [["Go on", () => banner("")]], "warn");
}

begin().catch(fail);
