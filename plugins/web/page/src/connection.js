// One terminal session and the sockets it lives through: at most one at a time, each lost one followed by another
// after min(1000·1.5ⁿ, 30000) ms; n is set back only when the broker has given us a session.
//
// handlers: status(text), output(data, reset, taken), notice(text), outage(reason | null), login(code, text),
// ended(text), size() → {cols, rows}

import {BinaryWire, JsonWire} from './protocol.js';

export const AUTO_RETRY_MS = 20000;
const GRACE_MS = 4000;       // an outage that lasts longer is shown
const HANDSHAKE_MS = 10000;  // from the socket to the session message
const ACK_BYTES = 64 * 1024, ACK_MS = 100;

export const backoff = n => Math.min(1000 * 1.5 ** n, 30000);

// What the broker said, in words for people.
const REASONS = {
  GLOBAL_CAP: 'All terminals are in use.',
  PER_IP_CAP: 'You have as many terminals open as are allowed.',
  PTY_SPAWN_FAILED: 'The program of the terminal could not be started.',
};

export class Connection {
  socket = null;
  attempts = 0;
  intentional = false;
  autoRetry = false;
  #handlers; #wire = null; #binary = true; #timer = 0; #grace = 0; #handshake = 0; #due = 0;
  #session = null; #live = false; #error = null; #exit = null; #acked = 0; #offset = null; #ackTimer = 0;

