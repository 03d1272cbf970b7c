// What is shown while there is no terminal: the figures of the read model, a plot of what gets done, the latest jobs.
const EVERY_MS = 2000, TIMEOUT_MS = 5000, KEPT = 150; // five minutes
const WIDTH = 600, HEIGHT = 140, FOOT = 6;

function make(name, attributes = {}, ...children) {
  const e = name.startsWith('svg:') ? document.createElementNS('http://www.w3.org/2000/svg', name.slice(4)) : document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

const figure = n => Number.isFinite(n) ? n.toLocaleString('en') : '–';

async function getJson(path) {
  const r = await fetch(path, {signal: AbortSignal.timeout(TIMEOUT_MS), cache: 'no-store', headers: {Accept: 'application/json'}});
  if (!r.ok) throw new Error(`${path} answered ${r.status}`);
  return r.json();
}

export class Fallback {
  #root = document.getElementById('fallback-container');
  #stats = document.getElementById('fallback-stats');
  #plot = document.getElementById('fallback-plot');
  #caption = document.getElementById('plot-caption');
  #jobs = document.getElementById('fallback-jobs');
  #next = document.getElementById('fallback-next');
  #reason = document.getElementById('fallback-reason');
  #samples = [];
  #timer = 0;
  #clock = 0;

  constructor(retryIn) {
    this.retryIn = retryIn;
    document.addEventListener('visibilitychange', () => this.shown && !document.hidden && this.#refresh());
  }

  get shown() { return !this.#root.hidden; }

  show(reason) {
    this.#reason.textContent = reason ? `${reason} These figures come straight from the read model.`
      : "The terminal can't be reached. These figures come straight from the read model.";
    if (this.shown) return;
    this.#root.hidden = false;
    this.#root.style.display = 'flex';
    this.#refresh();
    this.#clock = setInterval(() => this.#tick(), 500);
    this.#tick();
  }

  hide() {
    this.#root.hidden = true;
    this.#root.style.display = 'none';
    clearTimeout(this.#timer);
    clearInterval(this.#clock);
  }

  #tick() {
    const ms = this.retryIn();
    this.#next.textContent = ms === undefined ? '' : ms === null ? 'Connecting …' : `Next try in ${Math.ceil(ms / 1000)} s`;
  }

  async #refresh() {
    clearTimeout(this.#timer);
    try {
      const stats = await getJson('api/stats');
      this.#showStats(stats);
      this.#sample(stats);
    } catch (e) {
      this.#failed(e);
    }
    await this.#refreshJobs();
    clearTimeout(this.#timer);
    if (this.shown && !document.hidden) this.#timer = setTimeout(() => this.#refresh(), EVERY_MS);
  }

  #showStats(s) {
    const items = [['Total Jobs', s.total_jobs ?? s.totalJobs], ['Pending', s.pending_jobs ?? s.pendingJobs],
      ['Completed', s.completed_jobs ?? s.completedJobs]];
    let values = this.#stats.querySelectorAll('.stat-value');
    if (values.length !== items.length) {
      this.#stats.replaceChildren(make('dl', {class: 'stat-grid'}, ...items.map(([label]) =>
        make('div', {class: 'stat-item'}, make('dt', {class: 'stat-label'}, label), make('dd', {class: 'stat-value'})))));
      values = this.#stats.querySelectorAll('.stat-value');
    }
    items.forEach(([, n], i) => { values[i].textContent = figure(n); });
    this.#stats.classList.remove('stale');
  }

  #failed(e) {
    const text = `The read model can't be reached either (${e.name === 'TimeoutError' ? 'no answer' : e.message}). Trying again …`;
    if (this.#samples.length === 0) this.#stats.replaceChildren(make('p', {class: 'stat-loading'}, text));
    else this.#stats.classList.add('stale');
    this.#caption.textContent = text;
  }

  // ---- the plot: jobs finished a second

  #sample(s) {
    const at = performance.now(), done = s.total_jobs ?? s.totalJobs, failed = s.failed_jobs ?? s.failedJobs;
    const last = this.#samples.at(-1);
    const rate = last && at > last.at ? Math.max(0, (done - last.done) * 1000 / (at - last.at)) : null;
    this.#samples.push({at, done, rate});
    if (this.#samples.length > KEPT) this.#samples.shift();
    this.#draw(failed);
  }

  #draw(failed) {
    const rates = this.#samples.map(s => s.rate).filter(r => r !== null);
    const seconds = Math.round((this.#samples.length - 1) * EVERY_MS / 1000);
    const now = rates.at(-1) ?? 0, top = Math.max(0, ...rates), scale = Math.max(1, top);
    this.#caption.textContent = rates.length === 0 ? 'Jobs finished a second: one more moment …'
      : `Jobs finished a second over ${seconds} s: ${now.toFixed(1)} now, ${top.toFixed(1)} at most. ${figure(failed)} failed in all.`;
    const x = i => rates.length < 2 ? WIDTH : WIDTH * i / (rates.length - 1), y = r => HEIGHT - FOOT - (HEIGHT - 2 * FOOT) * r / scale;
    const line = rates.map((r, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(r).toFixed(1)}`).join('');
    const grid = [0.25, 0.5, 0.75].map(k => make('svg:line', {class: 'plot-grid', x1: 0, x2: WIDTH, y1: HEIGHT * k, y2: HEIGHT * k}));
    this.#plot.replaceChildren(...grid, ...(rates.length > 1 ? [
      make('svg:path', {class: 'plot-area', d: `${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`}),
      make('svg:path', {class: 'plot-line', d: line})] : []));
  }

  // ---- the latest jobs

  async #refreshJobs() {
    let jobs;
    try { jobs = await getJson('api/jobs/recent?limit=5'); } catch { return; }
    if (!Array.isArray(jobs) || jobs.length === 0) return this.#jobs.replaceChildren();
    const row = j => make('tr', {}, make('td', {class: 'mono'}, String(j.id).slice(-8)), make('td', {}, String(j.type)),
      make('td', {class: `job-${String(j.status).toLowerCase().replace(/[^a-z]/g, '')}`}, String(j.status).toLowerCase()),
      make('td', {class: 'mono'}, new Date(j.createdAt).toLocaleTimeString()));
    return this.#jobs.replaceChildren(make('table', {}, make('caption', {}, 'Latest jobs'),
      make('thead', {}, make('tr', {}, ...['Job', 'Type', 'Status', 'Created'].map(h => make('th', {scope: 'col'}, h)))),
      make('tbody', {}, ...jobs.slice(0, 5).map(row))));
  }
}
