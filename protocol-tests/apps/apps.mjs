// The apps, and what each needs to be visited at a tunnel's own host and by its path. README.md, "Which apps" has the same table.

import { chat, events, forms, hotReload, loginAndForm, session } from './visits.mjs';

/** The path of the tunnel, as apps are told it that need to know. */
const base = (name) => ({ BASE: `/go/${name}` });
const local = (file, ...args) => ['node', `node_modules/${file}`, ...args];
const python = (...args) => ['venv/bin/python', ...args];
const vite = (...args) => local('vite/bin/vite.js', ...args);
const full = ['--host-header', 'full'];
const keep = ['--keep-prefix'];
const secret = { DJANGO_SUPERUSER_PASSWORD: 'secret' };
const forwarded = { HOST: '127.0.0.1', PORT: '0', PROTOCOL_HEADER: 'x-forwarded-proto', HOST_HEADER: 'x-forwarded-host' };
const NOTHING = { needs: 'nothing' };

/**
 * Each app has its sources in `folder`, by default that of its name; the commands that `prepare` it and `run` it with `env`; and
 * what a visitor does. `host` and `path` have what is otherwise in that mode, the `flags` of forward, and in words what it `needs`.
 */
export const APPS = {
  vite: {
    run: vite('--port', 'FREE_PORT'),
    visit: hotReload,
    host: NOTHING,
    path: { flags: keep, env: base('vite'), needs: '`--keep-prefix` and `base`' },
  },
  next: {
    run: local('next/dist/bin/next', 'dev', '--turbopack', '--port', '0'),
    visit: forms('app/linked/page.jsx'),
    host: NOTHING,
    path: { flags: keep, env: base('next'), needs: '`--keep-prefix`, `basePath` and `trailingSlash`' },
  },
  sveltekit: {
    run: vite('--port', 'FREE_PORT'),
    visit: forms('src/routes/linked/+page.svelte'),
    host: NOTHING,
    path: { flags: keep, env: base('sveltekit'), needs: '`--keep-prefix` and `paths.base`' },
  },
  'sveltekit-preview': {
    folder: 'sveltekit',
    prepare: [vite('build')],
    run: vite('preview', '--port', 'FREE_PORT'),
    visit: forms(),
    host: { flags: full, needs: '`--host-header full`' },
    path: { flags: full, needs: '`--host-header full`' },
  },
  'sveltekit-node': {
    folder: 'sveltekit',
    prepare: [vite('build')],
    run: ['node', 'build'],
    env: { PORT: '0', HOST: '127.0.0.1' },
    visit: forms(),
    host: { env: forwarded, needs: '`PROTOCOL_HEADER` and `HOST_HEADER`' },
    path: { env: forwarded, needs: '`PROTOCOL_HEADER` and `HOST_HEADER`' },
  },
  django: {
    prepare: [
      python('manage.py', 'migrate', '--verbosity', '0'),
      python('manage.py', 'createsuperuser', '--noinput', '--username', 'me', '--email', 'me@example.com'),
    ],
    run: python('manage.py', 'runserver', '--noreload', '127.0.0.1:0'),
    env: secret,
    visit: loginAndForm,
    host: { flags: full, needs: '`--host-header full`' },
    path: { flags: full, env: { ...secret, ...base('django') }, needs: '`--host-header full` and `FORCE_SCRIPT_NAME`' },
  },
  express: {
    run: ['node', 'app.js'],
    visit: session,
    host: NOTHING,
    path: NOTHING,
  },
  sse: {
    run: ['node', 'app.js'],
    visit: events,
    host: NOTHING,
    path: NOTHING,
  },
  chat: {
    run: ['node', 'app.js'],
    visit: chat(),
    host: NOTHING,
    path: { visit: chat({ beside: '' }), needs: 'the `path` of the client' },
  },
};
