// A terminal broker that knows the JSON messages only, for what the real one can't be made to do on demand.
import {createHash} from 'node:crypto';
import {createServer} from 'node:http';

export class Broker {
  constructor(port, talk) {
    this.seen = [];      // URLs of the handshakes
    this.messages = [];  // what clients sent
    this.sockets = new Set();
    this.server = createServer((rq, rs) => rs.writeHead(200).end('ok'));
    this.server.on('upgrade', (rq, socket) => {
      const accept = createHash('sha1').update(rq.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      this.seen.push(new URL(rq.url, 'http://x'));
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
      let rest = Buffer.alloc(0);
      socket.on('data', data => { rest = this.#read(socket, Buffer.concat([rest, data])); });
      talk({
        url: new URL(rq.url, 'http://x'),
        send: m => socket.writable && socket.write(frame(1, Buffer.from(JSON.stringify(m)))),
        close: code => socket.end(frame(8, Buffer.from([code >> 8, code & 255]))),
      });
    });
    this.ready = new Promise(done => this.server.listen(port, '127.0.0.1', done));
  }
  #read(socket, b) {
    for (;;) {
      if (b.length < 2) return b;
      let n = b[1] & 127, at = 2;
      if (n === 126) { if (b.length < 4) return b; n = b.readUInt16BE(2); at = 4; }
      if (b.length < at + 4 + n) return b;
      const mask = b.subarray(at, at + 4), data = Buffer.from(b.subarray(at + 4, at + 4 + n)).map((x, i) => x ^ mask[i & 3]);
      if ((b[0] & 15) === 8) socket.end(frame(8, data));
      if ((b[0] & 15) === 1) this.messages.push(JSON.parse(data.toString()));
      b = b.subarray(at + 4 + n);
    }
  }
  async close() {
    for (const s of this.sockets) s.destroy();
    await new Promise(done => this.server.close(done));
  }
}

function frame(kind, data) {
  const n = data.length, head = n < 126 ? Buffer.from([0x80 | kind, n]) : Buffer.from([0x80 | kind, 126, n >> 8, n & 255]);
  return Buffer.concat([head, data]);
}
