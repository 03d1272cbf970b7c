// The page in a real browser, before a real host: what a user sees and does.
import {createHash} from 'node:crypto';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {chromium} from 'playwright-core';
import {Broker} from './broker.mjs';
import {BUILD, Host, Second, Skip, check, differences, equal, ports, run, test, text, until} from './lib.mjs';

const [GATEWAY, PROCESSOR, MODEL, PAGE, BROKER, BROKER_HTTP] = ports;
const page_url = `http://127.0.0.1:${PAGE}/`;
const address = port => `127.0.0.1:${port}`;
const have = program => (process.env.ODTO_HAVE ?? '').split(',').includes(program);
let browser, system, broker = null, shell_dir;

// ---- what runs

async function startBroker(settings = {}, program = ['bash', '--norc', '--noprofile', '-i']) {
  await stopBroker();
  broker = new Host({'plugin pty': {listen: address(BROKER), listen_http: address(BROKER_HTTP), program: program[0],
    arguments: program.slice(1).map(a => `'${a}'`).join(' '), gateway_url: `http://${address(GATEWAY)}`,
    read_model_url: `http://${address(MODEL)}`, environment: `PS1=ready>, HISTFILE=/dev/null`, directory: shell_dir, ...settings}}, process.env.ODTO_BROKER_BUILD ?? BUILD);
  if (program.length === 1) delete broker.sections['plugin pty'].arguments;
  await broker.start(`http://${address(BROKER_HTTP)}/healthz`);
}
async function stopBroker(signal) {
  if (!broker) return;
  const b = broker;
  broker = null;
  await b.stop(signal);
  rmSync(b.dir, {recursive: true, force: true});
}

// ---- pages: each test has contexts of its own; what went wrong in any of them fails the test

async function visit(fn, options = {}) {
  const context = await browser.newContext({viewport: {width: 1000, height: 700}, colorScheme: 'dark', ...options});
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const p = await watch(await context.newPage(), options.allow ?? []);
  try {
    await p.goto(page_url + (options.query ?? ''));
    await fn(p, context);
    equal(p.wrong, [], 'errors in the page');
    equal(p.outside, [], 'requests to elsewhere');
  } catch (e) {
    if (process.env.ODTO_SCREENSHOTS) await p.screenshot({path: join(process.env.ODTO_SCREENSHOTS, 'failed.png')});
    throw e;
  } finally {
    await context.close();
  }
}

async function watch(p, allow) {
  p.wrong = [];
  p.outside = [];
  p.frames_in = [];
  p.sockets = 0;
  p.on('console', m => {
    if (m.type() === 'error' && !allow.some(a => m.text().includes(a))) p.wrong.push(m.text());
  });
  p.on('pageerror', e => p.wrong.push(e.message));
  p.on('request', r => { if (!r.url().startsWith(page_url)) p.outside.push(r.url()); });
  p.on('websocket', ws => {
    p.socket_url = ws.url();
    p.sockets++;
    ws.on('framereceived', f => p.frames_in.push(f.payload));
  });
  return p;
}
// a socket that can't be made or breaks is a message of the browser itself
const BROKEN = ['WebSocket connection to', 'Failed to load resource'];

const status = p => p.evaluate(() => window.__odtoTestHooks.getConnectionStatus());
const screenOf = p => p.evaluate(() => window.__odtoTestHooks.getScreen());
const screenText = async p => text(await screenOf(p));
const connected = p => until(async () => (await status(p)).connected, 'connected');
async function shows(p, want, seconds) {
  let last = '';
  await until(async () => (last = await screenText(p)).includes(want), `the terminal shows ${JSON.stringify(want)}`, seconds)
    .catch(e => { throw new Error(`${e.message}; it shows\n${last.trimEnd()}`); });
}
async function shell(p) {
  await connected(p);
  await shows(p, 'ready>');
}
async function type(p, line) {
  await p.locator('.xterm-helper-textarea').focus();
  await p.keyboard.type(line);
  await p.keyboard.press('Enter');
}
async function shot(p, name) {
  if (process.env.ODTO_SCREENSHOTS) await p.screenshot({path: join(process.env.ODTO_SCREENSHOTS, `${name}.png`)});
}
async function submit(n) {
  for (let i = 0; i < n; i++) {
    const r = await fetch(`http://${address(GATEWAY)}/jobs`, {method: 'POST', headers: {'Content-Type': 'application/json', Prefer: 'assign-id'},
      body: JSON.stringify({type: 'echo', payload: {n: i}})});
    equal(r.status, 202, 'status of a job');
  }
}

