// The review page: which frame is before the reviewer, what a key or button does, when something is saved.
//
// Every action is sent at once, one after the other. An action that was refused or not answered is kept, and nothing else
// can be done until it went through or was given up: no edit is lost silently. `globalThis.review` is for whoever drives
// the browser in a test.

import * as api from "./api.js";
import { $, banner, showConflicts, showHistory, showParts, showProgress, showWhere, touch } from "./panels.js";
import { Stage } from "./stage.js";
import { moveBox, resizeBox, shownValues, slotsOf, withField } from "./values.js";

const page = { info: null, slots: [], index: 0, frame: null, picture: null, values: {}, selected: null, placing: null };
const work = { chain: Promise.resolve(), running: 0, visits: 0, stuck: null, waiting: null, queued: false };
const revisions = new Map(); // frame of the queue -> the last that this page has seen of it
const outside = (globalThis.review = { state: "loading", page });
const stage = new Stage($("stage"), { onChange: edit, onSelect: select, onPlace: put });

// --- showing ----------------------------------------------------------------------------------------------------------

function render() {
  stage.update(page.values, page.selected, page.placing);
  showParts(page, { select, remove, add, nudge, gauge, read });
  $("legend").hidden = !stage.showDetections || !page.slots.some((entry) => stage.strays(entry));
  $("hint").hidden = !page.placing;
  $("hint").textContent = page.placing ? `${touch ? "Tap" : "Click"} where ${page.placing.name} is` : "";
}

/** Take over what the program says of the present frame. What is being edited just now stays as it is. */
function take(frame) {
  revisions.set(frame.index, frame.revision);
  page.frame = frame;
  if (!stage.drag) page.values = { ...shownValues(page.info, frame), ...structuredClone(work.waiting ?? {}) };
  showWhere(frame, page.info.statuses.length);
  showConflicts(page, page.picture, choose);
  showHistory(frame, page.info.who);
  render();
}

function takeProgress(answer) {
  for (const name of ["counts", "statuses", "first", "last"]) page.info[name] = answer[name];
  showProgress(page.info);
  $("undo").disabled = !page.info.last;
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
  Object.assign(page, { index, picture: lost ? null : picture, selected: null, placing: null });
  stage.show(page.picture, frame.belief);
  take(frame);
  $("side").scrollTop = 0;
  $("prev").disabled = index === 0;
  $("next").disabled = index === page.info.statuses.length - 1;
  if (lost) banner(`This frame cannot be shown: ${picture.message}`, [["Next frame", () => step(1)]], "warn");
  else if (!work.stuck) banner("");
  outside.state = "ready";
  if (index + 1 < page.info.statuses.length) api.picture(index + 1).catch(() => {});
}

function step(by) {
  const index = page.index + by;
  if (index >= 0 && index < page.info.statuses.length && !blocked()) visit(index);
}

/** After a verdict: the next frame without one, round and round. */
function onward() {
  const { statuses, counts } = page.info;
  const order = statuses.map((_, i) => (page.index + 1 + i) % statuses.length);
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
  work.waiting = { ...work.waiting, [part]: structuredClone(page.values[part]) };
  if (!blocked()) sendEdits(page.index);
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
  if (verdict === "accept" && page.frame.status === "accepted" && !work.running) return void onward();
  act({ index, send: (revision) => api.save(index, revision, verdict, values), then: onward });
}

function undo() {
  if (blocked() || (!page.info.last && !work.running)) return;
  const then = ({ frame }) => frame.index !== page.index && visit(frame.index);
  act({ index: page.index, send: () => api.undo(page.info.last), then });
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

function add(entry) {
  const again = page.placing === entry;
  Object.assign(page, { selected: again ? null : entry, placing: again ? null : entry });
  render();
}

function put(entry, box) {
  Object.assign(page, { selected: entry, placing: null });
  page.values[entry.part][entry.slot] = box;
  edit(entry.part);
}

function remove(entry) {
  page.values[entry.part][entry.slot] = null;
  page.selected = null;
  edit(entry.part);
}

function nudge(entry, dx, dy, grow = false) {
  const { width, height } = page.info;
  const box = page.values[entry.part][entry.slot];
  const moved = grow ? resizeBox(box, "se", dx, dy, width, height) : moveBox(box, dx, dy, width, height);
  page.values[entry.part][entry.slot] = moved;
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
  o: toggleDetections, Escape: () => select(null), "?": () => $("keys").showModal(), x: absent, Delete: absent, Backspace: absent,
};

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
  if (!page.frame || $("keys").open || target.matches("input") || event.altKey) return;
  if ((event.ctrlKey || event.metaKey) && key !== "z") return;
  if ((key === "Enter" || key === " ") && target.closest("button, summary")) return;
  const { selected, values, slots } = page;
  const box = selected?.kind === "thing" && values[selected.part][selected.slot];
  if (ARROWS[key] && box) nudge(selected, ...ARROWS[key], event.shiftKey);
  else if (key === "ArrowLeft" || key === "ArrowRight") step(ARROWS[key][0]);
  else if (/^[1-9]$/.test(key) && slots[key - 1]) select(slots[key - 1] === selected ? null : slots[key - 1]);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
}

function wire() {
  addEventListener("keydown", key);
  for (const [name, action] of Object.entries({ accept, reject, undo })) $(name).addEventListener("click", action);
  $("prev").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
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
  $("title").textContent = page.info.title;
  document.title = `Review – ${page.info.title}`;
  stage.begin(page.info, page.slots);
  takeProgress(page.info);
  await visit(page.info.first ?? 0);
  if (page.info.problems.length) banner(`Part of the labels is damaged, the rest is here. ${page.info.problems.join(" ")}`, [["Go on", () => banner("")]], "warn");
}

begin().catch(fail);
