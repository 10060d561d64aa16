// A transmitter of shared signals on 127.0.0.1 (OpenID Shared Signals Framework 1.0): its metadata, its keys, and what it
// pushes, signed by `jose` with RS256, as the CAEP interoperability profile has it.

import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { once } from 'node:events';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { request } from './http.mjs';

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/';
const RISC = 'https://schemas.openid.net/secevent/risc/event-type/';
export const EVENTS = {
  sessionRevoked: `${CAEP}session-revoked`,
  credentialChange: `${CAEP}credential-change`,
  accountDisabled: `${RISC}account-disabled`,
  accountEnabled: `${RISC}account-enabled`,
  verification: 'https://schemas.openid.net/secevent/ssf/event-type/verification',
};
export const RECEIVER = 'https://receiver.example/tollgate';

export class Transmitter {
  token = randomUUID();

  static async start() {
    const transmitter = new Transmitter();
    const { publicKey, privateKey } = await generateKeyPair('RS256');
    transmitter.key = privateKey;
    const keys = [{ ...(await exportJWK(publicKey)), kid: 'signals-1', alg: 'RS256', use: 'sig' }];
    transmitter.server = http.createServer((incoming, answer) => {
      const documents = {
        '/.well-known/ssf-configuration/tenant': {
          spec_version: '1_0',
          issuer: transmitter.url,
          jwks_uri: `${transmitter.url}/keys`,
          delivery_methods_supported: ['urn:ietf:rfc:8935'],
        },
        '/tenant/keys': { keys },
      };
      const found = documents[incoming.url];
      answer.writeHead(found ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(found ?? {}));
    });
    transmitter.server.listen(0, '127.0.0.1');
    await once(transmitter.server, 'listening');
    return transmitter;
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}/tenant`;
  }

  /** What `signals:` says of it. */
  config(more = {}) {
    return { issuer: this.url, audience: RECEIVER, token: this.token, ...more };
  }

  /** A SET of one event about `sub_id`. */
  set(event, sub_id, payload = {}, claims = {}) {
    return new SignJWT({ sub_id, events: { [event]: payload }, txn: randomUUID(), ...claims })
      .setProtectedHeader({ alg: 'RS256', kid: 'signals-1', typ: 'secevent+jwt' })
      .setIssuer(this.url)
      .setAudience(RECEIVER)
      .setIssuedAt()
      .setJti(randomUUID())
      .sign(this.key);
  }

  /** Pushes it to a gateway (RFC 8935 section 2.1). */
  push(gateway, set, headers = {}) {
    return request('POST', `${gateway.url}/oauth/events`, {
      headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json', authorization: `Bearer ${this.token}`, ...headers },
      body: set,
    });
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
