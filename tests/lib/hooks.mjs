// A program that listens to webhooks, and checks them as the Standard Webhooks specification says: with Node's own crypto.
import crypto from 'node:crypto';
import http from 'node:http';

export class HookListener {
  /** `refuses`: the statuses that the first messages get; `answers: false` never answers at all. */
  static async start(secret, refuses = [], { answers = true } = {}) {
    const listener = new HookListener();
    Object.assign(listener, { key: Buffer.from(secret.replace(/^whsec_/, ''), 'base64'), accepted: [], refused: [], bad: [], came: 0 });
    listener.server = http.createServer(async (request, response) => {
      listener.came += 1;
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      if (!answers) return;
      const message = JSON.parse(body.toString());
      if (!listener.#verify(request.headers, body) || message.id !== request.headers['webhook-id']) listener.bad.push(message);
      const status = refuses.shift();
      (status ? listener.refused : listener.accepted).push(message);
      response.writeHead(status ?? 204).end();
    });
    await new Promise(resolve => listener.server.listen(0, '127.0.0.1', resolve));
    listener.url = `http://127.0.0.1:${listener.server.address().port}/hook?key=hidden`;
    return listener;
  }

  #verify(headers, body) {
    const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers;
    if (Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return false;
    const expected = crypto.createHmac('sha256', this.key).update(`${id}.${timestamp}.`).update(body).digest();
    return signatures.split(' ').some(signature => {
      const [version, value] = signature.split(',');
      const given = Buffer.from(value, 'base64');
      return version === 'v1' && given.length === expected.length && crypto.timingSafeEqual(given, expected);
    });
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
