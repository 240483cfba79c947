// A visitor that writes bytes, and reads the heads of all that comes back.

import net from 'node:net';

/** Time for an answer. It only ends a test in which none comes. */
const LIMIT_MS = 20_000;
/** What says that a body may be sent, and is no answer. */
const CONTINUE = /HTTP\/1\.[01] 100 [^\r]*\r\n\r\n/g;
const HEAD = /HTTP\/1\.[01] (\d{3})[^\r]*\r\n([^]*?)\r\n\r\n/g;

/** The answers in what a server sent. No body has what looks like a head. */
function answers(text) {
  return [...text.replace(CONTINUE, '').matchAll(HEAD)].map(([, status, lines]) => {
    const headers = Object.fromEntries(lines.split('\r\n').map((line) => line.toLowerCase().split(': ')));
    return { status: Number(status), headers };
  });
}

/** Tells whether all bytes of the first answer are there. */
function isWhole(text, isHead) {
  const rest = text.replace(CONTINUE, '');
  const end = rest.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const length = isHead ? 0 : Number(/\r\ncontent-length: (\d+)/i.exec(rest.slice(0, end))?.[1] ?? 0);
  return rest.length >= end + 4 + length;
}

/** A visitor of one server with a connection that it keeps. */
export class RawVisitor {
  #port;
  #kept;

  constructor(port) {
    this.#port = port;
  }

  /** Sends bytes on a connection of their own, and returns all answers until the server ends it. */
  all(bytes) {
    return this.#exchange(net.connect(this.#port, '127.0.0.1'), bytes, () => false);
  }

  /** Sends one request on the connection that is kept, and returns its answers, which should be one. */
  async one(bytes, isHead) {
    const socket = this.#kept ?? net.connect(this.#port, '127.0.0.1');
    const answers = await this.#exchange(socket, bytes, (text) => isWhole(text, isHead));
    const isKept = answers.length === 1 && answers[0].status === 200 && answers[0].headers.connection !== 'close';
    if (!isKept) socket.destroy();
    this.#kept = isKept && !socket.destroyed ? socket : undefined;
    return answers;
  }

  close() {
    this.#kept?.destroy();
  }

  #exchange(socket, bytes, isDone) {
    return new Promise((resolve) => {
      let text = '';
      const finish = (...more) => {
        socket.removeAllListeners();
        clearTimeout(timer);
        resolve([...answers(text), ...more]);
      };
      const timer = setTimeout(() => {
        socket.destroy();
        finish({ status: 'no end', headers: {} });
      }, LIMIT_MS);
      socket.on('data', (data) => {
        text += data.latin1Slice();
        if (isDone(text)) finish();
      });
      socket.on('close', () => finish());
      // A reset ends it too; what came before it counts.
      socket.on('error', () => {});
      socket.write(bytes);
    });
  }
}
