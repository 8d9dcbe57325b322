// What a bundle can do: one of some named actions, or a value for each named control. The others never ask which.
//
// An action here is a number (an index into the names) or a Float32Array. Knows no files and no elements.

// Of a control's range. A browser sums float32 in another order than the machine that recorded, so that scenes differ by
// up to a thousandth of a pixel, and controls by that times the policy's gain.
const ROUNDING = 1e-3;

/** {names, controls, of(data), at(array, t), same(a, b), tell(action)} of a manifest. `controls`: [{name, low, high}], or
 *  null where actions are named. */
export function actionsOf({ actions: names, controls }) {
  if (!controls)
    return {
      names,
      controls: null,
      of: (data) => Number(data[0]),
      at: ({ data }, t) => data[t],
      same: (a, b) => a === b,
      tell: (action) => names[action],
    };
  const list = names.map((name) => ({ name, low: controls[name][0], high: controls[name][1] }));
  return {
    names,
    controls: list,
    of: (data) => Float32Array.from(data),
    at: ({ data }, t) => data.subarray(t * names.length, (t + 1) * names.length),
    same: (a, b) =>
      list.every(({ low, high }, i) => Math.abs(a[i] - b[i]) <= ROUNDING * Math.max(high - low, Math.abs(b[i]))),
    tell: (action) => list.map(({ name }, i) => `${name} ${signed(action[i])}`).join(", "),
  };
}

/** A control's value for people. */
export const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
