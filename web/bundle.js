// A bundle's metadata, read from the bytes of the ONNX file, since onnxruntime-web does not show it.
//
// Knows: just enough protobuf to find ModelProto field 14 (metadata_props), the keys of format 2, their hashes.
// Does not know: how the graph is run (player.js), drawing.

const FORMAT = "2";
const PREFIX = "triune.bundle.";
const METADATA = 14; // repeated StringStringEntryProto { key = 1, value = 2 } of ModelProto
const MOST = 64 * 2 ** 20; // bytes
const NEEDED = ["task", "actions", "reasons", "rules", "scene", "memory", "frame", "versions", "hashes", "graph_bytes"];
const text = new TextDecoder("utf-8", { fatal: true });

/** Something is wrong with a file; the message is for people. */
export class FileError extends Error {}

/** Every length-delimited field of a message as [number, bytes]; other fields are skipped. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= bytes.length || scale > 2 ** 63) throw new FileError("it ends in the middle of a field");
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag % 8;
    if (wire === 2) {
      const length = varint();
      if (length > bytes.length - at) throw new FileError("it ends in the middle of a field");
      yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else throw new FileError("it is not protobuf");
  }
}

/** All metadata of an ONNX file, as a Map. */
export function metadata(bytes) {
  const found = new Map();
  for (const [number, body] of fields(bytes)) {
    if (number !== METADATA) continue;
    const entry = { 1: "", 2: "" };
    for (const [part, value] of fields(body)) entry[part] = text.decode(value);
    found.set(entry[1], entry[2]);
  }
  return found;
}

/** sha256 in hex, or null where the browser offers none (pages from http:// hosts other than this machine). */
async function sha256(data) {
  if (!globalThis.crypto?.subtle) return null;
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** {bytes, manifest, parts, verified}: a bundle of format 2 whose hashes agree (verified: true, or null if unknown). */
export async function readBundle(bytes, name) {
  if (bytes.length > MOST) throw new FileError(`${name} is larger than a bundle may be (64 MiB).`);
  let entries;
  try {
    entries = metadata(bytes);
  } catch (error) {
    throw new FileError(`${name} is damaged, or no ONNX file: ${error.message}.`);
  }
  const raw = entries.get(`${PREFIX}manifest`);
  const format = entries.get(`${PREFIX}format`) ?? (raw ? "1" : null);
  if (!raw) throw new FileError(`${name} is an ONNX file but no bundle. Make one with: triune export TASK FILE.onnx`);
  if (format !== FORMAT)
    throw new FileError(`${name} has bundle format ${format}, this page reads ${FORMAT}. Export it again.`);
  const manifest = JSON.parse(raw);
  const lacking = NEEDED.filter((key) => !(key in manifest));
  if (lacking.length) throw new FileError(`${name} lacks ${lacking.join(", ")} in its manifest. Export it again.`);
  const parts = {};
  for (const [key, value] of entries)
    if (key.startsWith(`${PREFIX}part.`)) parts[key.slice(PREFIX.length + 5)] = value;
  const verified = await verify(bytes, raw, entries.get(`${PREFIX}digest`), manifest, parts, name);
  return { name, bytes, manifest, parts, verified };
}

async function verify(bytes, raw, digest, manifest, parts, name) {
  if ((await sha256("")) === null) return null;
  const wrong = (await sha256(raw)) === digest ? [] : ["the manifest"];
  const found = { ...parts, graph: bytes.subarray(0, manifest.graph_bytes) };
  for (const part of new Set([...Object.keys(found), ...Object.keys(manifest.hashes)]))
    if (!(part in found) || (await sha256(found[part])) !== manifest.hashes[part]) wrong.push(part);
  if (wrong.length)
    throw new FileError(`${name} was changed after it was exported (${wrong.join(", ")} does not match its hash).`);
  return true;
}

/** Float64Array of the memory at the start of an episode. */
export function startMemory(manifest) {
  const memory = new Float64Array(manifest.memory.size);
  for (const [at, value] of manifest.memory.start) memory[at] = value;
  return memory;
}

/** [{file, line, around: [[number, text]...]}] where the bundle's texts give this reason, with lines before and after. */
export function sourceOf(parts, reason, context) {
  const found = [];
  for (const file of Object.keys(parts).filter((name) => name.endsWith(".py"))) {
    const lines = parts[file].split("\n");
    lines.forEach((text, i) => {
      if (!text.includes(`"${reason}"`)) return;
      const first = Math.max(0, i - context);
      const around = lines.slice(first, i + context + 1).map((line, k) => [first + k + 1, line]);
      found.push({ file, line: i + 1, around });
    });
  }
  return found;
}
