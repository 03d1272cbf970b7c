// What goes over the socket to the terminal broker, in two forms behind one shape.
//
//   wire.hello(session, size)   what is sent first, or null
//   wire.input(text), wire.resize(cols, rows), wire.ack(offset)   messages to send, or null
//   wire.read(data)             one message as an event:
//     {kind: 'session', session, token, resumed}    the terminal is ours
//     {kind: 'output', data, end}                   bytes or text for the terminal; end: their offset, or null
//     {kind: 'reset'}                               what follows rebuilds the screen from nothing
//     {kind: 'notice' | 'error', text, code} {kind: 'exit', text} or null
//
// The JSON form is the contract every broker speaks; odto.pty.v1 carries raw bytes with absolute offsets, which
// are acknowledged when the terminal has taken them in.

export const SUBPROTOCOL = 'odto.pty.v1';

export class JsonWire {
  static subprotocols = [];

  query(session) {
    return session ? {session: session.id, token: session.token} : {};
  }
  hello() { return null; }
  input(text) { return JSON.stringify({type: 'input', data: text}); }
  resize(cols, rows) { return JSON.stringify({type: 'resize', cols, rows}); }
  ack() { return null; }

  read(data) {
    let m;
    try { m = JSON.parse(data); } catch { return null; }
    switch (m?.type) {
      case 'session':
      case 'reconnected':
        return {kind: 'session', session: m.sessionId, token: m.reconnectToken, resumed: m.type === 'reconnected'};
      case 'output': return {kind: 'output', data: String(m.data), end: null};
      case 'replay_begin': return {kind: 'reset'};
      case 'notice': return {kind: 'notice', text: String(m.message), code: m.code};
      case 'error': return {kind: 'error', text: String(m.message), code: String(m.code)};
      case 'exit': return {kind: 'exit', text: ''};
      default: return null;
    }
  }
}

const encoder = new TextEncoder(), decoder = new TextDecoder();

function frame(type, ...parts) {
  const size = parts.reduce((n, p) => n + p.length, 1), out = new Uint8Array(size);
  out[0] = type.charCodeAt(0);
  let at = 1;
  for (const p of parts) { out.set(p, at); at += p.length; }
  return out;
}

function number(bytes, value) { // little-endian
  const out = new Uint8Array(bytes), view = new DataView(out.buffer);
  if (bytes === 2) view.setUint16(0, value, true); else view.setBigUint64(0, BigInt(value), true);
  return out;
}

const INPUT_MAX = 60 * 1024; // the broker closes on more than 64 KiB

export class BinaryWire {
  static subprotocols = [SUBPROTOCOL];
  #end = null; // offset behind the last byte given to the terminal

  query() { return {}; }

  hello(session, size) {
    const hello = {cols: size.cols, rows: size.rows, cap: []};
    if (session) {
      hello.session = session.id;
      hello.token = session.token;
      if (session.offset !== null) hello.last_offset = session.offset;
    }
    this.#end = session?.offset ?? null;
    return frame('H', encoder.encode(JSON.stringify(hello)));
  }

  // A long paste goes in pieces.
  input(text) {
    const bytes = encoder.encode(text), out = [];
    for (let at = 0; at < bytes.length; at += INPUT_MAX) out.push(frame('I', bytes.subarray(at, at + INPUT_MAX)));
    return out;
  }
  resize(cols, rows) { return frame('R', number(2, cols), number(2, rows)); }
  ack(offset) { return frame('A', number(8, offset)); }

  read(data) {
    const bytes = new Uint8Array(data), rest = bytes.subarray(1);
    const json = () => { try { return JSON.parse(decoder.decode(rest)); } catch { return {}; } };
    const offset = () => Number(new DataView(bytes.buffer, bytes.byteOffset + 1, 8).getBigUint64(0, true));
    switch (String.fromCharCode(bytes[0])) {
      case 'W': {
        const m = json();
        return {kind: 'session', session: m.session, token: m.token, resumed: Boolean(m.resumed)};
      }
      case 'S':
        this.#end = offset();
        return {kind: 'output', data: bytes.subarray(9), end: this.#end, reset: true};
      case 'O': {
        const begin = offset(), end = begin + bytes.length - 9;
        const seen = this.#end === null ? 0 : Math.max(0, this.#end - begin); // sent again after a reconnect
        this.#end = Math.max(end, this.#end ?? 0);
        return seen >= bytes.length - 9 ? null : {kind: 'output', data: bytes.subarray(9 + seen), end};
      }
      case 'N':
      case 'E': {
        const m = json();
        return {kind: bytes[0] === 69 ? 'error' : 'notice', text: String(m.text ?? ''), code: String(m.code ?? '')};
      }
      case 'X': {
        const m = json();
        return {kind: 'exit', text: m.signal ? `It was ended by signal ${m.signal}.` : m.exit ? `It ended with status ${m.exit}.` : ''};
      }
      default: return null;
    }
  }
}
