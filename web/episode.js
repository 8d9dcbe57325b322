// Recorded games and logic checks: named arrays behind a JSON header, gzipped (written by triune/deploy/web.py).
//
// Knows: the layout of the file. Does not know: what the arrays mean.

import { FileError } from "./bundle.js";

const MAGIC = "TRIUNEWB";
const VERSION = 1;
const TYPES = {
  uint8: Uint8Array,
  int16: Int16Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
};

async function gunzip(bytes) {
  if (!globalThis.DecompressionStream)
    throw new FileError("This browser cannot unpack recordings. It needs DecompressionStream: any browser since 2023.");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** {header, arrays: {NAME: {data, shape}}} of a file of this kind; FileError in words otherwise. */
export async function readArrays(bytes, kind, name) {
  let buffer;
  try {
    buffer = await gunzip(bytes);
  } catch (error) {
    throw error instanceof FileError ? error : new FileError(`${name} is damaged: it does not unpack.`);
  }
  const start = new DataView(buffer);
  const magic = new TextDecoder().decode(buffer.slice(0, 8));
  if (buffer.byteLength < 16 || magic !== MAGIC) throw new FileError(`${name} is no ${kind}. Make one with: triune web TASK`);
  if (start.getUint32(8, true) !== VERSION)
    throw new FileError(`${name} has format ${start.getUint32(8, true)}, this page reads ${VERSION}. Write it again: triune web TASK`);
  const end = 16 + start.getUint32(12, true);
  const header = JSON.parse(new TextDecoder().decode(buffer.slice(16, end)));
  if (header.kind !== kind) throw new FileError(`${name} holds a ${header.kind}, not a ${kind}.`);
  const arrays = {};
  for (const block of header.blocks) arrays[block.name] = view(buffer, end + block.at, block);
  return { name, header, arrays };
}

/** One block, in place; rows that were stored as differences are put together again. */
function view(buffer, at, { dtype, shape, xor }) {
  const count = shape.reduce((a, b) => a * b, 1);
  const data = new TYPES[dtype](buffer, at, count);
  if (xor && shape[0] > 1) {
    const bytes = new Uint8Array(buffer, at, data.byteLength);
    const row = bytes.length / shape[0];
    for (let i = row; i < bytes.length; i++) bytes[i] ^= bytes[i - row];
  }
  return { data, shape };
}

/** Row t of an array. */
export function row({ data, shape }, t) {
  const size = data.length / shape[0];
  return data.subarray(t * size, (t + 1) * size);
}

/** uint8[H * W * 3] of the frame of step t. */
export function frameOf(episode, t) {
  const { frames, palette } = episode.arrays;
  const pixels = row(frames, t);
  if (!palette) return pixels;
  const rgb = new Uint8Array(pixels.length * 3);
  for (let i = 0, o = 0; i < pixels.length; i++) {
    const colour = pixels[i] * 3;
    rgb[o++] = palette.data[colour];
    rgb[o++] = palette.data[colour + 1];
    rgb[o++] = palette.data[colour + 2];
  }
  return rgb;
}
