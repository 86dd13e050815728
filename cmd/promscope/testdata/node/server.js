// A program on Node.js as people write it with prom-client: node server.js PORT
const http = require('http');
const client = require('prom-client');

client.collectDefaultMetrics();
const duration = new client.Histogram({
  name: 'http_request_duration_seconds',
  help: 'Requests.',
  labelNames: ['method', 'route', 'status_code'],
  buckets: [0.1, 1],
});

// So that the heap has a size to recognize, and there is something to collect.
globalThis.ballast = Array.from({ length: 500000 }, (_, i) => ({ i }));
setInterval(() => {
  for (let n = 0; n < 200; n++) globalThis.garbage = Array.from({ length: 100 }, (_, i) => ({ i }));
}, 50);

http.createServer(async (request, response) => {
  switch (request.url) {
    case '/metrics':
      response.setHeader('Content-Type', client.register.contentType);
      response.end(await client.register.metrics());
      return;
    case '/heap': // what V8 says itself
      response.end(String(process.memoryUsage().heapUsed));
      return;
  }
  const end = duration.startTimer();
  response.statusCode = request.url === '/' ? 200 : 500;
  response.end('hello');
  end({ method: request.method, route: '/', status_code: response.statusCode });
}).listen(Number(process.argv[2]), '127.0.0.1');
