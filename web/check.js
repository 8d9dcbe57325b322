// The logic alone: recorded scenes through a policy's ONNX model, against what generated Python decided on them.
//
// Knows: the files of one check, what counts as equal. Does not know: drawing, bundles.

import { actionsOf } from "./actions.js";
import { row } from "./episode.js";

const BREATH = 30; // ms of work before the page may draw

/** Run one check of a bundle with this manifest. {name, steps, action, reason, fault, values, differ, largest, first, ms}; `differ` counts float64 values
 *  of memory for which Object.is is false. Every step starts from the memory that Python had, so steps are independent. */
export async function checkLogic(ort, manifest, model, cases, progress = () => {}) {
  const { header, arrays } = cases;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  const actions = actionsOf(manifest);
  const size = arrays.memory.shape[1];
  const result = { name: header.name, steps: header.steps, action: 0, reason: 0, fault: 0, values: 0, differ: 0, largest: 0, first: null };
  const began = performance.now();
  let drawn = began;
  for (let t = 0; t < header.steps; t++) {
    const scene = new ort.Tensor("float32", row(arrays.scene, t), [arrays.scene.shape[1]]);
    const memory = new ort.Tensor("float64", row(arrays.memory, t), [size]);
    const out = await session.run({ scene, memory });
    result.action += actions.same(actions.of(out.action.data), actions.at(arrays.action, t));
    result.reason += Number(out.reason.data[0]) === arrays.reason.data[t];
    result.fault += Number(out.fault.data[0]) === arrays.fault.data[t];
    compare(result, header, out.next_memory.data, row(arrays.memory, t + 1), t);
    if (performance.now() - drawn > BREATH) {
      progress(t / header.steps);
      await new Promise((go) => setTimeout(go));
      drawn = performance.now();
    }
  }
  await session.release();
  return { ...result, ms: (performance.now() - began) / header.steps };
}

function compare(result, header, mine, theirs, t) {
  result.values += theirs.length;
  for (let i = 0; i < theirs.length; i++) {
    if (Object.is(mine[i], theirs[i])) continue;
    result.differ++;
    const off = Math.abs(mine[i] - theirs[i]);
    result.largest = Math.max(result.largest, Number.isNaN(off) ? Infinity : off);
    const field = header.fields.find(([, start, stop]) => start <= i && i < stop)?.[0] ?? String(i);
    result.first ??= { step: t, field, mine: String(mine[i]), theirs: String(theirs[i]) };
  }
}
