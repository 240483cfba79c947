import { defineConfig } from 'vite';

// A tunnel takes its path off the URLs of requests. With a base, Vite expects it there, so this puts it back.
const prefixed = {
  name: 'prefixed',
  configureServer({ httpServer }) {
    for (const event of ['request', 'upgrade']) {
      httpServer.prependListener(event, (request) => {
        request.url = (request.headers['x-forwarded-prefix'] ?? '') + request.url;
      });
    }
  },
};

const base = process.env.BASE;
export default defineConfig(base ? { base, plugins: [prefixed] } : {});
