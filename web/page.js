// The page: loads a bundle and a recording, plays one on the other, shows every step.
//
// Knows: what is pressed, when to draw. `?auto=1` plays the whole recording at once, `?check=logic` runs the logic
// checks, `?step=N` starts there; `triune.result` then has the outcome for whoever drives the browser.

import { FileError, readBundle } from "./bundle.js";
import { checkLogic } from "./check.js";
import { Stage, drawTimeline, layoutOf, reasonColours } from "./draw.js";
import { frameOf, readArrays } from "./episode.js";
import * as panels from "./panels.js";
import { $ } from "./panels.js";
import { Player, mismatch } from "./player.js";

const FRAMES_A_SECOND = 60; // of a console, where a recording does not say its steps a second
const BREATH = 24; // ms of work before the page may draw
const MOST_MARKS = 20000; // steps, above which a recording is refused
const query = new URLSearchParams(location.search);
const state = { site: null, ort: null, bundle: null, episode: null, player: null, shown: 0, playing: false, work: Promise.resolve() };
const outside = (globalThis.triune = { state: "loading", result: null, error: null });

// --- loading ----------------------------------------------------------------------------------------------------

async function fetchBytes(name) {
  const response = await fetch(name).catch(() => null);
  if (!response?.ok) throw new FileError(`${name} is not in this folder. Write the folder again: triune web TASK`);
  return new Uint8Array(await response.arrayBuffer());
}

async function loadRuntime() {
  if (typeof WebAssembly !== "object") throw new FileError("This browser has no WebAssembly, which runs the bundle.");
  let ort;
  try {
    ort = await import("./ort/ort.wasm.bundle.min.mjs");
  } catch {
    throw new FileError("onnxruntime-web is not in this folder (ort/). Run `npm install` in web/ and `triune web TASK` again, or `make web`.");
  }
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: new URL("ort/ort-wasm-simd-threaded.wasm", location.href).href };
  ort.env.logLevel = "error";
  return ort;
}

/** Steps a second of the world that a recording shows. */
const rateOf = ({ header: { hz, protocol } }) => hz ?? FRAMES_A_SECOND / (protocol.frameskip ?? 1);

/** A bundle or an episode, told apart by its first bytes. */
async function accept(name, bytes) {
  const zipped = bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (!zipped) return { bundle: await readBundle(bytes, name) };
  const episode = await readArrays(bytes, "episode", name);
  if (!episode.header.steps || episode.header.steps > MOST_MARKS) throw new FileError(`${name} has ${episode.header.steps} steps, the page takes 1 to ${MOST_MARKS}.`);
  return { episode };
}

/** Start over with what is loaded. */
async function begin() {
  pause();
  await state.work.catch(() => {});
  const { bundle, episode } = state;
  const wrong = mismatch(bundle, episode);
  if (wrong) return fail(new FileError(wrong), true);
  say("Starting the bundle …");
  const player = await Player.load(state.ort, bundle, episode);
  const old = state.player;
  const { manifest } = bundle;
  const [height, width] = manifest.frame;
  const reasons = [...new Set([...manifest.reasons, ...episode.header.reasons])];
  Object.assign(state, { player, shown: 0, reasons, colourOf: reasonColours(reasons), layout: layoutOf(manifest.scene), marks: [] });
  await state.work.catch(() => {});
  await old?.session.release();
  $("title").textContent = manifest.title ?? manifest.task;
  $("subtitle").textContent = "The whole system is one file that runs in this page: pixels and memory in, action and memory out.";
  document.title = `${manifest.title ?? manifest.task} – Triune`;
  $("error").hidden = true;
  $("main").hidden = false;
  state.stage = new Stage($("game"), width, height, state.layout, rateOf(episode));
  $("scrub").max = player.length - 1;
  $("steps").textContent = player.length - 1;
  panels.showFacts(player, state.ort.env.versions?.web ?? state.site?.onnxruntime_web ?? "");
  say("");
  await seek(Math.min(Number(query.get("step")) || 0, player.length - 1));
}

async function takeFiles(files) {
  if (!files.length) return;
  try {
    const found = await Promise.all([...files].map(async (file) => accept(file.name, new Uint8Array(await file.arrayBuffer()))));
    Object.assign(state, ...found);
    if (state.bundle && state.episode) await begin();
  } catch (error) {
    fail(error, true);
  }
}