// ---- the tests

test('the dashboard of the running system: title, status, one script, nothing from elsewhere', async () => {
  await startBroker({}, [join(BUILD, 'odto-dashboard')]);
  await visit(async p => {
    equal(await p.title(), '📡 Distributed Task Observatory');
    await connected(p);
    equal(await p.locator('#connection-status').textContent(), 'Connected');
    check((await p.locator('#connection-status').getAttribute('class')).split(' ').includes('connected'), 'class connected');
    await shows(p, 'echo');
    equal(await p.locator('script').count(), 1, 'scripts');
    check((await p.locator('script').getAttribute('src')).includes('bundle'), 'bundle');
    equal(await p.locator('#keyboard-hints .hint kbd').allTextContents(), ['Q', 'R', 'N', 'U', 'L']);
    equal(await p.locator('#terminal-container #terminal .xterm').count(), 1);
    check(!await p.locator('#fallback-container').isVisible(), 'no fallback');
    equal(p.wrong, [], 'errors');
    await shot(p, 'dashboard-dark');
  });
});

test('typing, wide characters, a paste of 200 kB', async () => {
  await startBroker();
  await visit(async p => {
    await shell(p);
    await type(p, 'echo $((6*7))-answer');
    await shows(p, '42-answer');
    await p.keyboard.insertText('echo "Grüße 日本 🎈"');
    await p.keyboard.press('Enter');
    await shows(p, '\nGrüße 日本 🎈');
    await type(p, 'stty -echo; echo listening; head -c 199800 | md5sum; stty echo');
    await shows(p, '\nlistening');
    const long = 'abcdefghijklmnopqrstuvwxyz0123456789\n'.repeat(5400);
    await p.evaluate(t => {
      const data = new DataTransfer();
      data.setData('text/plain', t);
      document.querySelector('.xterm-helper-textarea').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
    }, long);
    await shows(p, createHash('md5').update(long).digest('hex'), 30);
  });
});

test('the window resizes: the program gets the new size', async () => {
  await startBroker();
  await visit(async p => {
    await shell(p);
    for (const [width, height] of [[700, 500], [1200, 800]]) {
      await p.setViewportSize({width, height});
      await until(async () => {
        const s = await screenOf(p);
        await type(p, 'clear; stty size');
        return (await screenText(p)).includes(`${s.rows} ${s.cols}`);
      }, 'stty says so');
    }
  });
});

