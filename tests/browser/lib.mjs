// What the browser tests stand on: TAP, hosts, waiting for conditions, a second terminal to compare with.
import {spawn} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import headless from '@xterm/headless';
import unicode11 from '@xterm/addon-unicode11';

export const BUILD = process.env.ODTO_BUILDDIR;
const SLOW = Number(process.env.ODTO_TEST_SLOW ?? 1);
export const ports = (process.env.ODTO_PORTS ?? '').split(',').map(Number); // free ones, held for us by the caller

// ---- TAP

const tests = [];
export const test = (name, fn) => tests.push({name, fn});
export class Skip extends Error {}

export async function run(words) {
  const chosen = tests.filter(t => words.length === 0 || words.some(w => t.name.includes(w)));
  console.log(`1..${chosen.length}`);
  let good = true;
  for (const [i, {name, fn}] of chosen.entries()) {
    const began = Date.now();
    try {
      await fn();
      console.log(`ok ${i + 1} - ${name} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
    } catch (e) {
      if (e instanceof Skip) {
        console.log(`ok ${i + 1} - ${name} # SKIP ${e.message}`);
        continue;
      }
      good = false;
      console.log(`not ok ${i + 1} - ${name}`);
      for (const line of String(e.stack ?? e).split('\n')) console.log(`# ${line}`);
    }
  }
  return good;
}

export function check(ok, what) {
  if (!ok) throw new Error(what);
}
export function equal(got, want, what = 'value') {
  const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
  if (g !== w) throw new Error(`${what}: got ${g?.slice(0, 1500)}, want ${w?.slice(0, 1500)}`);
}

export async function until(condition, what, seconds = 30) {
  const end = Date.now() + seconds * 1000 * SLOW;
  let last;
  for (;;) {
    try {
      last = await condition();
      if (last) return last;
    } catch (e) { last = e; }
    if (Date.now() > end) throw new Error(`not within ${seconds * SLOW} s: ${what} (last: ${String(last).slice(0, 3000)})`);
    await new Promise(done => setTimeout(done, 30));
  }
}

// ---- hosts

export class Host {
  constructor(sections, build = BUILD) {
    this.build = build;
    this.dir = mkdtempSync(join(tmpdir(), 'odto-browser-'));
    this.sections = {host: {data_dir: join(this.dir, 'data'), plugin_dir: join(build, '.libs'), shutdown_timeout: '5s'}, log: {level: 'info'}, ...sections};
    mkdirSync(join(this.dir, 'data'));
  }
  get log() { return existsSync(join(this.dir, 'log')) ? readFileSync(join(this.dir, 'log'), 'utf8') : ''; }

  async start(url) {
    const text = Object.entries(this.sections).map(([name, keys]) =>
      `[${name}]\n` + Object.entries(keys).map(([k, v]) => `${k} = ${v}\n`).join('')).join('\n');
    writeFileSync(join(this.dir, 'odto.ini'), text);
    const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(ODTO_|PTY_)|_URL$/.test(k)));
    this.child = spawn('sh', ['-c', 'exec "$0" -c "$1" >>"$2" 2>&1', join(this.build, 'odto-host'), join(this.dir, 'odto.ini'), join(this.dir, 'log')], {env, stdio: 'ignore'});
    this.ended = new Promise(done => this.child.once('exit', (code, signal) => { this.child = null; done(code ?? signal); }));
    await until(async () => {
      if (!this.child) throw new Error(this.log.slice(-2000));
      return (await fetch(url)).ok;
    }, `the host answers at ${url}`, 30);
    return this;
  }
  async stop(signal = 'SIGTERM') {
    this.child?.kill(signal);
    const status = await this.ended;
    return status;
  }
  async end() {
    await this.stop();
    rmSync(this.dir, {recursive: true, force: true});
  }

  // The processes the host started: the programs in its terminals.
  children() {
    const task = `/proc/${this.child.pid}/task`;
    return readdirSync(task).flatMap(t => {
      try { return readFileSync(`${task}/${t}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number); } catch { return []; }
    });
  }
}

// ---- the terminal to compare with: fed with what came over the page's socket

export class Second {
  constructor(cols, rows) {
    this.term = new headless.Terminal({cols, rows, allowProposedApi: true, scrollback: 5000});
    this.term.loadAddon(new unicode11.Unicode11Addon());
    this.term.unicode.activeVersion = '11';
    this.end = 0;
  }
  // A frame of odto.pty.v1.
  async take(payload) {
    const b = Buffer.from(payload), type = String.fromCharCode(b[0]);
    if (type === 'S') this.term.reset();
    if (type !== 'S' && type !== 'O') return;
    const data = b.subarray(9);
    this.end = Number(b.readBigUInt64LE(1)) + (type === 'O' ? data.length : 0);
    await new Promise(done => this.term.write(data, done));
  }
  screen() {
    const buffer = this.term.buffer.active, cells = [];
    for (let y = 0; y < this.term.rows; y++) {
      const line = buffer.getLine(buffer.baseY + y), row = [];
      for (let x = 0; x < this.term.cols; x++) {
        const c = line?.getCell(x);
        row.push(c ? [c.getChars(), c.getWidth(), c.getFgColorMode(), c.getFgColor(), c.getBgColorMode(), c.getBgColor(),
          c.isBold() ? 1 : 0, c.isInverse() ? 1 : 0, c.isUnderline() ? 1 : 0] : null);
      }
      cells.push(row);
    }
    return {cols: this.term.cols, rows: this.term.rows, type: buffer.type, x: buffer.cursorX, y: buffer.cursorY, cells};
  }
}

// An empty cell may be "" or a blank, and a colour that nothing shows is none.
const seen = c => c === null ? ' ' : JSON.stringify([c[0] || ' ', c[0].trim() || c[7] || c[8] ? c.slice(2, 4) : 0, c.slice(4)]);

export function differences(a, b) {
  if (a.cols !== b.cols || a.rows !== b.rows || a.type !== b.type) return [`${a.cols}x${a.rows} ${a.type} and ${b.cols}x${b.rows} ${b.type}`];
  const out = [];
  for (let y = 0; y < a.rows; y++)
    for (let x = 0; x < a.cols; x++)
      if (seen(a.cells[y][x]) !== seen(b.cells[y][x])) out.push(`${y},${x}: ${seen(a.cells[y][x])} and ${seen(b.cells[y][x])}`);
  if (a.x !== b.x || a.y !== b.y) out.push(`cursor ${a.y},${a.x} and ${b.y},${b.x}`);
  return out;
}

export const text = screen => screen.cells.map(row => row.map(c => c === null || c[1] === 0 ? '' : c[0] || ' ').join('').trimEnd()).join('\n');
