// The page: joins terminal, connection, fallback and login, and offers the hooks of the contract.
import './styles.js';
import {AUTO_RETRY_MS, Connection} from './connection.js';
import {Fallback} from './fallback.js';
import {Login} from './login.js';
import {Screen} from './terminal.js';
import {setUpTools} from './tools.js';

const byId = id => document.getElementById(id);
const SNAPSHOT_MAX = 256 * 1024, NOTICE_MS = 6000;
const TEXTS = {connected: 'Connected', disconnected: 'Disconnected', connecting: 'Connecting...'};

// ---- what is shown

function showStatus(status) {
  const e = byId('connection-status');
  e.className = `connection-status ${status}`;
  e.querySelector('.status-text').textContent = TEXTS[status];
  e.querySelector('.status-dot').classList.toggle('pulse', status === 'connecting');
}

let noticeTimer = 0;
function notify(text, button) {
  const e = byId('notice');
  clearTimeout(noticeTimer);
  e.replaceChildren(text, ...(button ? [button] : []));
  e.hidden = false;
  noticeTimer = setTimeout(() => { e.hidden = true; }, button ? 4 * NOTICE_MS : NOTICE_MS);
}

// A browser lets a page write to the clipboard only while somebody clicks.
function offerCopy(text) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'btn';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    try { await navigator.clipboard.writeText(text); notify('Copied.'); } catch { notify('This browser does not let the page copy.'); }
  });
  notify(`The terminal wants to copy ${text.length} characters. `, button);
}

function showEnded(text, title = 'The session has ended') {
  byId('ended-title').textContent = title;
  byId('ended-reason').textContent = text || 'The program in the terminal was closed.';
  byId('ended').hidden = false;
  byId('restart-button').focus();
}

// ---- the parts

const screen = new Screen(byId('terminal'), {
  input: text => connection.input(text),
  resized: (cols, rows) => connection.resize(cols, rows),
  offerCopy,
});

const connection = new Connection({
  size: () => screen.size,
  status: showStatus,
  output(data, reset, taken) {
    if (reset) screen.reset();
    if (data.length) screen.write(data, taken ?? undefined);
  },
  notice: text => notify(text),
  outage(reason) {
    if (reason === null) fallback.hide(); else fallback.show(reason);
  },
  login(code, text) {
    loggedIn(false);
    login.ask(code, text);
  },
  ended: showEnded,
});

const fallback = new Fallback(() => connection.retryIn);

// The cookie itself can't be read here; that there is one is remembered for as long.
const loggedIn = yes => {
  byId('logout-button').hidden = !yes;
  if (yes) localStorage.setItem('odto_logged_in', '1'); else localStorage.removeItem('odto_logged_in');
};

const login = new Login({
  accepted() {
    loggedIn(true);
    connection.retry();
    screen.focus();
  },
  cancelled: () => fallback.show('You are not logged in.'),
});

setUpTools(screen, text => connection.input(text));
byId('retry-button').addEventListener('click', () => connection.retry());
byId('restart-button').addEventListener('click', () => {
  byId('ended').hidden = true;
  connection.retry();
  screen.focus();
});
byId('logout-button').addEventListener('click', async () => {
  connection.close();
  await login.logout();
  loggedIn(false);
  screen.reset();
  sessionStorage.removeItem('pty_snapshot');
  login.ask('AUTH_REQUIRED', '');
});

// ---- across a reload

const snapshot = sessionStorage.getItem('pty_snapshot');
if (snapshot && sessionStorage.getItem('pty_session')) screen.write(snapshot);
window.addEventListener('pagehide', () => {
  if (!connection.sessionActive) return;
  const text = screen.snapshot();
  if (text.length <= SNAPSHOT_MAX) sessionStorage.setItem('pty_snapshot', text);
});

window.__odtoTestHooks = {
  getConnectionStatus: () => ({
    connected: connection.connected,
    sessionActive: connection.sessionActive,
    reconnectAttempts: connection.attempts,
    intentionalClose: connection.intentional,
    autoRetryActive: connection.autoRetry,
  }),
  simulateDisconnect: () => connection.simulateDisconnect(),
  triggerRetry: () => connection.retry(),
  getAutoRetryInterval: () => AUTO_RETRY_MS,
  getScreen: () => screen.cells(),
  getRenderer: () => screen.renderer,
};

loggedIn(localStorage.getItem('odto_logged_in') === '1');
connection.open();
screen.focus();
