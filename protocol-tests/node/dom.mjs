// As much of a browser's page as the JSONP transport of engine.io-client needs. Import this before such clients: they look
// for a `document` when they are loaded.

import vm from 'node:vm';
import { visit } from './support.mjs';

class Element {
  parentNode = null;
  children = [];
  style = {};

  constructor(tag) {
    this.tag = tag;
  }

  setAttribute(name, value) {
    this[name] = value;
  }

  appendChild(child) {
    return this.insertBefore(child, null);
  }

  insertBefore(child, next) {
    const at = next === null ? this.children.length : this.#indexOf(next);
    this.children.splice(at, 0, child);
    child.parentNode = this;
    if (child.tag === 'script' && child.src !== undefined) run(child);
    return child;
  }

  removeChild(child) {
    this.children.splice(this.#indexOf(child), 1);
    child.parentNode = null;
    return child;
  }

  /** Submits a form: sends its fields, and calls `onload` of the iframe that is its target once the answer is there. */
  async submit() {
    const frame = all(page).find(({ tag, name }) => tag === 'iframe' && name === this.target);
    const fields = all(this).filter(({ tag }) => tag === 'textarea');
    const written = fields.map(({ name, value }) => [name, value.replace(/\r\n|\r|\n/g, '\r\n')]);
    const body = String(new URLSearchParams(written));
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', 'Content-Length': Buffer.byteLength(body) };
    const answer = await visit(this.action, { method: this.method, headers, body }).catch(() => undefined);
    posts.push({ url: this.action, status: answer?.status, text: answer?.text });
    // A browser loads any answer into the frame, an error too, unless the frame has been removed.
    if (all(page).includes(frame)) frame.onload?.();
  }

  #indexOf(child) {
    const at = this.children.indexOf(child);
    if (at < 0) throw new Error('NotFoundError: not a child of this node');
    return at;
  }
}

/** Fetches and runs a script that was put into the page, even if it is removed meanwhile. */
async function run(script) {
  const answer = await visit(script.src).catch(() => undefined);
  const { 'content-type': type = '', 'x-content-type-options': options } = answer?.headers ?? {};
  const refused = options === 'nosniff' && !type.includes('javascript');
  if (answer?.status !== 200 || refused) return script.onerror?.(answer);
  // Node allows these two inside a string; browsers before ES2019 ended the line there.
  if (/[\u2028\u2029]/.test(answer.text)) throw new SyntaxError(`a bare line separator in ${answer.text}`);
  vm.runInThisContext(answer.text, { filename: script.src });
}

const all = (node) => [node, ...node.children.flatMap(all)];

const page = new Element('html');
const head = page.appendChild(new Element('head'));
const body = page.appendChild(new Element('body'));
// The page's own script: the client inserts its script before the page's first.
head.appendChild(new Element('script'));

/** The answer to each form that was submitted, which the page itself cannot see. */
export const posts = [];

globalThis.document = {
  head,
  body,
  createElement(tag) {
    // The client first passes a whole element, as only Internet Explorer accepted.
    if (!/^[a-z]+$/.test(tag)) throw new Error('InvalidCharacterError: not a valid name');
    return new Element(tag);
  },
  getElementsByTagName: (name) => all(page).filter(({ tag }) => tag === name),
};