  constructor(handlers) {
    this.#handlers = handlers;
    const id = sessionStorage.getItem('pty_session'), token = sessionStorage.getItem('pty_token');
    if (id && token) this.#session = {id, token, offset: null};
    window.addEventListener('online', () => this.#live || this.intentional || this.retry());
  }

  get connected() { return this.#live; }
  get sessionActive() { return this.#live && this.#session !== null; }
  // ms until the next try; null: under way; undefined: none is due
  get retryIn() { return this.#timer ? Math.max(0, this.#due - Date.now()) : this.socket ? null : undefined; }

  // ---- the socket's life

  open() {
    if (this.socket) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.intentional = false;
    this.#error = this.#exit = null;
    this.#handlers.status('connecting');
    this.#watchOutage();
    const wire = this.#wire = this.#binary ? new BinaryWire() : new JsonWire();
    const socket = this.socket = window.__odtoWs = new WebSocket(this.#url(), wire.constructor.subprotocols);
    socket.binaryType = 'arraybuffer';
    acceptJson(socket, wire);
    this.#handshake = setTimeout(() => this.#drop(socket, 'no answer'), HANDSHAKE_MS);
    socket.onopen = () => this.#send(wire.hello(this.#session, this.#handlers.size()));
    socket.onmessage = e => this.socket === socket && this.#take(wire.read(e.data));
    socket.onclose = e => this.#closed(socket, e.code, e.reason);
  }

  #url() {
    const url = new URL('ws', document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const test = new URLSearchParams(location.search).get('test_mode');
    const query = {...this.#wire?.query(this.#session), ...(test ? {test_mode: test} : {})};
    for (const [k, v] of Object.entries(query)) url.searchParams.set(k, v);
    return url;
  }

  #drop(socket, why) {
    if (this.socket !== socket) return;
    socket.onclose = null;
    socket.close();
    this.#closed(socket, 4000, why);
  }

  // Try again now, whatever was planned.
  retry() {
    if (this.socket) this.#drop(this.socket, 'tried again');
    clearTimeout(this.#timer);
    this.open();
  }

  // The user wants no terminal (any more).
  close() {
    this.intentional = true;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#forget();
    if (this.socket) this.socket.close(1000);
  }

  simulateDisconnect() {
    this.socket?.close(4000, 'simulated');
  }

  // ---- messages

  #send(message) {
    if (message === null || this.socket?.readyState !== WebSocket.OPEN) return;
    for (const m of Array.isArray(message) ? message : [message]) this.socket.send(m);
  }
  input(text) { if (this.#live) this.#send(this.#wire.input(text)); }
  resize(cols, rows) { if (this.#live) this.#send(this.#wire.resize(cols, rows)); }

  #take(event) {
    switch (event?.kind) {
      case 'session': return this.#began(event);
      case 'reset': return this.#handlers.output('', true, null);
      case 'output': return this.#output(event);
      case 'notice': return this.#handlers.notice(event.text);
      case 'error': this.#error = event; return undefined;
      case 'exit': this.#exit = event; return undefined;
      default: return undefined;
    }
  }

  #began(event) {
    clearTimeout(this.#handshake);
    clearTimeout(this.#grace);
    this.#grace = 0;
    const fresh = this.#session?.id !== event.session;
    this.#session = {id: event.session, token: event.token, offset: fresh ? null : this.#session.offset};
    sessionStorage.setItem('pty_session', event.session);
    sessionStorage.setItem('pty_token', event.token);
    this.attempts = 0;
    this.#live = true;
    this.autoRetry = false;
    if (fresh) this.#handlers.output('', true, null);
    this.#handlers.outage(null);
    this.#handlers.status('connected');
    const {cols, rows} = this.#handlers.size();
    this.#send(this.#wire.resize(cols, rows));
  }

  #output({data, end, reset}) {
    const wire = this.#wire;
    this.#handlers.output(data, Boolean(reset), end === null ? null : () => {
      if (!this.#session || wire !== this.#wire) return;
      this.#session.offset = this.#offset = end;
      if (end - this.#acked >= ACK_BYTES || end < this.#acked) this.#ack();
      else this.#ackTimer ||= setTimeout(() => this.#ack(), ACK_MS);
    });
  }

  #ack() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = 0;
    if (this.#offset === null || !this.#live) return;
    this.#acked = this.#offset;
    this.#send(this.#wire.ack(this.#offset));
  }

  // ---- the end of a socket, and what comes then

  #forget() {
    this.#session = null;
    this.#offset = null;
    this.#acked = 0;
    for (const k of ['pty_session', 'pty_token', 'pty_snapshot']) sessionStorage.removeItem(k);
  }

  #closed(socket, code, reason) {
    if (this.socket !== socket) return;
    clearTimeout(this.#handshake);
    this.socket = null;
    const was = this.#live, error = this.#error;
    this.#live = false;
    this.#handlers.status('disconnected');
    if (this.intentional) return;
    if (code === 4406 && this.#binary) { // the broker knows the JSON messages only
      this.#binary = false;
      this.open();
    } else if (error?.code === 'AUTH_REQUIRED' || error?.code === 'AUTH_FAILED') {
      this.#stopped();
      this.#handlers.login(error.code, error.text);
    } else if (error?.code === 'INVALID_TOKEN' || error?.code === 'SESSION_NOT_FOUND') {
      const had = this.#session !== null;
      this.#forget();
      if (had) this.open(); else this.#later(error.text);
    } else if (code === 4001) {
      this.#stopped();
      this.#handlers.ended('Another tab or window has this terminal now.', 'Open elsewhere');
    } else if (!error && (this.#exit || (was && code === 1000))) {
      this.#forget();
      this.#stopped();
      this.#handlers.ended(this.#exit?.text ?? '');
    } else {
      this.#later(error ? REASONS[error.code] ?? error.text : '', error?.code.endsWith('_CAP'));
    }
  }

  // No socket and no plan for one, until the user asks.
  #stopped() {
    clearTimeout(this.#grace);
    this.#grace = 0;
    this.intentional = true;
    this.autoRetry = false;
    this.#handlers.outage(null);
  }

  #watchOutage() {
    if (!this.#grace && !this.autoRetry) this.#grace = setTimeout(() => this.#outage(), GRACE_MS);
  }

  #outage() {
    if (this.#live || this.intentional) return;
    this.autoRetry = true;
    this.#handlers.outage(this.lastReason ?? '');
    if (this.#timer && this.retryIn > AUTO_RETRY_MS) this.#plan(AUTO_RETRY_MS);
  }

  #later(reason, atOnce) {
    this.lastReason = reason || 'The terminal broker can\'t be reached.';
    this.#watchOutage();
    const wait = backoff(this.attempts++);
    if (atOnce) this.#outage();
    if (this.autoRetry) this.#handlers.outage(this.lastReason);
    this.#plan(this.autoRetry ? Math.min(wait, AUTO_RETRY_MS) : wait);
  }

  #plan(ms) {
    clearTimeout(this.#timer);
    this.#due = Date.now() + ms;
    this.#timer = setTimeout(() => { this.#timer = 0; this.open(); }, ms);
  }
}

// window.__odtoWs takes the contract's JSON messages whatever the socket speaks.
function acceptJson(socket, wire) {
  if (wire instanceof JsonWire) return;
  const send = socket.send.bind(socket);
  socket.send = message => {
    if (typeof message !== 'string') return send(message);
    const m = JSON.parse(message);
    if (m.type === 'input') wire.input(m.data).forEach(f => send(f));
    if (m.type === 'resize') send(wire.resize(m.cols, m.rows));
    return undefined;
  };
}
