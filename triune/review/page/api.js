// Talks to the program: reads frames, sends actions one after the other.
//
// Knows: the addresses, how a refusal looks. Does not know what is shown. The token is part of the page's own address, so
// that plain relative names reach the program.

const PATIENCE = 20_000; // ms until a program that says nothing counts as gone

/** An answer that is not "done". `stale`: somebody else wrote first. `gone`: nobody answered. */
export class Refusal extends Error {
  constructor(message, status = 0, news = []) {
    super(message);
    this.stale = status === 409;
    this.gone = status === 0;
    this.news = news;
  }
}

async function ask(name, options) {
  let answer;
  try {
    answer = await fetch(name, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE), ...options });
  } catch {
    throw new Refusal("The program does not answer. Is `triune review` still running on this machine?");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Refusal(told.error ?? `refused (${answer.status})`, answer.status, told.news);
}

const post = (name, body) =>
  ask(name, { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).then((a) => a.json());

export const state = () => ask("state").then((answer) => answer.json());
export const frame = (index) => ask(`frame/${index}`).then((answer) => answer.json());
export const save = (index, revision, verdict, values) => post("save", { index, revision, verdict, values });
export const undo = (last) => post("undo", { last });
export const redo = (undone) => post("redo", { undone });
export const at = (film, place) => ask(`at/${film}/${place}`).then((answer) => answer.json()).then(({ index }) => index);

const pictures = new Map();

/** The frame's picture; the last few are kept. */
export function picture(index) {
  if (!pictures.has(index)) {
    const loading = ask(`picture/${index}`).then((answer) => answer.blob()).then((blob) => createImageBitmap(blob));
    pictures.set(index, loading);
    loading.catch(() => pictures.delete(index));
    if (pictures.size > 12) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(index);
}
