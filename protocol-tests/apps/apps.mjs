// The apps, and what each needs to be visited at a tunnel's own host and by its path: README.md has the same table.

import { chat, events, forms, hotReload, loginAndForm, session } from './visits.mjs';

const local = (file, ...args) => ['node', `node_modules/${file}`, ...args];
const python = (...args) => ['venv/bin/python', ...args];
const base = (name) => ({ BASE: `/go/${name}` });
const password = { DJANGO_SUPERUSER_PASSWORD: 'secret' };
const full = ['--host-header', 'full'];

export const APPS = {
  vite: {
    run: local('vite/bin/vite.js', '--port', 'FREE_PORT'),
    visit: hotReload,
    host: { needs: '' },
    path: { env: base('vite'), needs: '`base`, and the prefix put back' },
  },
  next: {
    run: local('next/dist/bin/next', 'dev', '--turbopack', '--port', '0'),
    visit: forms,
    host: { needs: '' },
    path: { run: ['node', 'server.js'], env: base('next'), needs: '`basePath`, and the prefix put back' },
  },
  sveltekit: {
    run: local('vite/bin/vite.js', '--port', 'FREE_PORT'),
    visit: forms,
    host: { flags: full, needs: '`--host-header full`' },
    path: {
      prepare: [local('vite/bin/vite.js', 'build')],
      run: ['node', 'build'],
      env: { PORT: '0', HOST: '127.0.0.1', PROTOCOL_HEADER: 'x-forwarded-proto', HOST_HEADER: 'x-forwarded-host' },
      needs: 'a build',
    },
  },
  django: {
    prepare: [
      python('manage.py', 'migrate', '--verbosity', '0'),
      python('manage.py', 'createsuperuser', '--noinput', '--username', 'me', '--email', 'me@example.com'),
    ],
    run: python('manage.py', 'runserver', '--noreload', '127.0.0.1:0'),
    visit: loginAndForm,
    env: password,
    host: { flags: full, needs: '`--host-header full`' },
    path: { flags: full, env: { ...password, ...base('django') }, needs: '`--host-header full` and `FORCE_SCRIPT_NAME`' },
  },
  express: {
    run: ['node', 'app.js'],
    visit: session,
    host: { needs: '' },
    path: { needs: '' },
  },
  sse: {
    run: ['node', 'app.js'],
    visit: events,
    host: { needs: '' },
    path: { needs: '' },
  },
  chat: {
    run: ['node', 'app.js'],
    visit: chat(),
    host: { needs: '' },
    path: { visit: chat({ beside: '' }), needs: 'client `path`' },
  },
};