test('a reload and a lost connection: the same program, the same screen', async () => {
  await startBroker();
  await visit(async p => {
    await shell(p);
    await type(p, 'printf "\\033[1;31mred\\033[0m \\033[44mblue\\033[0m\\n"; echo pid-$$-');
    await shows(p, '\npid-');
    const pid = (await screenText(p)).match(/\npid-(\d+)-/)[1], before = await screenOf(p);
    const session = await p.evaluate(() => sessionStorage.getItem('pty_session'));
    for (const again of ['reload', 'loss']) {
      const sockets = p.sockets;
      if (again === 'reload') await p.reload(); else await p.evaluate(() => window.__odtoTestHooks.simulateDisconnect());
      await until(() => p.sockets > sockets, `a new socket after a ${again}`); // until then the page still says connected
      await connected(p);
      await until(async () => differences(before, await screenOf(p)).length === 0, `the same screen after a ${again}`).catch(async e => {
        throw new Error(`${e.message}\n${differences(before, await screenOf(p)).slice(0, 10).join('\n')}`);
      });
      equal(await p.evaluate(() => sessionStorage.getItem('pty_session')), session, 'session');
      equal((await status(p)).reconnectAttempts, 0, 'attempts');
    }
    await type(p, 'echo again-$$-');
    await shows(p, `\nagain-${pid}-`);
    // what is said while nobody looks comes exactly once
    await type(p, 'for i in 1 2 3 4 5 6 7 8; do sleep 0.3; echo tick-$i; done');
    await shows(p, 'tick-1');
    await p.evaluate(() => window.__odtoTestHooks.simulateDisconnect());
    await shows(p, 'tick-8');
    equal((await screenText(p)).match(/\ntick-\d/g).map(t => t.slice(-1)).join(''), '12345678');
  }, {allow: BROKEN});
});

test('the program ends: the page says so, and starts a new one when asked', async () => {
  await startBroker();
  await visit(async p => {
    await shell(p);
    await type(p, 'exit');
    await p.locator('#ended').waitFor({state: 'visible'});
    equal(await p.locator('#connection-status').textContent(), 'Disconnected');
    equal((await status(p)).intentionalClose, true);
    await shot(p, 'ended');
    await p.locator('#restart-button').click();
    await shell(p);
    check(!await p.locator('#ended').isVisible(), 'the message is gone');
  });
});

