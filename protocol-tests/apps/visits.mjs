// What a visitor does with each app, in a tab.

import assert from 'node:assert';

/** Time for a page to show what it is to show. The first page of a dev server is compiled when it is asked for. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 50;

/** Waits until something holds. Throws `late()` if that takes too long. */
async function until(holds, late) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw await late();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** Waits until an expression in the page has this value. */
async function shows(tab, expression, expected) {
  let found;
  await until(async () => {
    // While a page is replaced by the next, there is none to ask.
    found = await tab.run(expression).catch(({ message }) => message);
    return JSON.stringify(found) === JSON.stringify(expected);
  }, async () => {
    const page = await tab.run('document.title + ": " + document.body.innerText.slice(0, 300)');
    return new Error(`${expression} is ${JSON.stringify(found)}, not ${JSON.stringify(expected)}. The page is ${JSON.stringify(page)}`);
  });
}

const text = (selector) => `document.querySelector(${JSON.stringify(selector)})?.textContent`;
const submit = (tab, fields) => tab.run(`
  for (const [name, value] of Object.entries(${JSON.stringify(fields)})) document.querySelector('[name=' + name + ']').value = value;
  document.querySelector('button').click()`);
/** Marks the page, so that another one in its place, or the same one loaded again, is noticed. */
const mark = (tab) => tab.run('window.mark = "the same page"');
const isMarked = (tab) => shows(tab, 'window.mark', 'the same page');

/** Edits a module that shows `before` in this element: the page changes, and is not loaded again. */
async function edit({ tab, folder, watch }, file, selector, [before, after]) {
  await shows(tab, text(selector), before);
  await mark(tab);
  // A dev server tells of a change those that are connected; it greets each that connects.
  await until(() => watch.hasHeard, () => new Error(`the dev server says nothing by WebSocket: ${watch.sockets}`));
  folder.write(file, folder.read(file).replaceAll(before, after));
  await shows(tab, text(selector), after);
  await isMarked(tab);
  // It heard of that by one WebSocket.
  assert.strictEqual(watch.sockets.length, 1, `WebSockets: ${watch.sockets}`);
}

/** Sees a module with its styles, and how it changes. */
export async function hotReload(visit) {
  await visit.tab.open(visit.url);
  await shows(visit.tab, 'getComputedStyle(document.querySelector("#message")).color', 'rgb(1, 2, 3)');
  await edit(visit, 'message.js', '#message', ['before', 'after']);
}

/**
 * Sends a form and follows a link by the framework's script, which keeps the page, and sends the form once more without scripts.
 * `linked` is the module of the linked page, which a dev server reloads.
 */
export const forms = (linked) => async (visit) => {
  const { tab, url } = visit;
  await tab.open(url);
  await shows(tab, 'document.documentElement.dataset.hydrated', 'yes');
  await mark(tab);
  await submit(tab, { note: 'one' });
  await shows(tab, text('#notes'), 'one');
  await tab.run('document.links[0].click()');
  await shows(tab, text('#linked'), 'before');
  await isMarked(tab);
  if (linked) await edit(visit, linked, '#linked', ['before', 'after']);
  await tab.call('Emulation.setScriptExecutionDisabled', { value: true });
  await tab.open(url);
  await submit(tab, { note: 'two' });
  await shows(tab, text('#notes'), 'one, two');
  await shows(tab, 'window.mark', undefined);
};

/** Is sent to the login, logs in, and sends a form. */
export async function loginAndForm({ tab, url }) {
  await tab.open(url);
  await shows(tab, 'document.title', 'login');
  await submit(tab, { username: 'me', password: 'secret' });
  await shows(tab, text('#user'), 'me');
  await submit(tab, { note: 'one' });
  await shows(tab, text('#notes'), 'one');
}

/** Logs in, comes back with the session's cookie, and logs out. */
export async function session({ tab, url }) {
  await tab.open(url);
  await submit(tab, { name: 'me' });
  await shows(tab, text('#name'), 'me');
  await tab.open(url);
  await shows(tab, text('#name'), 'me');
  await submit(tab, {});
  await shows(tab, text('button'), 'Log in');
  await shows(tab, text('#name'), '');
}

/** Hears each event when it happens, and after a cut what it has missed. */
export async function events({ tab, url }) {
  await tab.open(url);
  await shows(tab, 'source.readyState', 1);
  for (const heard of [['1'], ['1', '2']]) {
    await tab.run('fetch("tick", { method: "POST" }).then(() => true)');
    await shows(tab, 'heard', heard);
  }
  await tab.run('fetch("cut", { method: "POST" }).then(() => true)');
  await shows(tab, 'heard', ['1', '2', '3']);
}

/** Two tabs talk to each other, by each of these lists of transports. `query` is for the page. */
export const chat = (query = {}) => async ({ tab, url, watch }) => {
  const tabs = [tab, await watch.tab(await tab.another())];
  for (const transports of ['websocket', 'polling', 'polling,websocket']) {
    const last = transports.split(',').at(-1);
    watch.sockets.length = 0;
    for (const one of tabs) {
      await one.open(`${url}/?${new URLSearchParams({ transports, ...query })}`);
      await shows(one, '[socket.connected, socket.io.engine.transport.name]', [true, last]);
    }
    for (const [from, to] of [[0, 1], [1, 0]]) {
      const said = `from ${from}`;
      assert.strictEqual(await tabs[from].run(`socket.timeout(10000).emitWithAck('say', '${said}').then(() => 'acked')`), 'acked');
      await shows(tabs[to], 'heard', [said]);
    }
    assert.strictEqual(watch.sockets.length, last === 'websocket' ? 2 : 0, `WebSockets by ${transports}: ${watch.sockets}`);
  }
};
