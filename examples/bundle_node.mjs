// Run a bundle in JavaScript: npm install onnxruntime-web, then
// node bundle_node.mjs breakout.onnx [frames.raw]      frames.raw: uint8 RGB frames one after another
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";

function* fields(data) { // protobuf: [number, payload] of each field
  let at = 0;
  const number = () => { let n = 0, unit = 1, byte; do { byte = data[at++]; n += (byte & 127) * unit; unit *= 128; } while (byte > 127); return n; };
  while (at < data.length) {
    const tag = number(), kind = tag % 8, size = kind === 2 ? number() : kind === 0 ? number() * 0 : kind === 1 ? 8 : 4;
    yield [Math.floor(tag / 8), data.subarray(at, (at += size))];
  }
}
const file = new Uint8Array(readFileSync(process.argv[2])), text = new TextDecoder(), metadata = {};
for (const [number, entry] of fields(file)) // 14: metadata, which onnxruntime-web does not show
  if (number === 14) { const [key, value] = [...fields(entry)].map(([, part]) => text.decode(part)); metadata[key] = value; }
const manifest = JSON.parse(metadata["triune.bundle.manifest"]), length = manifest.frame.reduce((a, b) => a * b);
const frames = process.argv[3] ? new Uint8Array(readFileSync(process.argv[3])) : new Uint8Array(3 * length); // your camera's

const session = await ort.InferenceSession.create(file);
let memory = new Float64Array(manifest.memory.size);
for (const [place, value] of manifest.memory.start) memory[place] = Number(value);
for (let at = 0; at < frames.length; at += length) {
  const frame = new ort.Tensor("uint8", frames.slice(at, at + length), manifest.frame);
  const out = await session.run({ frame, memory: new ort.Tensor("float64", memory, [memory.length]) });
  memory = out.next_memory.data;
  const action = manifest.controls ? JSON.stringify(Object.fromEntries(manifest.actions.map((name, i) => [name, out.action.data[i]])))
    : manifest.actions[Number(out.action.data[0])]; // a value for each name, or one of the names
  console.log(action, manifest.reasons[Number(out.reason.data[0])] ?? "fault");
}
