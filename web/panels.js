// The words beside the picture: decision, scene, memory, agreement, facts. All text goes in as text, never as markup.
//
// Knows: the elements of index.html and how a step is put into words. Does not know: playing, files.

import { signed } from "./actions.js";
import { sourceOf } from "./bundle.js";
import { slotOf } from "./draw.js";

const CONTEXT = 2; // lines of the policy shown before and after the one that gives a reason
const OWNERS = ["policy", "safety", "lost", "tracker"]; // whose memory is shown first
const LISTED = 5; // differences from native play that are listed

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children (strings become text). */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "colour") made.style.background = value;
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.map((child) => (typeof child === "number" ? String(child) : child)));
  return made;
}

const cells = (tag, values) => values.map((value) => el(tag, typeof value === "string" ? { class: "n" } : {}, value));
const dot = (colour) => el("span", { class: "dot", colour });
const oneDigit = (v) => (Math.abs(v) < 0.05 ? 0 : v).toFixed(1);
const percent = (n, of) => (of ? `${(Math.floor((1000 * n) / of) / 10).toFixed(n === of ? 0 : 1)} %` : "–");

/** Actions or controls, reason, overruling rules, the policy's lines that give this reason. */
export function showDecision(player, step, native, colourOf) {
  const { actions } = player;
  const kept = actions.same(step.action, step.proposed);
  $("keys").replaceChildren(...(actions.controls ? controls(actions, step, kept) : keys(actions, step)));
  $("reason").textContent = step.reason;
  $("reason-dot").style.background = colourOf(step.reason);
  const wanted = kept ? "" : `wanted ${actions.tell(step.proposed)}; `;
  const rules = step.overruled.length ? `${wanted}overruled: ${step.overruled.join("; ")}` : "";
  const faults = step.faults.length ? `fault in ${step.faults.join(", ")}` : "";
  $("overruled").textContent = [faults, rules].filter(Boolean).join(" · ");
  $("overruled").classList.toggle("fault", step.faults.length > 0);
  showSource(player.bundle.parts, step.reason);
  $("score").textContent = native.score === undefined ? "" : `score ${Number(native.score.toFixed(2))} as recorded`;
}

/** A key for each action: the one chosen, and the one that the policy wanted. */
function keys({ names }, step) {
  return names.map((name, i) => {
    const sent = i === step.action;
    const wanted = !sent && i === step.proposed;
    const say = sent ? "chosen" : wanted ? "wanted by the policy, overruled" : null;
    return el("span", { class: `key${sent ? " sent" : ""}${wanted ? " wanted" : ""}`, title: say }, name);
  });
}

/** A gauge for each control, from its lowest to its highest value. */
function controls(actions, step, kept) {
  return actions.controls.map(({ name, low, high }, i) => {
    const say = kept ? "chosen" : `the policy wanted ${signed(step.proposed[i])}`;
    const gauge = el("meter", { min: low, max: high, value: step.action[i] });
    return el("label", { class: "key control", title: say }, el("span", {}, name), gauge, el("b", {}, signed(step.action[i])));
  });
}

/** The policy's own words around this reason; nothing is done when they are there already. */
function showSource(parts, reason) {
  const place = $("source");
  if (place.dataset.reason === reason) return;
  place.dataset.reason = reason;
  const [first, ...others] = sourceOf(parts, reason, CONTEXT);
  if (!first) return place.replaceChildren();
  const also = others.length ? `, also line ${others.map(({ line }) => line).join(", ")}` : "";
  const wide = String(first.line + CONTEXT).length;
  while (first.around.at(-1)[1].trim() === "") first.around.pop();
  const indent = Math.min(...first.around.filter(([, text]) => text.trim()).map(([, text]) => text.search(/\S/)));
  const lines = first.around.map(([n, text]) =>
    el(n === first.line ? "mark" : "span", {}, `${String(n).padStart(wide)}  ${text.slice(indent)}`),
  );
  place.replaceChildren(el("span", {}, `${first.file}, line ${first.line}${also}`), ...lines);
}