function say(text) {
  $("status").textContent = text;
}

/** Show an error in words. `stay`: what was there keeps working. */
function fail(error, stay = false) {
  say("");
  const known = error instanceof FileError;
  $("error").textContent = known ? error.message : `This should not have happened: ${error?.message ?? error}. Reload the page; if it comes again, please report it.`;
  $("error").hidden = false;
  if (!stay) Object.assign(outside, { state: "failed", error: $("error").textContent });
}

// --- playing ----------------------------------------------------------------------------------------------------

/** What the timeline knows of step t: from this browser where played, from the recording elsewhere. */
function mark(t) {
  const { player, marks } = state;
  const played = t < player.done;
  if (marks[t]?.played === played) return marks[t];
  const theirs = player.native(t);
  const mine = played ? player.steps[t] : { ...theirs, faults: theirs.fault ? ["policy"] : [], same: true };
  return (marks[t] = { reason: mine.reason, overruled: mine.overruled.length > 0, faults: mine.faults.length > 0, same: mine.same, played });
}

/** Play up to step t, one step after the other, drawing now and then; false when something else was loaded meanwhile. */
async function reach(t, busy = () => {}) {
  const { player } = state;
  let drawn = performance.now();
  while (player.done <= t) {
    await player.advance();
    if (player !== state.player) return false;
    if (performance.now() - drawn > BREATH) {
      busy(player.done);
      await new Promise((go) => setTimeout(go)); // not a frame: a hidden page has none
      drawn = performance.now();
    }
  }
  return true;
}

/** Show step t, playing up to it first. */
function seek(t) {
  const target = (state.wanted = Math.max(0, Math.min(state.player.length - 1, t)));
  state.work = state.work.catch(() => {}).then(async () => {
    if (target !== state.wanted) return; // another step was asked for meanwhile
    if (await reach(target, (done) => render(done - 1))) render(target);
  });
  return state.work.catch((error) => (pause(), fail(error, true)));
}

function render(t) {
  const { player, stage, layout, colourOf } = state;
  state.shown = t;
  const step = player.steps[t];
  const native = player.native(t);
  stage.draw(frameOf(player.episode, t), $("overlay").checked ? step.scene : null);
  panels.showDecision(player, step, native, colourOf);
  panels.showThings(layout, step.scene);
  panels.showMemory(player, step);
  panels.showAgreement(player, (at) => (pause(), seek(at)));
  drawTimeline($("line"), player.length, t, mark, colourOf);
  const count = (test) => Array.from({ length: player.length }, (_, i) => mark(i)).filter(test).length;
  if (!state.playing || t % 15 === 0) panels.showLegend([...state.reasons, "fault"], count, colourOf, nextWith);
  $("step").textContent = t;
  $("scrub").value = t;
  const words = `step ${t}: ${player.actions.tell(step.action)}, ${step.reason}`;
  $("scrub").setAttribute("aria-valuetext", words);
  $("game").setAttribute("aria-label", `Frame, ${words}`);
  if (!state.playing) $("spoken").textContent = words;
}

/** Go to the next step that passes, from the start again after the end. */
function nextWith(test) {
  const { player, shown } = state;
  for (let i = 1; i <= player.length; i++) {
    const t = (shown + i) % player.length;
    if (test(mark(t))) return pause(), seek(t);
  }
}

