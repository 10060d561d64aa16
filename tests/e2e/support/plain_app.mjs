// An application that knows nothing of Tollgate: a page that loads a style, a picture, scripts and a frame, calls what is behind
// it by fetch without any header of its own, and sends a form.

import http from 'node:http';
import { once } from 'node:events';

const PAGE = `<!doctype html>
<title>plain</title>
<link rel="stylesheet" href="style.css">
<link rel="manifest" href="app.webmanifest">
<script>const loaded = []; const mark = (what) => () => loaded.push(what);</script>
<img src="picture.svg" alt="" onload="mark('picture')()">
<script src="script.js"></script>
<script type="module" src="module.js"></script>
<iframe src="frame" onload="contentDocument.title === 'frame' && mark('frame')()"></iframe>
<form method="post" action="save"><input name="x" value="1"><button>save</button></form>
`;

const FILES = {
  page: ['text/html', PAGE],
  frame: ['text/html', '<!doctype html><title>frame</title>'],
  'style.css': ['text/css', 'body { margin-left: 7px }'],
  'app.webmanifest': ['application/manifest+json', '{"name":"plain"}'],
  'picture.svg': ['image/svg+xml', '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'],
  'script.js': ['text/javascript', "mark('script')()"],
  'module.js': ['text/javascript', "mark('module')()"],
};

export class PlainApp {
  /** What arrived: method, url, headers. */
  received = [];
  #server = http.createServer(({ method, url, headers }, outgoing) => {
    this.received.push({ method, url, headers });
    const [type, body] = FILES[url.split('/').pop()] ?? ['text/plain', `${method} ${url}`];
    outgoing.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' }).end(body);
  });

  static async start() {
    const app = new PlainApp();
    app.#server.listen(0, '127.0.0.1');
    await once(app.#server, 'listening');
    return app;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
