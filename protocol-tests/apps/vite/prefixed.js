/** A tunnel takes its path off the URLs of requests. With a base, Vite expects it there, so this plugin puts it back. */
export default {
  name: 'prefixed',
  configureServer({ httpServer, config }) {
    if (config.base === '/') return;
    for (const event of ['request', 'upgrade']) {
      httpServer.prependListener(event, (request) => {
        request.url = (request.headers['x-forwarded-prefix'] ?? '') + request.url;
      });
    }
  },
};