/** Every thing with place, velocity and certainty; grids and gauges counted. */
export function showThings(layout, scene) {
  const head = el("tr", {}, el("th", {}, "thing"), ...cells("th", ["x", "y", "vx", "vy", "sure"]));
  const rows = layout.things.flatMap(({ name, colour, starts }) =>
    starts.map((start, i) => {
      const slot = slotOf(scene, start);
      const label = `${name}${starts.length > 1 ? ` ${i}` : ""}${slot.seen ? "" : slot.there ? " (predicted)" : ""}`;
      const numbers = slot.there
        ? [slot.x, slot.y, slot.vx, slot.vy].map(oneDigit).concat(slot.sure.toFixed(2))
        : ["–", "–", "–", "–", "unseen"];
      return el("tr", { class: slot.seen ? "" : "coasting" }, el("td", {}, dot(colour), label), ...cells("td", numbers));
    }),
  );
  const wide = (name, text) => el("tr", {}, el("td", {}, name), el("td", { class: "n", colspan: 5 }, text));
  const grids = layout.grids.map(({ name, at, rows: r, cols }) => {
    const there = scene.subarray(at, at + r * cols).reduce((n, value) => n + (value > 0.5), 0);
    return wide(name, `${there} of ${r * cols} there`);
  });
  const gauges = layout.gauges.map(({ name, at }) => wide(name, scene[at].toFixed(2)));
  const readings = layout.readings.map(({ name, fields, at }) => {
    const told = fields.map(({ field, unit, at: place }) => `${field} ${scene[place].toFixed(2)} ${unit}`.trim());
    return wide(name, scene[at] > 0.5 ? told.join(", ") : "unseen");
  });
  $("things").replaceChildren(head, ...rows, ...grids, ...gauges, ...readings);
}

/** The fields that this step changed, by the part that owns them. */
export function showMemory(player, step) {
  $("memory-count").textContent = `${step.changes.length} of ${player.fields.length} fields changed`;
  const groups = new Map();
  for (const [field, ...values] of step.changes) {
    const dot = field.indexOf(".");
    const owner = field.slice(0, Math.max(0, dot));
    groups.set(owner, [...(groups.get(owner) ?? []), [field.slice(dot + 1), ...values]]);
  }
  const rank = (owner) => (OWNERS.includes(owner) ? OWNERS.indexOf(owner) : OWNERS.length);
  const rows = [...groups].sort(([a], [b]) => rank(a) - rank(b)).flatMap(([owner, fields]) => [
    el("tr", { class: "group" }, el("th", { colspan: 2 }, owner)),
    ...fields.map(([name, before, after]) => el("tr", {}, el("th", {}, name), el("td", {}, before ? `${before}  →  ${after}` : after))),
  ]);
  $("memory").replaceChildren(...rows);
}

function tile(value, label, bad = false, extra = null) {
  return el("div", { class: `tile${bad ? " bad" : ""}` }, el("b", {}, value), el("span", {}, label), ...(extra ? [el("br"), extra] : []));
}

/** How far the bundle in this browser and native play agree so far. `go(step)` shows a step. */
export function showAgreement(player, go) {
  const { agreement: a, done, length } = player;
  const first = a.first.find(({ key }) => key === "action" || key === "reason");
  const jump = first && el("button", { type: "button", onclick: () => go(first.step) }, `first difference: step ${first.step}`);
  $("agreement").replaceChildren(
    tile(`${a.action} / ${done}`, `actions as in native play (${percent(a.action, done)})`, a.action < done, jump),
    tile(`${a.reason} / ${done}`, "reasons the same", a.reason < done),
    tile(`${a.interventions} / ${done}`, "rules stepped in alike", a.interventions < done || a.faults < done),
    tile(a.scene < 1e-6 ? "0" : a.scene.toPrecision(2), `largest difference in the scene${a.sceneAt ? ` (${a.sceneAt})` : ""}`),
    tile(`${player.milliseconds().toFixed(1)} ms`, `a step, median of ${done}${done < length ? ` (${length - done} to go)` : ""}`),
  );
}