function play() {
  const { player } = state;
  if (!player || state.playing) return;
  if (state.shown >= player.length - 1) state.shown = -1;
  state.playing = true;
  playButton();
  let [last, due] = [performance.now(), 0];
  const tick = async (now) => {
    if (!state.playing || state.player !== player) return;
    const speed = Number($("speed").value);
    const rate = speed * rateOf(player.episode);
    due = Math.min(due + ((now - last) / 1000) * rate, rate / 4 + 1);
    last = now;
    const ahead = speed ? Math.floor(due) : Math.max(1, Math.floor(BREATH / Math.max(0.2, player.milliseconds())));
    due -= Math.floor(due);
    if (ahead) await seek(state.shown + ahead);
    if (state.shown >= player.length - 1) pause();
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

function pause() {
  if (!state.playing) return;
  state.playing = false;
  playButton();
}

function playButton() {
  const label = state.playing ? "Pause" : "Play";
  $("play").setAttribute("aria-label", label);
  $("play-icon").setAttribute("d", state.playing ? "M5 3h3.5v14H5zM11.5 3H15v14h-3.5z" : "M5 3v14l12-7z");
}

// --- controls ---------------------------------------------------------------------------------------------------

const stepBy = (n) => state.player && (pause(), seek(state.shown + n));

function faster(by) {
  const select = $("speed");
  select.selectedIndex = Math.max(0, Math.min(select.length - 1, select.selectedIndex + by));
}

function again() {
  if (state.player?.done) render(state.shown);
}

const KEYS = {
  " ": () => (state.playing ? pause() : play()),
  ArrowLeft: (e) => stepBy(e.shiftKey ? -10 : -1),
  ArrowRight: (e) => stepBy(e.shiftKey ? 10 : 1),
  Home: () => stepBy(-Infinity),
  End: () => stepBy(Infinity),
  o: () => (($("overlay").checked = !$("overlay").checked), again()),
  "-": () => faster(-1),
  "+": () => faster(1),
};

function listen() {
  $("play").onclick = KEYS[" "];
  $("first").onclick = KEYS.Home;
  $("back").onclick = () => stepBy(-1);
  $("next").onclick = () => stepBy(1);
  $("scrub").oninput = () => (pause(), seek(Number($("scrub").value)));
  $("overlay").onchange = again;
  $("game").onclick = KEYS[" "];
  $("open").onclick = () => $("files").click();
  $("files").onchange = () => takeFiles($("files").files).then(() => ($("files").value = ""));
  $("check").onclick = () => runChecks().catch((error) => fail(error, true));
  addEventListener("keydown", (event) => {
    const typing = event.target.matches("select, summary, button") && event.key === " ";
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key] || !state.player) return;
    event.preventDefault();
    KEYS[event.key](event);
  });
  for (const kind of ["dragover", "dragleave", "drop"])
    addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", kind === "dragover");
      if (kind === "drop") takeFiles(event.dataTransfer.files);
    });
  new ResizeObserver(again).observe($("game"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}

// --- checks, and results for whoever drives the browser -----------------------------------------------------------

async function runChecks() {
  const results = [];
  pause();
  await state.work.catch(() => {});
  for (const { name, model, cases } of state.site.checks) {
    const [graph, packed] = [await fetchBytes(model), await fetchBytes(cases)];
    const file = await readArrays(packed, "logic check", cases);
    const progress = (part) => say(`Checking the logic of ${name}: ${Math.round(100 * part)} %`);
    results.push(await checkLogic(state.ort, state.bundle.manifest, graph, file, progress));
    panels.showChecks(results);
  }
  say("");
  return results;
}

function resultOf(player, checks) {
  const { agreement, done, bundle } = player;
  const { first, ...counts } = agreement;
  return {
    task: bundle.manifest.task, steps: done, ...counts, differences: panels.differences(player),
    ms: player.milliseconds(), verified: bundle.verified, checks,
  };
}

async function main() {
  listen();
  state.site = JSON.parse(new TextDecoder().decode(await fetchBytes("site.json")));
  const { site } = state;
  const [ort, bundle, episode] = await Promise.all([
    loadRuntime(),
    fetchBytes(site.bundle).then((bytes) => accept(site.bundle, bytes)),
    fetchBytes(site.episode).then((bytes) => accept(site.episode, bytes)),
  ]);
  Object.assign(state, { ort }, bundle, episode);
  $("checks").hidden = !site.checks.length;
  await begin();
  if (!state.player) return;
  outside.state = "ready";
  if (query.has("auto")) await seek(state.player.length - 1);
  const checks = query.get("check") === "logic" ? await runChecks() : [];
  if (query.has("auto") || query.has("check")) Object.assign(outside, { state: "done", result: resultOf(state.player, checks) });
  else if (!query.has("step") && !matchMedia("(prefers-reduced-motion: reduce)").matches) play();
}

main().catch((error) => fail(error));