const programs = {
  htop: {argv: ['htop', '-d', '100'], want: 'PID', keys: ['ArrowDown', 'ArrowDown']},
  less: {argv: ['less', '-N', 'sample.txt'], want: 'line 1 ', keys: [' ', '/', ...'line 77'.split(''), 'Enter']},
  nano: {argv: ['nano', 'sample.txt'], want: 'line 1 ', keys: ['ArrowDown', 'x', 'y']},
  mc: {argv: ['mc', '-b', '.', '.'], want: 'sample', keys: ['ArrowDown', 'Tab']},
  'odto-dashboard': {argv: [join(BUILD, 'odto-dashboard')], want: 'echo', keys: ['?']},
};
for (const [name, {argv, want, keys}] of Object.entries(programs)) {
  test(`${name}: cell by cell as another terminal has it, live and after a reload`, async () => {
    if (name !== 'odto-dashboard' && !have(name)) throw new Skip(`${name} is not installed (Debian package ${name})`);
    await startBroker({}, argv);
    await visit(async p => {
      await connected(p);
      await shows(p, want);
      const s = await screenOf(p), second = new Second(s.cols, s.rows);
      await p.locator('.xterm-helper-textarea').focus();
      for (const k of keys) await p.keyboard.press(k);
      const same = async what => {
        let left = [];
        await until(async () => {
          while (p.frames_in.length) await second.take(p.frames_in.shift());
          left = differences(second.screen(), await screenOf(p));
          return left.length === 0 && p.frames_in.length === 0;
        }, what, 10).catch(e => { throw new Error(`${e.message}\n${left.slice(0, 10).join('\n')}\n${text(second.screen())}`); });
      };
      await until(() => quiet(p), 'the program is quiet', 20);
      await same('live');
      const [pid] = broker.children();
      process.kill(pid, 'SIGSTOP'); // nothing moves from here on
      try {
        await until(() => quiet(p), 'the program has stopped');
        await same('stopped');
        const frozen = second.screen();
        await p.reload();
        await connected(p);
        let left;
        await until(async () => (left = differences(frozen, await screenOf(p))).length === 0, 'restored').catch(e => {
          throw new Error(`${e.message}\n${left.slice(0, 10).join('\n')}`);
        });
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    });
  });
}
async function quiet(p) {
  const n = p.frames_in.length;
  await new Promise(done => setTimeout(done, 400));
  return p.frames_in.length === n;
}

test('a token: asked for, refused when wrong, kept in a cookie no script can read', async () => {
  await startBroker({auth_token: 'correct-horse'});
  await visit(async (p, context) => {
    const dialog = p.locator('#login');
    await dialog.waitFor({state: 'visible'});
    await shot(p, 'login');
    await p.locator('#login-token').fill('wrong');
    await p.locator('#login-token').press('Enter');
    await until(async () => (await p.locator('#login-error').textContent()).includes('not the right one'), 'the wrong token is refused');
    await p.locator('#login-token').fill('correct-horse');
    await p.locator('#login-token').press('Enter');
    await shell(p);
    check(!await dialog.isVisible(), 'the dialog is gone');
    const [cookie] = (await context.cookies(`${page_url}ws`)).filter(c => c.name === 'odto_auth');
    equal([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/ws']);
    const kept = await p.evaluate(() => JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie, location.href, window.__odtoWs.url]));
    check(!kept.includes('correct-horse'), 'no script has the token');
    await p.reload();
    await shell(p);
    await p.locator('#logout-button').click();
    await dialog.waitFor({state: 'visible'});
    equal((await screenText(p)).trim(), '', 'the screen');
    await p.locator('#login-cancel').click();
    await until(async () => (await p.locator('#fallback-reason').textContent()).includes('You are not logged in'), 'the reason');
    check(!(await p.locator('#fallback-container').textContent()).includes('Connecting'), 'nothing connects, nor says so');
    await p.reload();
    await dialog.waitFor({state: 'visible'});
    await p.locator('#logout-button').waitFor({state: 'hidden'});
    check(!system.log.includes('correct-horse') && !broker.log.includes('correct-horse'), 'the token is in no log');
  }, {allow: BROKEN});
});

test('caps: who comes too late is told so, sees figures, and gets in when there is room', async () => {
  await startBroker({global_cap: 1, disconnect_grace: 0});
  await visit(async first => {
    await shell(first);
    await visit(async late => {
      await late.locator('#fallback-container').waitFor({state: 'visible'});
      await until(async () => (await late.locator('#fallback-reason').textContent()).includes('All terminals are in use'), 'the reason');
      equal((await status(late)).autoRetryActive, true);
      await type(first, 'exit');
      await first.locator('#ended').waitFor({state: 'visible'});
      await late.locator('#retry-button').click();
      await shell(late);
      check(!await late.locator('#fallback-container').isVisible(), 'the fallback is gone');
    }, {allow: BROKEN});
  });
});

test('read-only: looking and moving, no new task by key or paste', async () => {
  await startBroker({read_only: 'yes'}, [join(BUILD, 'odto-dashboard')]);
  await visit(async p => {
    await connected(p);
    await shows(p, 'echo');
    const before = await jobs();
    await p.locator('.xterm-helper-textarea').focus();
    await p.keyboard.press('n');
    await until(async () => /read-only/i.test(await p.locator('#notice').textContent()), 'the notice');
    await shot(p, 'read-only');
    await p.evaluate(() => {
      const data = new DataTransfer();
      data.setData('text/plain', 'necho\t{}\r');
      document.querySelector('.xterm-helper-textarea').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
    });
    await p.keyboard.press('?');
    await until(() => quiet(p), 'the program is quiet');
    check(!/New task.*Payload/is.test(await screenText(p)), 'no form');
    equal(await jobs(), before, 'jobs');
  });
});
const jobs = async () => (await (await fetch(`http://${address(MODEL)}/jobs?limit=500`)).text()).match(/"id"/g).length;

test('the terminal away: real figures, a plot, and back by itself', async () => {
  await startBroker();
  await visit(async p => {
    await shell(p);
    equal(await p.evaluate(() => window.__odtoTestHooks.getAutoRetryInterval()), 20000);
    await stopBroker('SIGKILL');
    await p.locator('#fallback-container').waitFor({state: 'visible'});
    equal(await p.locator('#fallback-container').evaluate(e => getComputedStyle(e).display), 'flex');
    equal(await p.locator('#fallback-container h2').textContent(), 'Terminal Unavailable');
    equal(await p.locator('#retry-button').textContent(), 'Retry Connection');
    equal(await p.locator('#fallback-stats .stat-grid .stat-item .stat-label').allTextContents(), ['Total Jobs', 'Pending', 'Completed']);
    const figure = async i => Number((await p.locator('#fallback-stats .stat-value').nth(i).textContent()).replaceAll(',', ''));
    const before = await until(() => figure(0), 'a figure');
    await submit(7);
    await until(async () => await figure(0) === before + 7, 'the figures follow');
    const stats = await (await fetch(`${page_url}api/stats`)).json();
    equal([await figure(0), await figure(1), await figure(2)], [stats.totalJobs, stats.pendingJobs, stats.completedJobs]);
    await p.locator('#fallback-plot .plot-line').waitFor({state: 'attached'});
    const s = await status(p);
    equal([s.connected, s.sessionActive, s.intentionalClose, s.autoRetryActive], [false, false, false, true]);
    check(s.reconnectAttempts > 0, 'attempts are counted');
    await shot(p, 'fallback-dark');
    await startBroker();
    await until(async () => (await status(p)).connected, 'connected again by itself', 30);
    check(!await p.locator('#fallback-container').isVisible(), 'the fallback is gone');
    equal([(await status(p)).autoRetryActive, (await status(p)).reconnectAttempts], [false, 0]);
  }, {allow: BROKEN});
});

test('the read model away as well: said so, and back', async () => {
  await stopBroker();
  await visit(async p => {
    await p.route('**/api/**', r => r.fulfill({status: 502, body: '{}'}));
    await p.locator('#fallback-container').waitFor({state: 'visible'});
    await until(async () => (await p.locator('.stat-loading').textContent()).includes("can't be reached either"), 'both are away');
    await p.unroute('**/api/**');
    await p.locator('#fallback-stats .stat-value').first().waitFor({state: 'visible'});
  }, {allow: BROKEN});
});

test('a broker of the JSON messages only', async () => {
  await stopBroker();
  const session = {type: 'session', sessionId: '7d444840-9dc0-41d1-b245-5ffdce74fad2', reconnectToken: 'a'.repeat(43)};
  const fake = new Broker(BROKER, c => {
    const q = c.url.searchParams;
    if (q.get('token') === 'b'.repeat(43)) {
      c.send({type: 'error', code: 'INVALID_TOKEN', message: 'no'});
      c.close(1008);
    } else if (q.get('session')) {
      c.send({...session, type: 'reconnected', reconnectToken: 'b'.repeat(43), restore_size: {cols: 80, rows: 24}});
      c.send({type: 'replay_begin', from_seq: 1});
      c.send({type: 'output', data: 'replayed ✓\r\n', seq: 1});
      c.send({type: 'replay_end', last_seq: 1});
    } else {
      c.send(session);
      c.send({type: 'output', data: 'fresh ✓\r\n', seq: 1});
      c.send({type: 'notice', message: '⚠ a notice'});
      c.send({type: 'unheard of', x: 1});
    }
  });
  await fake.ready;
  try {
    await visit(async p => {
      await connected(p);
      await shows(p, 'fresh ✓');
      equal(await p.locator('#notice').textContent(), '⚠ a notice');
      await p.keyboard.type('k');
      await until(() => fake.messages.some(m => m.type === 'input' && m.data === 'k'), 'input');
      const {cols, rows} = await screenOf(p);
      await until(() => fake.messages.some(m => m.type === 'resize' && m.cols === cols && m.rows === rows), 'resize');
      await p.evaluate(() => window.__odtoTestHooks.simulateDisconnect());
      await shows(p, 'replayed ✓');
      check(!(await screenText(p)).includes('fresh'), 'the replay begins from nothing');
      equal([fake.seen.at(-1).searchParams.get('session'), fake.seen.at(-1).searchParams.get('token')], [session.sessionId, session.reconnectToken]);
      equal(await p.evaluate(() => sessionStorage.getItem('pty_token')), 'b'.repeat(43), 'the rotated token is kept');
      await p.evaluate(() => window.__odtoTestHooks.simulateDisconnect());
      await shows(p, 'fresh ✓'); // the refused token led to a new session
      await p.reload();
      await shows(p, 'replayed ✓');
    }, {allow: BROKEN});
    await visit(async p => {
      await connected(p);
      equal(fake.seen.at(-1).searchParams.get('test_mode'), 'fail');
    }, {query: '?test_mode=fail', allow: BROKEN});
  } finally {
    await fake.close();
  }
});

test('attempts follow min(1000·1.5ⁿ, 30000) ms, one socket at a time', async () => {
  await stopBroker();
  await visit(async p => {
    const times = [];
    p.on('websocket', () => times.push(Date.now()));
    await until(() => times.length >= 4, 'four attempts', 30);
    const gaps = times.slice(1).map((t, i) => t - times[i]);
    const {reconnectAttempts} = await status(p);
    check(gaps.every((g, i) => i === 0 || g > gaps[i - 1] * 0.9), `longer each time: ${gaps}`);
    check(gaps[0] > 900 && reconnectAttempts >= 3, `${gaps} ${reconnectAttempts}`);
  }, {allow: BROKEN});
});

test('the clipboard: the terminal may write, never read', async () => {
  await startBroker();
  await visit(async p => {
    await shell(p);
    await type(p, "printf '\\033]52;c;%s\\a' $(printf from-odto | base64)");
    await until(async () => await p.evaluate(() => navigator.clipboard.readText()) === 'from-odto', 'written');
    await type(p, "stty -echo; printf '\\033]52;c;?\\a'; IFS= read -rsn1 -t 1 x; stty echo; echo answered-with-${#x}-");
    await shows(p, '\nanswered-with-0-');
  });
});

test('keyboard and screen reader', async () => {
  await startBroker();
  await visit(async p => {
    await shell(p);
    equal(await p.locator('#connection-status').getAttribute('aria-live'), 'polite');
    await p.locator('.xterm-helper-textarea').focus();
    await p.keyboard.press('Shift+Escape');
    equal(await p.evaluate(() => document.activeElement.id), 'font-smaller', 'the way out of the terminal');
    const visited = [];
    for (let i = 0; i < 3; i++) {
      await p.keyboard.press('Tab');
      visited.push(await p.evaluate(() => document.activeElement.id));
    }
    equal(visited, ['font-larger', 'theme-toggle', 'reader-toggle']);
    await p.keyboard.press('Enter');
    equal(await p.locator('#reader-toggle').getAttribute('aria-pressed'), 'true');
    await type(p, 'echo for the reader');
    await until(async () => (await p.locator('.xterm-accessibility').textContent()).includes('for the reader'), 'the text is there to read');
    for (const button of await p.locator('button:visible').all()) {
      check((await button.getAttribute('aria-label')) ?? (await button.textContent()).trim(), 'each button has a name');
    }
  });
});

test('mobile width, light and dark, little motion', async () => {
  await startBroker({}, [join(BUILD, 'odto-dashboard')]);
  const backs = [];
  for (const colorScheme of ['light', 'dark']) {
    await visit(async p => {
      await connected(p);
      await shows(p, 'echo');
      const {cols} = await screenOf(p);
      check(cols >= 60, `${cols} columns`);
      check(await p.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the screen');
      check(await p.locator('.touch').isVisible(), 'keys for touch');
      backs.push(await p.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await shot(p, `mobile-${colorScheme}`);
      await p.locator('.hint[data-key="n"]').tap();
      await shows(p, 'New task');
    }, {viewport: {width: 390, height: 800}, isMobile: true, hasTouch: true, colorScheme, reducedMotion: 'reduce'});
  }
  check(backs[0] !== backs[1], 'light and dark differ');
  await stopBroker();
  await visit(async p => {
    await p.locator('#fallback-stats .stat-value').first().waitFor({state: 'visible'});
    check(await p.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the screen');
    equal(await p.locator('.status-dot').evaluate(e => getComputedStyle(e).animationName), 'none');
    await p.locator('#fallback-plot .plot-line').waitFor({state: 'attached'});
    await shot(p, 'mobile-fallback-light');
  }, {viewport: {width: 390, height: 800}, isMobile: true, hasTouch: true, colorScheme: 'light', reducedMotion: 'reduce', allow: BROKEN});
});

test('with WebGL where there is, and its loss', async () => {
  await startBroker();
  const other = await chromium.launch(launch(['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']));
  try {
    const p = await watch(await other.newPage(), []);
    await p.goto(page_url);
    await shell(p);
    if (await p.evaluate(() => window.__odtoTestHooks.getRenderer()) !== 'webgl') throw new Skip('this Chromium has no WebGL');
    await p.evaluate(() => document.querySelectorAll('#terminal canvas').forEach(c => c.getContext('webgl2')?.getExtension('WEBGL_lose_context')?.loseContext()));
    await until(async () => await p.evaluate(() => window.__odtoTestHooks.getRenderer()) === 'dom', 'the DOM renderer takes over');
    await type(p, 'echo still-$((1+1))-here');
    await until(async () => (await p.locator('.xterm-rows').textContent()).includes('still-2-here'), 'it is drawn');
    equal(p.wrong, [], 'errors in the page');
  } finally {
    await other.close();
  }
});

// ---- all of them

shell_dir = mkdtempSync(join(tmpdir(), 'odto-browser-shell-'));
writeFileSync(join(shell_dir, 'sample.txt'), Array.from({length: 200}, (_, i) => `line ${i + 1} — äöü 日本語 ${'·'.repeat(i % 40)}\n`).join(''));
const user_data = mkdtempSync(join(tmpdir(), 'odto-browser-chromium-'));
const launch = more => ({executablePath: process.env.ODTO_CHROMIUM, args: ['--no-sandbox', '--headless', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
  `--disk-cache-dir=${user_data}`, ...more]});
let good = false;
try {
  system = await new Host({
    'store main': {module: 'sqlite'},
    'route jobs.created': {transport: 'memory', dead_letter: 'jobs.failed.validation'},
    'route jobs.completed': {transport: 'memory', dead_letter: 'jobs.failed.validation'},
    'route jobs.failed.validation': {transport: 'memory'},
    'handler builtin': {types: 'echo, sleep, fail'},
    'plugin gateway': {listen: address(GATEWAY)},
    'plugin processor': {listen: address(PROCESSOR), jobs: 'main'},
    'plugin metrics': {counters: 'main', events: 'main'},
    'plugin read-model': {listen: address(MODEL), jobs: 'main', counters: 'main', events: 'main'},
    'plugin web': {listen: address(PAGE), broker_url: `ws://${address(BROKER)}/ws`, read_model_url: `http://${address(MODEL)}`},
  }).start(`${page_url}health`);
  browser = await chromium.launch(launch(['--disable-gpu', '--disable-webgl'])); // drawn in software it takes all of a small machine
  await submit(5);
  good = await run(process.argv.slice(2));
} catch (e) {
  console.log(`Bail out! ${String(e.message).split('\n')[0]}`);
  console.log(String(e.stack).replace(/^/gm, '# '));
} finally {
  await browser?.close();
  await stopBroker();
  await system?.end();
  for (const d of [shell_dir, user_data]) rmSync(d, {recursive: true, force: true});
}
process.exit(good ? 0 : 1);
