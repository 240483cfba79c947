// Ports for processes that are told theirs before they start, or that are started again at the same.

import { once } from 'node:events';
import net from 'node:net';

/**
 * Below the ports that a system gives to connections, and to those who listen at port 0: no such port is taken before its process
 * listens. Files of tests run at once, each in a process with ports of its own.
 */
const [FIRST, COUNT, OF_A_PROCESS] = [12_000, 20_000, 200];
let next = (process.pid * OF_A_PROCESS) % COUNT;

/** Returns a port of loopback that nothing listens at. */
export async function freePort() {
  for (;;) {
    const port = FIRST + next;
    next = (next + 1) % COUNT;
    const probe = net.createServer().listen(port, '127.0.0.1');
    const isFree = await once(probe, 'listening').then(() => true, () => false);
    if (!isFree) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
}
