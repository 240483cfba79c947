import express from 'express';
import session from 'express-session';

const app = express();
// Sessions' cookies are Secure where visitors come by https.
app.set('trust proxy', 'loopback');
app.use(session({ secret: 'of a test', resave: false, saveUninitialized: false, cookie: { secure: 'auto' } }));
app.use(express.urlencoded());

const page = (name) => `<!doctype html><title>express</title>
<p id="name">${name}</p>
<form method="post" action="${name ? 'logout' : 'login'}"><input name="name"><button>Log ${name ? 'out' : 'in'}</button></form>`;

app.get('/', (request, response) => response.send(page(request.session.name ?? '')));
app.post('/login', (request, response) => {
  request.session.regenerate(() => {
    request.session.name = request.body.name.replace(/\W/g, '');
    response.redirect('/');
  });
});
app.post('/logout', (request, response) => request.session.destroy(() => response.redirect('/')));

const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
