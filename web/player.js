// A bundle playing a recorded game: frame and memory in, action and memory out, one step after the other.
//
// Knows: the bundle's inputs and outputs, what happened at every step so far, agreement with native play.
// Does not know: files, drawing, time of day.

import { actionsOf } from "./actions.js";
import { FileError, startMemory } from "./bundle.js";
import { frameOf, row } from "./episode.js";

const SHOWN = 6; // values of an array field that are written out
const INPUTS = ["frame", "memory"];
const OUTPUTS = ["action", "reason", "proposed", "interventions", "faults", "next_memory", "scene"];

/** Why this bundle cannot play this recording, in words; null when it can. */
export function mismatch(bundle, episode) {
  const { manifest } = bundle;
  const { header, arrays } = episode;
  if (manifest.task !== header.task)
    return `${bundle.name} plays ${manifest.task}, ${episode.name} is a game of ${header.task}: load the other one too.`;
  const [height, width] = arrays.frames.shape.slice(1);
  const [high, wide] = manifest.frame;
  if (height !== high || width !== wide)
    return `${bundle.name} looks at ${wide} × ${high} pixels, the recording has ${width} × ${height}.`;
  if (manifest.actions.join() !== header.actions.join() || !manifest.controls !== (arrays.action.shape.length === 1))
    return `${bundle.name} has other actions than ${episode.name}: write the recording again with triune web.`;
  if (manifest.scene.names.length !== arrays.scene.shape[1])
    return `${bundle.name} sees another scene than the one recorded: write the recording again with triune web.`;
  return null;
}

export class Player {
  /** A player at the start of the recording. */
  static async load(ort, bundle, episode) {
    const wrong = mismatch(bundle, episode);
    if (wrong) throw new FileError(wrong);
    let session;
    try {
      session = await ort.InferenceSession.create(bundle.bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 });
    } catch (error) {
      throw new FileError(`${bundle.name} cannot be run here: ${error.message ?? error}`);
    }
    const lacking = [
      ...INPUTS.filter((n) => !session.inputNames.includes(n)),
      ...OUTPUTS.filter((n) => !session.outputNames.includes(n)),
    ];
    if (lacking.length) throw new FileError(`${bundle.name} has no ${lacking.join(", ")}: it is no bundle of format 2.`);
    return new Player(ort, session, bundle, episode);
  }

  constructor(ort, session, bundle, episode) {
    Object.assign(this, { ort, session, bundle, episode });
    const { manifest } = bundle;
    this.length = episode.header.steps;
    this.shape = [...episode.arrays.frames.shape.slice(1, 3), 3];
    this.actions = actionsOf(manifest);
    this.fields = fieldsOf(manifest.memory);
    this.memory = startMemory(manifest);
    this.steps = []; // what happened, in the order of play
    this.recorded = []; // what native play did, as far as it was asked for
    this.agreement = { action: 0, reason: 0, interventions: 0, faults: 0, scene: 0, sceneAt: "", first: [] };
  }

  get done() {
    return this.steps.length;
  }

  /** Play one more step of the recording. */
  async advance() {
    const t = this.done;
    const frame = new this.ort.Tensor("uint8", frameOf(this.episode, t), this.shape);
    const memory = new this.ort.Tensor("float64", this.memory, [this.memory.length]);
    const began = performance.now();
    const out = await this.session.run({ frame, memory });
    const ms = performance.now() - began;
    const { manifest } = this.bundle;
    const reason = Number(out.reason.data[0]);
    const next = out.next_memory.data;
    this.steps.push({
      ms,
      action: this.actions.of(out.action.data),
      proposed: this.actions.of(out.proposed.data),
      reason: reason < 0 ? "fault" : manifest.reasons[reason],
      overruled: manifest.rules.filter((_, i) => out.interventions.data[i]),
      faults: ["policy", ...manifest.rules].filter((_, i) => out.faults.data[i]),
      scene: Float32Array.from(out.scene.data),
      changes: changes(this.fields, this.memory, next),
    });
    this.memory = next;
    this.compare(t);
  }

  /** What native play did at step t. */
  native(t) {
    const { header, arrays } = this.episode;
    return (this.recorded[t] ??= {
      action: this.actions.at(arrays.action, t),
      proposed: this.actions.at(arrays.proposed, t),
      reason: header.reasons[arrays.reason.data[t]],
      overruled: header.rules.filter((_, i) => row(arrays.interventions, t)[i]),
      fault: arrays.fault.data[t] > 0,
      scene: row(arrays.scene, t),
      score: arrays.score.data[t],
    });
  }

  /** Count step t in the agreement with native play. */
  compare(t) {
    const mine = this.steps[t];
    const theirs = this.native(t);
    const same = {
      action: this.actions.same(mine.action, theirs.action),
      reason: mine.reason === theirs.reason,
      interventions: mine.overruled.join() === theirs.overruled.join(),
      faults: mine.faults.length > 0 === theirs.fault,
    };
    for (const [key, good] of Object.entries(same)) {
      this.agreement[key] += good;
      if (!good) this.agreement.first.push({ step: t, key, mine, theirs });
    }
    mine.same = same.action && same.reason;
    for (let i = 0; i < mine.scene.length; i++) {
      const off = Math.abs(mine.scene[i] - theirs.scene[i]);
      if (!(off <= this.agreement.scene)) {
        this.agreement.scene = off;
        this.agreement.sceneAt = `${this.bundle.manifest.scene.names[i]}, step ${t}`;
      }
    }
  }

  /** Median milliseconds a step so far. */
  milliseconds() {
    const sorted = this.steps.map((s) => s.ms).sort((a, b) => a - b);
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : 0;
  }
}

/** [{name, start, stop, kind}] of the memory's fields, in the order of the vector. */
function fieldsOf({ fields }) {
  const list = Object.entries(fields).map(([name, { at, type }]) => ({ name, start: at[0], stop: at[1], kind: type }));
  return list.sort((a, b) => a.start - b.start);
}

/** [name, before, after] of every field that a step changed, in words. */
function changes(fields, before, after) {
  const found = [];
  for (const { name, start, stop, kind } of fields) {
    let count = 0;
    for (let i = start; i < stop; i++) if (!Object.is(before[i], after[i])) count++;
    if (!count) continue;
    if (stop - start <= SHOWN) found.push([name, words(before, start, stop, kind), words(after, start, stop, kind)]);
    else found.push([name, "", `${count} of ${stop - start} values changed`]);
  }
  return found;
}

function words(memory, start, stop, kind) {
  return Array.from(memory.subarray(start, stop), (value) => {
    if (kind === "bool") return value ? "yes" : "no";
    return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  }).join("  ");
}