/** What a protocol sets, in words. */
const settings = ({ name, ...rest }) => Object.entries(rest).map(([key, value]) => `${key} ${value}`).join(", ");

/** Task, versions, hashes of what is loaded. */
export function showFacts(player, runtime) {
  const { manifest, name, bytes, parts, verified } = player.bundle;
  const { header } = player.episode;
  const checked = verified ? "agree with the file" : "not checked: this browser gives no hashes to pages from http://";
  const versions = Object.entries(manifest.versions).map(([key, value]) => `${key} ${value}`).join(", ");
  const rows = {
    bundle: `${name}, ${(bytes.length / 1024).toFixed(0)} kB, format ${manifest.format}`,
    task: `${manifest.title ?? manifest.task}, protocol ${manifest.protocol.name} (${settings(manifest.protocol)})`,
    versions,
    "runs here on": `onnxruntime-web ${runtime}, WebAssembly, one thread`,
    memory: `${manifest.memory.size} float64 values in ${player.fields.length} fields`,
    rules: manifest.rules.join("; "),
    texts: Object.keys(parts).join(", "),
    hashes: checked,
    recording: `${player.episode.name}: ${header.steps} steps of ${header.task}, ${header.protocol.name}, seed ${header.recorded.seed}, Triune ${header.recorded.triune}`,
  };
  const hashes = Object.entries(manifest.hashes).map(([part, hash]) => [`sha256 of ${part}`, hash]);
  $("facts-table").replaceChildren(
    ...[...Object.entries(rows), ...hashes].map(([key, value]) => el("tr", {}, el("th", {}, key), el("td", {}, el("code", {}, value)))),
  );
}

/** Reasons with their counts; pressing one calls `next(test)` with a test for the steps that have it. */
export function showLegend(reasons, count, colourOf, next) {
  const item = (label, n, colour, test) =>
    el("button", { type: "button", title: "go to the next such step", onclick: () => next(test) }, dot(colour), label, el("span", { class: "n" }, n));
  const marks = [
    ["overruled", "--amber", (s) => s.overruled],
    ["fault", "--red", (s) => s.faults],
    ["not as in native play", "--ink", (s) => !s.same],
  ];
  $("legend").replaceChildren(
    ...reasons.map((reason) => [reason, (s) => s.reason === reason]).filter(([, test]) => count(test))
      .map(([reason, test]) => item(reason, count(test), colourOf(reason), test)),
    ...marks.filter(([, , test]) => count(test)).map(([label, colour, test]) => item(label, count(test), `var(${colour})`, test)),
  );
}

/** Differences from native play in words, for the result and the console. */
export function differences(player) {
  const { actions } = player;
  return player.agreement.first.slice(0, LISTED).map(({ step, key, mine, theirs }) => {
    const say = (s) => `${actions.tell(s.action)} because of "${s.reason}"`;
    return `step ${step} (${key}): here ${say(mine)}, native ${say(theirs)}`;
  });
}

/** Outcomes of the logic checks. */
export function showChecks(results) {
  const head = el("tr", {}, el("th", {}, "policy"), ...cells("th", ["actions", "reasons", "faults", "memory values not bit-equal", "ms a step"]));
  const rows = results.map((r) => {
    const of = (n) => `${n} / ${r.steps}`;
    const values = r.differ ? `${r.differ} of ${r.values}, by ${r.largest.toPrecision(2)} at most` : `0 of ${r.values}`;
    return el("tr", {}, el("td", {}, r.name), ...cells("td", [of(r.action), of(r.reason), of(r.fault), values, r.ms.toFixed(2)]));
  });
  $("checks-table").replaceChildren(head, ...rows);
}
