// Writes lines {"schema","data","errors":[[path,message]...]} with the verdicts of ajv 8 (allErrors).
const Ajv = require("ajv").default, addFormats = require("ajv-formats").default;
let seed = Number(process.argv[2] || 1), want = Number(process.argv[3] || 400), per = Number(process.argv[4] || 3);
function rnd() { seed = (seed + 0x6D2B79F5) | 0; let t = Math.imul(seed ^ (seed >>> 15), 1 | seed); t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t; return ((t ^ (t >>> 14)) >>> 0) / 4294967296; }
const pick = a => a[Math.floor(rnd() * a.length)], chance = p => rnd() < p, int = n => Math.floor(rnd() * n);
const names = ["a", "b", "c", "id", "x/y", "t~l"], words = ["", "a", "ab", "abc", "héé", "zzzz", "12"];
const types = ["null", "boolean", "integer", "number", "string", "array", "object"];
function value(d) {
  switch (int(d > 0 ? 8 : 6)) {
    case 0: return null; case 1: return chance(.5); case 2: return int(8) - 2; case 3: return pick([0.5, 1.5, 2.25, 3.0]);
    case 4: case 5: return pick(words);
    case 6: return Array.from({length: int(4)}, () => value(d - 1));
    default: { const o = {}; for (let i = int(4); i > 0; i--) o[pick(names)] = value(d - 1); return o; }
  }
}
const keywords = {
  const: d => value(1), enum: d => [...new Set([value(0), value(0), pick(words)].map(x => JSON.stringify(x)))].map(x => JSON.parse(x)), not: d => schema(d - 1), anyOf: d => list(d), oneOf: d => list(d), allOf: d => list(d),
  if: d => schema(d - 1), then: d => schema(d - 1), else: d => schema(d - 1),
  maximum: d => int(5), minimum: d => int(5), exclusiveMaximum: d => int(5), exclusiveMinimum: d => int(5), multipleOf: d => pick([2, 3, 0.5]),
  maxLength: d => int(4), minLength: d => int(4), pattern: d => pick(["^a", "b$", "^\\d+$", "é"]), format: d => pick(["uuid", "date-time", "ipv4"]),
  maxItems: d => int(4), minItems: d => int(4), uniqueItems: d => true, contains: d => schema(d - 1),
  items: d => chance(.5) ? schema(d - 1) : list(d), additionalItems: d => chance(.5) ? false : schema(d - 1),
  maxProperties: d => int(4), minProperties: d => int(4), required: d => [...new Set([pick(names), pick(names)])],
  propertyNames: d => schema(d - 1), additionalProperties: d => chance(.5) ? false : schema(d - 1),
  dependencies: d => Object.fromEntries([[pick(names), chance(.5) ? [...new Set([pick(names), pick(names)])] : schema(d - 1)], [pick(names), [pick(names)]]]),
  properties: d => Object.fromEntries(Array.from({length: 1 + int(3)}, () => [pick(names), schema(d - 1)])),
  patternProperties: d => Object.fromEntries([[pick(["^a", "[bc]", "/"]), schema(d - 1)]]),
};
function list(d) { return Array.from({length: 1 + int(3)}, () => schema(d - 1)); }
function schema(d) {
  if (chance(.06)) return chance(.5);
  const s = {};
  if (chance(.5)) s.type = chance(.75) ? pick(types) : [...new Set([pick(types), pick(types)])];
  const all = Object.keys(keywords);
  for (let i = d > 0 ? 1 + int(4) : 1; i > 0; i--) { const k = pick(all); if (d > 0 || !/Of|not|if|then|else|items|Items|contains|propert|Propert|dependencies/.test(k)) s[k] = keywords[k](d); }
  return s;
}
let out = 0;
while (out < want) {
  const s = schema(2);
  const ajv = new Ajv({allErrors: true, strict: false, logger: false}); addFormats(ajv);
  let v; try { v = ajv.compile(s); } catch (e) { continue; }
  for (let i = 0; i < per; i++) {
    let data = value(3);
    if (s.type === "object" && chance(.7)) { data = {}; for (const n of names) if (chance(.5)) data[n] = value(2); }
    if (s.type === "array" && chance(.7)) data = Array.from({length: int(5)}, () => value(1));
    const ok = v(data), errors = (v.errors || []).map(e => [e.instancePath || "/", e.message]);
    if (ok && chance(.6)) continue;
    console.log(JSON.stringify({schema: s, data, errors})); out++;
  }
}
